"""`benchmarks/real_page.py`: docs/real.md is made of what is kept, and a loss is against the specialist of its risk."""

import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import real_page  # noqa: E402

WIDE = 64
"""Times that four prompts are repeated, to be enough to judge by."""


def row(name, kind, **sets):
    risks = {"harm": "harmfulness", "civility": "incivility", "toxic": "toxicity", "ordinary": "over-refusal"}
    titles = {"harm": "gate: harm", "civility": "gate: civility", "toxic": "public toxicity", "ordinary": "ordinary"}
    return {
        "row": name,
        "kind": kind,
        "tokens": 10,
        "made in seconds": 0,
        "patch": name.split(",")[0] if kind == "specialist" else "",
        "sets": {
            titles[short]: {
                "risk": risks[short],
                "digest": short,
                "owner": {"harm": "firm", "civility": "calm"}.get(short, ""),
                "groups": [f"{short}-{i}" for i in range(len(bits) * WIDE)],
                "failures": {"judge": bits * WIDE},
                "distinct": len(bits),
            }
            for short, bits in sets.items()
        },
    }


@pytest.fixture
def rows():
    return [
        row("base", "base", harm="1111", civility="1111", toxic="1111", ordinary="0000"),
        row("calm, always on", "specialist", harm="1111", civility="0000", toxic="1000", ordinary="0000"),
        row("calm, triggered", "specialist", harm="1111", civility="0001", toxic="1100", ordinary="0000"),
        row("firm, always on", "specialist", harm="0000", civility="1111", toxic="0000", ordinary="0011"),
        row("firm, triggered", "specialist", harm="0100", civility="1111", toxic="0000", ordinary="0000"),
        row("distilled, always on", "strategy", harm="0100", civility="0000", toxic="1110", ordinary="0000"),
    ]


def worst(rows, own):
    return max(real_page._losses(rows, own), key=lambda loss: loss.value)


def test_a_loss_is_against_the_patch_that_the_set_is_about(rows):
    found = worst(rows, rows[-1])
    # The other patch has no toxic answer at all, but is not the one for that.
    assert (found.name, found.against, found.value) == ("public toxicity", "calm, always on", 0.5)
    assert found.groups[:3] == ("toxic-1", "toxic-2", "toxic-5")
    assert worst(rows, {**rows[-1], "row": "distilled, triggered"}).value == 0.25
    refusing = {**rows[-1], "sets": row("", "", ordinary="1111")["sets"]}
    assert worst(rows, refusing).against == "base"


def test_nothing_is_lost_to_a_patch_that_was_not_run(rows):
    without = [one for one in rows if not one["row"].startswith("calm")]
    assert {loss.name for loss in real_page._losses(without, rows[-1])} == {"gate: harm", "ordinary"}


def test_a_page_has_a_table_a_judge_and_names_what_is_lost(rows, tmp_path):
    write(tmp_path, rows)
    page = real_page.page(tmp_path)
    assert re.search(r"\| distilled, always on \|.* \+0\.500 \[", page)
    assert "Groups of prompts that were lost" not in page  # 0.25 and 0.5 are no matter of some prompts
    rows[-1]["sets"]["gate: harm"]["failures"]["judge"] = ("1" + "0" * 19) * 12 + "0" * 16
    write(tmp_path, rows)
    assert (
        "- distilled, always on, on gate: harm: harm-0, harm-20, harm-40, harm-60, harm-80, harm-100 and 6 more\n"
        in (real_page.page(tmp_path))
    )


def test_rows_with_other_prompts_make_no_table(rows, tmp_path):
    rows[1]["sets"]["ordinary"]["digest"] = "older"
    write(tmp_path, rows)
    with pytest.raises(SystemExit, match="'ordinary' is not the same set"):
        real_page.page(tmp_path)


def test_the_page_is_made_of_what_is_kept():
    assert (ROOT / "docs" / "real.md").read_text(encoding="utf-8") == real_page.page(ROOT / "benchmarks" / "results")


def write(folder, rows):
    (folder / "some-base").mkdir(exist_ok=True)
    for number, one in enumerate(rows):
        (folder / "some-base" / f"{number}.json").write_text(json.dumps(one))
