"""Control answers: labelled completions that a suite's judge scores again at each audit, so that a judge which changed
is told apart from a system which did.

A judge behind an endpoint may be another model tomorrow, under the same name. Where it is right less often on its
control answers than its evidence says, beyond chance, every comparison of the suite is inconclusive: what was kept from
before and what is judged now are not by the same judge.
"""

from dataclasses import replace

from scipy.special import bdtr, betaincinv

from ppm.evaluation.agreement import measure
from ppm.evaluation.suites import LoadedSuite, confusion_of

__all__ = ["with_steady_judge"]

ALPHA = 0.01
"""What the test of each side spends, and the bound of what was measured."""


def with_steady_judge(suite: LoadedSuite) -> LoadedSuite:
    """The suite as it is, or with how its judge has changed: then nothing that it says now can be gone by.

    Raises PpmError where the judge can't work here, or fails.
    """
    known, controls = suite.suite.evidence, suite.controls
    if known is None or controls is None or suite.errors is None:
        return suite
    suite.scorer.prepare()
    now = measure(suite.suite.judge.name, suite.judge_version, suite.scorer, controls).evidence(suite.suite.goal)
    before, after = confusion_of(known), confusion_of(now)
    sides = (
        ("failures", before.true_positive, before.failures, after.true_positive, after.failures),
        ("others", before.true_negative, before.others, after.true_negative, after.others),
    )
    worse = [
        f"{right / count:.2f} of {count} {what}, {old / measured:.2f} when it was measured"
        for what, old, measured, right, count in sides
        if _is_less(right, count, old, measured)
    ]
    if not worse:
        return suite
    said = f"{suite.label}: its judge has changed; of its control answers it tells {' and '.join(worse)}"
    return replace(suite, changed=f"{said}, so nothing is shown of this suite")


def _is_less(right: int, count: int, before: int, measured: int) -> bool:
    """Whether so few are right by chance hardly ever, even at the least rate that what was measured allows."""
    least = float(betaincinv(before, measured - before + 1, ALPHA)) if before else 0.0
    return float(bdtr(right, count, least)) < ALPHA
