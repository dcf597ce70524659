"""Intervals for paired failure rates. Every bound is one-sided at the alpha it is given.

Knows nothing of models and suites: counts and differences go in, one a prompt or one a group, and bounds come out.
Quantiles come from scipy.special, as scipy.stats takes two seconds to import.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy
from scipy.optimize import brentq
from scipy.special import betaincinv, ndtr, ndtri, stdtrit

from ppm.evaluation.exact import exact_alpha

__all__ = [
    "Interval",
    "clustered_interval",
    "exact_upper",
    "fewest_units",
    "group_means",
    "least_effect",
    "mean_interval",
    "paired_interval",
    "paired_score_interval",
    "power",
    "prompts_for_power",
    "prompts_needed",
    "rate_interval",
    "units_for_effect",
]


@dataclass(frozen=True)
class Interval:
    """An estimate with a lower and an upper bound, each one-sided at alpha."""

    value: float
    low: float
    high: float


def _score(difference: float, b: float, c: float, n: int) -> float:
    """Tango's score statistic for paired proportions (Tango 1998, Statistics in Medicine 17:891, eq. 12)."""
    a_ = 2.0 * n
    b_ = -b - c + (2 * n - b + c) * difference
    c_ = -c * difference * (1 - difference)
    q = (math.sqrt(max(b_ * b_ - 4 * a_ * c_, 0.0)) - b_) / (2 * a_)
    variance = n * (2 * q + difference * (1 - difference))
    gap = b - c - n * difference
    if variance <= 0:
        return 0.0 if gap == 0 else math.copysign(math.inf, gap)
    return gap / math.sqrt(variance)


def paired_score_interval(b: float, c: float, n: int, alpha: float) -> Interval:
    """The score interval of a difference of paired proportions (b - c) / n.

    b: prompts where only the first fails, c: where only the second does, n: all prompts.
    """
    if not 0 <= b + c <= n * (1 + 1e-9) or n < 1:
        raise ValueError(f"b + c = {b + c} of {n} prompts")
    z = float(-ndtri(alpha))
    value = (b - c) / n
    edge = 1 - 1e-12
    low = high = value
    if _score(-edge, b, c, n) > z:
        low = brentq(lambda d: _score(d, b, c, n) - z, -edge, value, xtol=1e-10) if value > -edge else -1.0
    else:
        low = -1.0
    if _score(edge, b, c, n) < -z:
        high = brentq(lambda d: _score(d, b, c, n) + z, value, edge, xtol=1e-10) if value < edge else 1.0
    else:
        high = 1.0
    return Interval(value, float(low), float(high))


def mean_interval(values: Sequence[float] | numpy.ndarray, alpha: float) -> Interval:
    """Student's interval of a mean; one value alone is taken for 1 more or less, which decides nothing."""
    found = numpy.asarray(values, dtype=float)
    n, mean = len(found), float(found.mean())
    half = float(-stdtrit(n - 1, alpha)) * float(found.std(ddof=1)) / math.sqrt(n) if n > 1 else 1.0
    return Interval(mean, mean - half, mean + half)


def clustered_interval(values: Sequence[float] | numpy.ndarray, alpha: float) -> Interval:
    """Student's interval of the mean of per-prompt values; its half-width is never below z^2 / (n + z^2).

    The floor keeps a sample without any variation from claiming certainty.
    """
    found = mean_interval(values, alpha)
    n, z2 = len(values), float(ndtri(alpha)) ** 2
    half = max(min(found.high - found.value, 1.0), z2 / (n + z2))
    return Interval(found.value, found.value - half, found.value + half)


def _is_binary(values: numpy.ndarray) -> bool:
    return bool(numpy.isin(values, (0.0, 1.0)).all())


def _size(values: numpy.ndarray) -> float:
    """The largest size, which makes every value a share of one unit; 1 where all are 0."""
    return float(numpy.abs(values).max()) or 1.0


def _wider(first: Interval, second: Interval) -> Interval:
    return Interval(first.value, min(first.low, second.low), max(first.high, second.high))


def paired_interval(
    first: Sequence[float], second: Sequence[float], alpha: float, *, margin: float | None = None
) -> Interval:
    """The interval of mean(first) - mean(second), unit by unit; values are failure rates of one prompt or group each.

    Where the upper bound is held against a `margin`, alpha is shrunk so that its worst case is what is said
    (`exact_alpha`).

    Where every unit fails or does not, it is the score interval. Where a unit is a cluster, of samples of a prompt or
    of prompts of a group, it is the wider of two: Student's (`clustered_interval`), and the score interval of the
    differences in units of the largest, so that each is a share of one. Student's alone is too short where few units
    make the whole difference, as it measures its variance at what was seen instead of at the margin; and so is a score
    interval in units of their usual size, where these few stand beside many small differences.
    """
    x, y = numpy.asarray(first, dtype=float), numpy.asarray(second, dtype=float)
    if x.shape != y.shape:
        raise ValueError("paired values must come from the same prompts")
    differences = x - y
    size, n = _size(differences), len(differences)
    if margin is not None and abs(margin) < size:
        alpha = exact_alpha(n, margin / size, alpha)
    b, c = (float(numpy.clip(side, 0, None).sum()) / size for side in (differences, -differences))
    score = paired_score_interval(b, c, n, alpha)
    score = Interval(size * score.value, size * score.low, size * score.high)
    return score if _is_binary(x) and _is_binary(y) else _wider(score, clustered_interval(differences, alpha))


