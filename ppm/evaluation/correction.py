"""Rates corrected for a judge's errors, with bounds that carry what the labels leave open about these errors.

A judge that misses failures and calls others failures shows the rate p = se r + (1 - sp) (1 - r) where the true rate is
r, with se its sensitivity and sp its specificity, so that r = (p + sp - 1) / J with J = se + sp - 1 (Rogan and Gladen
1978, Estimating prevalence from the results of a screening test). Knows nothing of judges and suites.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import ndtri

from ppm.evaluation.statistics import Interval, paired_interval, rate_interval

__all__ = ["LABELS_SHARE", "Confusion", "corrected_difference", "corrected_rate"]

LABELS_SHARE = 0.2
"""The share of alpha that a corrected difference spends on the judge's errors."""


@dataclass(frozen=True)
class Confusion:
    """How a judge did on labelled completions, in counts; what is looked for is a failure as the suite counts it."""

    true_positive: int
    false_negative: int
    true_negative: int
    false_positive: int

    def __post_init__(self) -> None:
        if min(self.true_positive, self.false_negative, self.true_negative, self.false_positive) < 0:
            raise ValueError("counts can't be negative")
        if not self.failures or not self.others:
            raise ValueError("a judge's errors take labelled failures and labelled completions that are none")

    @property
    def failures(self) -> int:
        """How many completions people called failures."""
        return self.true_positive + self.false_negative

    @property
    def others(self) -> int:
        """How many completions people did not call failures."""
        return self.true_negative + self.false_positive

    def sensitivity(self, alpha: float) -> Interval:
        """The share of failures that the judge finds, with one-sided bounds (Wilson 1927)."""
        return _wilson(self.true_positive, self.failures, alpha)

    def specificity(self, alpha: float) -> Interval:
        """The share of other completions that it does not call failures, with one-sided bounds (Wilson 1927)."""
        return _wilson(self.true_negative, self.others, alpha)

    def youden(self, alpha: float) -> Interval:
        """J = sensitivity + specificity - 1 with one-sided bounds (Youden 1950; bounds by MOVER, as below)."""
        se, sp = self.sensitivity(alpha), self.specificity(alpha)
        value = se.value + sp.value - 1
        low = value - math.hypot(se.value - se.low, sp.value - sp.low)
        return Interval(value, low, value + math.hypot(se.high - se.value, sp.high - sp.value))


def _wilson(count: int, n: int, alpha: float) -> Interval:
    z2, p = float(ndtri(alpha)) ** 2, count / n
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return Interval(p, max(middle - half, 0.0), min(middle + half, 1.0))


def corrected_rate(values: Sequence[float], errors: Confusion, alpha: float) -> Interval:
    """The true rate behind an observed one, from 0 to 1; `values` are observed rates of one group, or prompt, each.

    The bounds put those of the observed rate, of sensitivity and of specificity together by MOVER (Zou and Donner
    2008, Statistics in Medicine 27:1693): how far each of them alone would move the estimate, as the root of the sum of
    squares. A judge that is not shown to be better than chance leaves everything open: then they are 0 and 1.
    """
    observed = rate_interval(values, alpha)
    se, sp = errors.sensitivity(alpha), errors.specificity(alpha)
    value = _rogan_gladen(observed.value, se.value, sp.value)
    if errors.youden(alpha).low <= 0:
        return Interval(min(max(value, 0.0), 1.0), 0.0, 1.0)
    low = value - _moved(value, observed, se, sp, (observed.low, se.high, sp.low))
    high = value + _moved(value, observed, se, sp, (observed.high, se.low, sp.high))
    value = min(max(value, 0.0), 1.0)
    return Interval(value, min(max(low, 0.0), value), max(min(high, 1.0), value))


def _rogan_gladen(rate: float, sensitivity: float, specificity: float) -> float:
    """(p + sp - 1) / J; 0 for a judge that is a coin, which the bounds say."""
    j = sensitivity + specificity - 1
    return (rate + specificity - 1) / j if j > 0 else 0.0


def _moved(value: float, observed: Interval, se: Interval, sp: Interval, ends: tuple[float, float, float]) -> float:
    """How far the three, each alone at its end, move the estimate: the root of the sum of squares."""
    rate, sensitivity, specificity = ends
    return math.hypot(
        _rogan_gladen(rate, se.value, sp.value) - value,
        _rogan_gladen(observed.value, sensitivity, sp.value) - value,
        _rogan_gladen(observed.value, se.value, specificity) - value,
    )


def corrected_difference(
    first: Sequence[float],
    second: Sequence[float],
    errors: Confusion,
    alpha: float,
    *,
    margin: float | None = None,
) -> Interval:
    """The true difference behind first - second, from -1 to 1, where the judge errs alike on both: observed over J.

    Of each bound's alpha, `LABELS_SHARE` is spent on J and the rest on the observed difference, so that the two
    together hold whatever their dependence (Bonferroni). A `margin` is one that the upper bound is held against.
    """
    j = errors.youden(LABELS_SHARE * alpha)
    seen = None if margin is None or j.low <= 0 else margin * (j.low if margin > 0 else min(j.high, 1.0))
    observed = paired_interval(first, second, (1 - LABELS_SHARE) * alpha, margin=seen)
    if j.low <= 0:
        return Interval(min(max(observed.value / j.value, -1.0), 1.0) if j.value > 0 else observed.value, -1.0, 1.0)
    value = min(max(observed.value / j.value, -1.0), 1.0)
    low = observed.low / (j.low if observed.low < 0 else min(j.high, 1.0))
    high = observed.high / (j.low if observed.high > 0 else min(j.high, 1.0))
    return Interval(value, min(max(low, -1.0), value), max(min(high, 1.0), value))
