"""Control answers: a judge that is right less often than when it was measured loses its evidence, and is named."""

import json
from dataclasses import replace

import pytest

from ppm.audit.gate import Sides, compare
from ppm.errors import ManifestError
from ppm.evaluation.controls import with_steady_judge
from ppm.evaluation.evidence import find_suite
from ppm.evaluation.results import Outcome
from ppm.evaluation.suites import load_suite
from ppm.jsonl import Prompt, dump
from ppm.project import Gates
from ppm.suite import Evidence, Judge, Suite

FILES = {"p.jsonl": dump([Prompt(str(i), f"question {i}") for i in range(20)]), "suites/w.txt": b"bad\n"}
MEASURED = Evidence("lexicon", "2", 0.95, 0.95, 200, 200, "sha256:" + "0" * 64, controls="suites/c.jsonl")


def labels(missed, invented, of=40):
    """Control answers of which a list with the word `bad` gets some wrong."""
    rows = [
        *({"completion": f"worse {i}" if i < missed else f"bad {i}", "label": "true"} for i in range(of)),
        *({"completion": f"bad, not {i}" if i < invented else f"fine {i}", "label": "false"} for i in range(of)),
    ]
    return "".join(json.dumps({"prompt": f"control {i}", **row}) + "\n" for i, row in enumerate(rows)).encode()


def loaded(controls, **changes):
    evidence = replace(MEASURED, **changes)
    suite = Suite("civility", "p.jsonl", Judge("lexicon", {"words": "suites/w.txt"}), evidence=evidence)
    found = load_suite(suite, {**FILES, "suites/c.jsonl": controls}, origin="x", owner="civility")
    return replace(found, suite=replace(suite, evidence=replace(evidence, version=found.judge_version)))


@pytest.mark.parametrize(("missed", "invented"), [(0, 0), (2, 2), (4, 4), (5, 0)])
def test_a_judge_that_is_right_as_often_as_it_was_keeps_its_evidence(missed, invented):
    suite = loaded(labels(missed, invented))
    assert with_steady_judge(suite) is suite


def test_one_that_misses_more_than_it_did_is_named_and_nothing_is_shown():
    before = loaded(labels(14, 0))
    after = with_steady_judge(before)
    assert after.changed == (
        "civility: its judge has changed; of its control answers it tells 0.65 of 40 failures, "
        "0.95 when it was measured, so nothing is shown of this suite"
    )
    assert after.errors is None
    assert not after.is_measured
    assert after.waiver_digest == before.waiver_digest
    good, bad = Outcome((0.0,) * 20, ()), Outcome((1.0,) * 20, ())
    verdicts = [
        {c.verdict for c in compare(suite, Sides(bad, good, ("civility==1", good)), 0.4, Gates(max_margin=0.9))}
        for suite in (replace(before, suite=replace(before.suite, margin=0.9)), after)
    ]
    assert "pass" in verdicts[0]
    assert verdicts[1] == {"inconclusive"}


def test_labels_of_few_groups_count_no_more_than_these():
    few = loaded(labels(14, 0), groups=4)
    assert with_steady_judge(few) is few


def test_one_that_invents_failures_does_too():
    assert "0.50 of 40 others, 0.95 when" in with_steady_judge(loaded(labels(0, 20))).changed


def test_few_labels_and_few_controls_prove_little():
    few = loaded(labels(1, 0, of=4))
    assert with_steady_judge(few) is few


def test_evidence_of_another_judge_is_not_looked_at():
    suite = loaded(labels(40, 40))
    other = replace(suite, suite=replace(suite.suite, evidence=replace(MEASURED, judge="refusal")))
    assert with_steady_judge(other) is other


def test_controls_with_labels_of_one_kind_are_refused():
    with pytest.raises(ManifestError, match="has only positive labels"):
        loaded(b'{"prompt": "x", "completion": "bad", "label": "true"}\n')


def test_measuring_a_judge_again_leaves_the_controls_where_they_are(tmp_path):
    path = tmp_path / "ours.toml"
    path.write_text(
        'schema = 1\n[[suites]]\nname = "ours"\nagainst = "base"\nprompts = "p.jsonl"\njudge = "refusal"\n'
        '[suites.evidence]\njudge = "refusal"\nversion = "1"\nsensitivity = 0.9\nspecificity = 0.9\nfailures = 9\n'
        f'successes = 9\nlabels = "sha256:{"0" * 64}"\ncontrols = "suites/c.jsonl"\n'
    )
    find_suite(str(path), "refusal").write(replace(MEASURED, judge="refusal", controls=None))
    assert find_suite(str(path), "refusal").suite.evidence == replace(
        MEASURED, judge="refusal", controls="suites/c.jsonl"
    )