def group_means(values: Sequence[float], groups: Sequence[str]) -> list[float]:
    """The mean of each group's values, in the order in which the groups first occur; `groups` names each value's."""
    if len(values) != len(groups):
        raise ValueError("every value needs a group")
    found: dict[str, list[float]] = {}
    for value, group in zip(values, groups, strict=True):
        found.setdefault(group, []).append(value)
    return [math.fsum(members) / len(members) for members in found.values()]


def exact_upper(failures: float, n: int, alpha: float) -> float:
    """The exact (Clopper-Pearson) upper bound of a rate."""
    return 1.0 if failures >= n else float(betaincinv(failures + 1, n - failures, 1 - alpha))


def rate_interval(values: Sequence[float], alpha: float) -> Interval:
    """The interval of one failure rate: exact where every unit fails or does not, else as `paired_interval`."""
    x = numpy.asarray(values, dtype=float)
    size, n = _size(x), len(x)
    k = min(float(x.sum()) / size, n)
    low = 0.0 if k == 0 else float(betaincinv(k, n - k + 1, alpha))
    exact = Interval(size * k / n, size * low, size * exact_upper(k, n, alpha))
    if _is_binary(x):
        return exact
    found = _wider(exact, clustered_interval(x, alpha))
    return Interval(found.value, max(found.low, 0.0), min(found.high, 1.0))


def prompts_needed(interval: Interval, n: int, margin: float) -> int | None:
    """About how many prompts bring the bound to the margin if the estimate stays; None when none will."""
    room = margin - interval.value
    if room <= 0:
        return None
    half = interval.high - interval.value
    return max(n + 1, math.ceil(n * (half / room) ** 2)) if half > room else n


def power(n: int, margin: float, discordance: float, alpha: float = 0.05) -> float:
    """About the chance of showing non-inferiority when there is no difference, with discordant pairs at this rate."""
    if n < _least(margin, alpha) or n < _least(margin, exact_alpha(n, margin, alpha)):
        return 0.0
    spread = math.sqrt(discordance / n)
    return float(ndtr(margin / spread + ndtri(alpha))) if spread > 0 else 1.0


def prompts_for_power(margin: float, discordance: float, alpha: float = 0.05, wanted: float = 0.9) -> int:
    """How many prompts `power` needs to reach `wanted`."""
    return max(
        math.ceil(discordance * (float(ndtri(wanted) - ndtri(alpha)) / margin) ** 2), fewest_units(margin, alpha)
    )


def fewest_units(margin: float, alpha: float) -> int:
    """The fewest prompts or groups that can pass."""
    n = _least(margin, alpha)
    while (lacking := _least(margin, exact_alpha(n, margin, alpha)) - n) > 0:
        n += max(1, lacking // 16)  # what is lacking falls as n grows, unevenly
    return n


def _least(margin: float, alpha: float) -> int:
    """The fewest that can pass at the interval's own alpha: without a discordant pair the bound is z^2 / (n + z^2)."""
    return math.floor(float(ndtri(alpha)) ** 2 * (1 - margin) / margin) + 1


def least_effect(n: int, share: float, alpha: float = 0.05) -> float:
    """The smallest reduction of a failure rate of which n prompts or groups can show that this share is kept.

    Where a composition does as well as its specialist, what lies beyond the share is 1 - share wherever the base alone
    fails, and its lower bound has to be above 0. Infinite where not even a reduction by 1 can be shown.
    """

    def is_shown(count: int) -> bool:
        beyond = [1 - share] * count + [0.0] * (n - count)
        return paired_interval([0.0] * n, beyond, alpha, margin=0.0).high < 0

    low, high = 0, n
    if not is_shown(n):
        return math.inf
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_shown(middle) else (middle, high)
    return high / n


def units_for_effect(effect: float, share: float, alpha: float = 0.05) -> int | None:
    """About how many prompts or groups it takes for `least_effect` to be as small as this; None where 500 show nothing.

    The two are nearly inversely proportional, so that one size tells all.
    """
    n = 500
    least = least_effect(n, share, alpha)
    return math.ceil(n * least / effect) if math.isfinite(least) else None
