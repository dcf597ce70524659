"""Control answers: labelled completions that a suite's judge scores again at each audit, so that a judge which changed
is told apart from a system which did.

A judge behind an endpoint may be another model tomorrow, under the same name. Where it is right less often on its
control answers than its evidence says, beyond chance, that evidence is not used.
"""

from dataclasses import replace

from scipy.special import bdtr, betaincinv

from ppm.evaluation.agreement import measure
from ppm.evaluation.suites import LoadedSuite

__all__ = ["with_steady_judge"]

ALPHA = 0.01
"""What the test of each side spends, and the bound of what was measured."""


def with_steady_judge(suite: LoadedSuite) -> LoadedSuite:
    """The suite as it is, or without the evidence of a judge that changed, and with what is to be said of it.

    Raises ManifestError where control answers have labels of one kind only, ModelError where the judge fails.
    """
    known, controls = suite.suite.evidence, suite.controls
    if known is None or controls is None or not suite.is_measured:
        return suite
    now = measure(suite.suite.judge.name, suite.judge_version, suite.scorer, controls).evidence(suite.suite.goal)
    sides = (
        ("failures", known.sensitivity, known.failures, now.sensitivity, now.failures),
        ("others", known.specificity, known.successes, now.specificity, now.successes),
    )
    worse = [
        f"{new:.2f} of {count} {what}, {old:.2f} when it was measured"
        for what, old, measured, new, count in sides
        if _is_less(round(new * count), count, round(old * measured), measured)
    ]
    if not worse:
        return suite
    said = f"{suite.label}: its judge has changed; of its control answers it tells {' and '.join(worse)}"
    bare = replace(suite.suite, evidence=None)
    return replace(suite, suite=bare, controls=None, changed=f"{said}, so its evidence is not used")


def _is_less(right: int, count: int, before: int, measured: int) -> bool:
    """Whether so few are right by chance hardly ever, even at the least rate that what was measured allows."""
    least = float(betaincinv(before, measured - before + 1, ALPHA)) if before else 0.0
    return float(bdtr(right, count, least)) < ALPHA
