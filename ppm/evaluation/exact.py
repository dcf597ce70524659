"""Alpha for the paired score interval, shrunk so that its chance of a wrong pass is hardly above what is said.

The score interval is an approximation: on a few hundred prompts it lets a composition that is worse by just the margin
pass up to a fifth more often than alpha. That chance is a finite sum for each rate at which the other side alone fails,
so the worst of many rates is searched, and alpha made smaller until the worst is at most alpha. Between these rates the
chance can be up to 3 % of alpha higher (docs/gate.md). That is for units that fail or don't; for shares it is a rule of
thumb, which simulations bear out. Knows nothing of models and suites.
"""

import math
from functools import lru_cache

import numpy
from scipy.special import bdtr, gammaln, ndtri

__all__ = ["exact_alpha", "worst_error"]

RATES = numpy.concatenate([numpy.linspace(0, 0.02, 41), numpy.linspace(0.0225, 0.1, 32), numpy.linspace(0.11, 0.5, 40)])
"""Rates at which only what is compared with fails, or for a negative margin only the other side."""
REACH = 9.0
"""How many standard deviations of a count are summed over."""
STEPS = 10
"""Of the search for alpha: to within a thousandth of it."""


@lru_cache(maxsize=4096)
def exact_alpha(n: int, margin: float, alpha: float) -> float:
    """The largest alpha, up to this one, at which the interval's worst chance of a wrong pass is at most `alpha`.

    That is the chance, on n prompts or groups that fail or don't, that the upper bound of a true difference of just the
    margin is below it. A margin may be negative: then it is what a reduction has to exceed.
    """
    if worst_error(n, margin, alpha) <= alpha:
        return alpha
    low = alpha / 2
    while worst_error(n, margin, low) > alpha:
        low /= 2
    high = 2 * low
    for _ in range(STEPS):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if worst_error(n, margin, middle) <= alpha else (low, middle)
    return low


def worst_error(n: int, margin: float, alpha: float, searched: numpy.ndarray = RATES) -> float:
    """The largest chance of a wrong pass over the rates that are `searched`, with the interval at this alpha."""
    most = _most(n, margin, alpha)
    highest = (1 - abs(margin)) / 2  # where every prompt is one that only one of the two fails
    rates = [*(float(rate) for rate in searched if rate < highest), highest]
    return max(_error(n, most, rate + max(margin, 0.0), rate + max(-margin, 0.0)) for rate in rates)


def _error(n: int, most: numpy.ndarray, b: float, c: float) -> float:
    """The chance to pass where only the first fails with chance b, and only the second with chance c."""
    spread = REACH * math.sqrt(n * c * (1 - c)) + REACH
    counts = numpy.arange(max(0, math.floor(n * c - spread)), min(n, math.ceil(n * c + spread)) + 1)
    counts = counts[most[counts] >= 0]
    if not len(counts):
        return 0.0
    if c == 0:
        return float(bdtr(most[0], n, b)) if counts[0] == 0 else 0.0
    if c >= 1:
        return float(counts[-1] == n)
    chances = numpy.exp(
        gammaln(n + 1)
        - gammaln(counts + 1)
        - gammaln(n - counts + 1)
        + counts * math.log(c)
        + (n - counts) * math.log1p(-c)
    )
    return float((chances * bdtr(most[counts], n - counts, min(1.0, b / (1 - c)))).sum())


def _most(n: int, margin: float, alpha: float) -> numpy.ndarray:
    """For each count c from 0 to n, the largest b that passes; -1 where none does.

    The bound is below the margin just when the score statistic at the margin is below -z (Tango 1998, eq. 12), and that
    grows with b.
    """
    z = -float(ndtri(alpha))
    c = numpy.arange(n + 1)
    low, high = numpy.full(n + 1, -1), n - c + 1  # the one passes or is -1, the other does not pass
    while bool((high - low > 1).any()):
        middle = (low + high) // 2
        passed = (middle >= 0) & (_score(middle, c, n, margin) < -z)
        low, high = numpy.where(passed, middle, low), numpy.where(passed, high, middle)
    return low.astype(float)


def _score(b: numpy.ndarray, c: numpy.ndarray, n: int, margin: float) -> numpy.ndarray:
    """The score statistic at the margin, for arrays; `statistics` has it for the one that a root is searched of."""
    first = -b - c + (2 * n - b + c) * margin
    root = numpy.sqrt(numpy.maximum(first**2 + 8 * n * c * margin * (1 - margin), 0))
    variance = n * (2 * (root - first) / (4 * n) + margin * (1 - margin))
    gap = b - c - n * margin
    with numpy.errstate(divide="ignore", invalid="ignore"):
        found = gap / numpy.sqrt(variance)
    return numpy.where(variance > 0, found, numpy.where(gap == 0, 0.0, numpy.copysign(numpy.inf, gap)))
