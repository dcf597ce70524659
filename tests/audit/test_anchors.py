"""Anchors: which outcome later deployments are held to on a suite."""

from dataclasses import replace

import pytest
from audit.test_audit_model import AUDIT, PASSED

from ppm.audit.anchors import Anchor, anchored, anchors_by, key_of, lost_anchors
from ppm.audit.comparison import Comparison
from ppm.audit.model import AuditedSuite
from ppm.bank import EMPTY, Bank, Block
from ppm.evaluation.measures.registry import figures_of
from ppm.evaluation.suites import LoadedSuite
from ppm.suite import Judge, Suite

OLD, NEW = "sha256:" + "1" * 64, "sha256:" + "2" * 64
KEY = ("toxicity", "toxicity")
EARLIER = Comparison("toxicity", "upgrade", "deployed", 0.0, -0.01, 0.01, 0.05, "pass")


def bank():
    return Bank((Block((1, 2), bytes(8)),))


def audit(*comparisons):
    return replace(AUDIT, comparisons=comparisons, suites={"toxicity": AuditedSuite(500, "rate", owner="toxicity")})


def after(found, known=None, deployed=None):
    """The anchor of the one suite."""
    anchors = {KEY: known} if known is not None else {}
    return anchored(found, NEW, anchors, deployed).suites["toxicity"].anchor


def test_the_first_approved_outcome_is_the_anchor():
    assert after(audit(PASSED)) == NEW


@pytest.mark.parametrize("change", [{"waived": True, "verdict": "fail"}, {"waived": True}, {"verdict": "inconclusive"}])
def test_what_was_waived_or_did_not_pass_is_none(change):
    assert after(audit(PASSED, replace(PASSED, rule="effect", **change))) is None


@pytest.mark.parametrize(("upper", "anchor"), [(0.01, OLD), (0.0, OLD), (-0.001, NEW)])
@pytest.mark.parametrize("is_deployed", [False, True])
def test_only_a_significantly_better_one_takes_its_place(upper, anchor, is_deployed):
    known = Anchor(OLD, "deployment 1", bank(), "before-bos")
    found = replace(EARLIER, rule="upgrade" if is_deployed else "anchor", difference=-0.02, lower=-0.05, upper=upper)
    deployed = bank() if is_deployed else EMPTY
    assert after(audit(PASSED, found), known, deployed) == anchor
    assert after(audit(PASSED, replace(found, waived=True)), known, deployed) == OLD


def test_being_better_than_what_is_deployed_does_not_make_an_anchor():
    known = Anchor(OLD, "deployment 1", bank(), "before-bos")
    better = replace(EARLIER, difference=-0.05, lower=-0.08, upper=-0.02)
    assert after(audit(PASSED, better, replace(EARLIER, rule="anchor")), known, EMPTY) == OLD


def test_an_anchor_that_is_not_at_hand_stays_and_is_missed():
    known = Anchor(OLD, "the anchor", None, "before-bos")
    assert after(audit(PASSED), known) == OLD
    suite = Suite("toxicity", "suites/main.jsonl", Judge("refusal"))
    loaded = LoadedSuite("toxicity", suite, "toxicity", (), None, "sha256:0", "1", figures_of("rate"))
    assert "toxicity is not in the store" in lost_anchors({KEY: known}, [loaded])[0]
    assert lost_anchors({}, [loaded]) == []


def test_a_suite_is_known_whatever_tells_it_from_others():
    assert key_of("toxicity", "toxicity==1.0.0/toxicity") == key_of("toxicity", "toxicity") == KEY
    assert key_of(None, "base/perplexity") == key_of(None, "policy/perplexity") == (None, "perplexity")


def history(*rows):
    """Deployments by (digest, audit, held to, anchor)."""
    return [
        (digest, replace(found, suites={"toxicity": replace(SUITE, held_to=held_to, anchor=anchor)}))
        for digest, found, held_to, anchor in rows
    ]


SUITE = AuditedSuite(500, "rate", owner="toxicity")
THIRD = "sha256:" + "3" * 64
WAIVED = audit(replace(PASSED, waived=True))


@pytest.mark.parametrize(
    ("rows", "anchor"),
    [
        pytest.param([(OLD, audit(PASSED), None, OLD), (NEW, audit(PASSED), OLD, OLD)], OLD, id="no better"),
        pytest.param([(OLD, audit(PASSED), None, OLD), (NEW, audit(PASSED), OLD, NEW)], NEW, id="better"),
        pytest.param([(OLD, WAIVED, None, None), (NEW, audit(PASSED), None, NEW)], NEW, id="the first was waived"),
        pytest.param([(OLD, audit(PASSED), None, None), (NEW, audit(PASSED), None, None)], OLD, id="of an older ppm"),
        pytest.param([(OLD, audit(PASSED), None, OLD), (NEW, audit(PASSED), None, NEW)], OLD, id="made elsewhere"),
        pytest.param([(OLD, audit(PASSED), None, OLD), (NEW, audit(PASSED), THIRD, NEW)], OLD, id="held to another"),
        pytest.param([(NEW, audit(PASSED), OLD, OLD)], OLD, id="the first was dropped"),
        pytest.param([(NEW, audit(PASSED), THIRD, THIRD)], NEW, id="made elsewhere, and first here"),
        pytest.param([(NEW, WAIVED, THIRD, THIRD)], None, id="made elsewhere, and waived"),
    ],
)
def test_anchors_follow_from_the_deployments_that_are_there(rows, anchor):
    assert anchors_by(history(*rows), lambda digest: digest != THIRD).get(KEY) == anchor
