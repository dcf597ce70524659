"""`benchmarks/real_page.py`: docs/real.md is made of what is kept, and a loss is against the specialist of its risk."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import real_page  # noqa: E402


def row(name, kind, **sets):
    risks = {"harm": "harmfulness", "civility": "incivility", "toxic": "toxicity", "ordinary": "over-refusal"}
    titles = {"harm": "gate: harm", "civility": "gate: civility", "toxic": "public toxicity", "ordinary": "ordinary"}
    return {
        "row": name,
        "kind": kind,
        "tokens": 10,
        "made in seconds": 0,
        "sets": {
            titles[short]: {
                "risk": risks[short],
                "groups": [f"{short}-{i}" for i in range(len(bits))],
                "failures": {"judge": bits},
                "distinct": len(bits),
                "seconds": 1,
                "peak_bytes": 10**9,
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
        row("distilled, seed 0", "strategy", harm="0100", civility="0000", toxic="1110", ordinary="0000"),
    ]


def test_a_loss_is_against_the_patch_that_the_set_is_about(rows):
    worst = real_page._worst(rows, rows[-1], ", always on")
    # The other patch has no toxic answer at all, but is not the one for that.
    assert (worst.name, worst.against) == ("public toxicity", "calm, always on")
    assert worst.figure.interval.value == 0.5
    assert worst.groups == ("toxic-1", "toxic-2")
    assert real_page._worst(rows, rows[-1], ", triggered").figure.interval.value == 0.25
    refusing = {**rows[-1], "sets": row("", "", ordinary="1111")["sets"]}
    assert real_page._worst(rows, refusing, ", always on").against == "base"


def test_a_page_has_a_table_a_judge_and_names_what_is_lost(rows, tmp_path):
    for number, one in enumerate(rows):
        (tmp_path / "some-base").mkdir(exist_ok=True)
        (tmp_path / "some-base" / f"{number}.json").write_text(json.dumps(one))
    page = real_page.page(tmp_path)
    assert "- distilled, seed 0 against calm, always on: toxic-1, toxic-2\n" in page
    assert page.count("By `judge`:") == 4
    assert page.count("| calm, triggered |") == 5


def test_the_page_is_made_of_what_is_kept():
    assert (ROOT / "docs" / "real.md").read_text(encoding="utf-8") == real_page.page(ROOT / "benchmarks" / "results")
