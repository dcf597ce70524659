"""Where how often a judge errs is known, the gate compares true rates, and owns up to what the labels leave open."""

import json
from dataclasses import replace

import pytest
from audit.test_audit_model import AUDIT
from audit.test_gate import GOOD, NAME, compared, in_groups, outcome, suite_of

from benchmarks.error_rates import simulated_error, with_errors
from ppm.audit.model import Audit
from ppm.errors import IntegrityError
from ppm.evaluation.correction import corrected_difference, corrected_rate
from ppm.evaluation.judges.base import Scorer
from ppm.suite import Evidence

LABELS = "sha256:" + "0" * 64
KNOWN = Evidence("refusal", "1", 0.93, 0.94, 400, 300, LABELS)
AUDITS = 1_000


def measured(evidence=KNOWN, **settings):
    """A suite whose judge, of version 1, has evidence."""
    return replace(suite_of(evidence=evidence, **settings), scorer=Scorer(lambda cases: [[]]))


def test_figures_are_those_of_the_correction():
    suite, plain = measured(limit=0.3), suite_of(limit=0.3)
    found, observed = compared(suite, **GOOD), compared(plain, **GOOD)
    values = [GOOD[key].values for key in ("composition", "specialist")]
    wanted = corrected_difference(*values, suite.errors, found["non-inferiority", NAME].alpha, margin=0.05)
    shown = found["non-inferiority", NAME]
    assert (shown.difference, shown.lower, shown.upper) == (wanted.value, wanted.low, wanted.high)
    assert found["ceiling", "limit"].upper == corrected_rate(values[0], suite.errors, shown.alpha).high
    assert all(c.corrected for c in found.values())
    assert not any(c.corrected for c in observed.values())
    assert "toxicity, corrected: +0.005" in shown.describe()


def test_a_judge_that_sees_little_of_a_loss_does_not_hide_it():
    """Half of what is lost is seen: 0.03 of 0.06."""
    blind = replace(KNOWN, sensitivity=0.55, specificity=0.95)
    sides = {"base": outcome(900, 2000), "specialist": outcome(0, 2000), "composition": outcome(60, 2000)}
    assert compared(suite_of(), **sides)["non-inferiority", NAME].verdict == "pass"
    found = compared(measured(blind), **sides)["non-inferiority", NAME]
    assert found.difference == pytest.approx(0.06, abs=0.001)
    assert found.verdict == "inconclusive"


@pytest.mark.parametrize("change", [{"version": "2"}, {"judge": "lexicon"}])
def test_evidence_of_another_judge_or_version_is_none(change):
    suite = measured(replace(KNOWN, **change))
    assert suite.errors is None
    assert compared(suite, **GOOD) == compared(suite_of(), **GOOD)


def test_labels_of_few_groups_count_as_few():
    many, few = measured().errors, measured(replace(KNOWN, groups=70)).errors
    assert (many.failures, many.others) == (400, 300)
    assert (few.failures, few.others) == (40, 30)
    upper = [compared(measured(e), **GOOD)["non-inferiority", NAME].upper for e in (KNOWN, replace(KNOWN, groups=70))]
    assert upper[0] < upper[1]


def test_a_judge_that_is_no_better_than_chance_settles_nothing():
    coin = replace(KNOWN, sensitivity=0.5, specificity=0.5)
    found = compared(measured(coin, limit=0.99), **GOOD)
    assert {c.verdict for c in found.values()} <= {"inconclusive", "fail"}
    assert (found["non-inferiority", NAME].lower, found["non-inferiority", NAME].upper) == (-1.0, 1.0)


def test_groups_and_corrections_go_together():
    suite = in_groups(measured(), 5)
    found = compared(suite, **GOOD)["non-inferiority", NAME]
    assert (found.groups, found.corrected) == (100, True)
    assert found.upper > compared(measured(), **GOOD)["non-inferiority", NAME].upper


@pytest.mark.parametrize("damage", [{"corrected": [0.1]}, {"corrected": [0.1, 0.0, 0.2]}])
def test_corrected_figures_that_are_not_whole_are_no_audit(damage):
    """Whether they lack bounds or what they are corrected for."""
    table = json.loads(AUDIT.to_json())
    table["matrix"]["base"]["toxicity"] |= damage
    with pytest.raises(IntegrityError, match="is incomplete"):
        Audit.from_table(table, "audit.json")


@pytest.mark.slow
@pytest.mark.parametrize("youden", [0.6, 0.8, 0.95, 1.0])
def test_judges_that_err_pass_a_loss_of_the_margin_with_a_chance_of_alpha_once_measured(youden):
    alpha = 0.03
    found = simulated_error(with_errors(500, 0.05, alpha, youden), AUDITS)
    assert found <= alpha + 3 * (alpha * (1 - alpha) / AUDITS) ** 0.5


@pytest.mark.slow
def test_judges_that_err_and_were_not_measured_pass_it_far_more_often():
    assert simulated_error(with_errors(2000, 0.05, 0.03, 0.6, measured=False), 300) > 0.2


def test_what_a_judge_gets_wrong_has_no_part_in_rules_about_answers():
    suite = in_groups(measured(), 1)
    texts = tuple((f"an answer to the {i}th",) for i in range(500))
    said = {name: replace(outcome, completions=texts) for name, outcome in GOOD.items()}
    found = compared(suite, **said)
    assert {c.rule for c in found.values() if not c.corrected} == {"degenerate", "sameness"}
    assert {c.rule for c in found.values() if c.corrected} >= {"effect", "non-inferiority", "preserved-effect"}
