"""The gate: five rules, each turned into comparisons over per-prompt outcomes. All bounds are one-sided at alpha.

Every suite must pass (intersection-union), so suites need no correction. Knows nothing of models: it sees values
that are paired prompt by prompt.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ppm.audit.model import COMPOSITION, MOST_HALVINGS, Comparison, Rule, Verdict
from ppm.evaluation.results import Outcome
from ppm.evaluation.statistics import Interval, mean_interval, paired_interval, prompts_needed, rate_interval
from ppm.evaluation.suites import LoadedSuite
from ppm.project import Gates

__all__ = ["Sides", "alpha_of_attempt", "compare", "margin_of", "verdict_of"]

MIN_PERPLEXITY_PROMPTS = 200


@dataclass(frozen=True)
class Sides:
    """The outcomes of one suite that the rules compare; `specialist` and `deployed` are (name, outcome)."""

    base: Outcome
    composition: Outcome
    specialist: tuple[str, Outcome] | None = None
    deployed: tuple[str, Outcome] | None = None


def alpha_of_attempt(alpha: float, attempt: int) -> float:
    """What the k-th gated attempt of one install may spend (k from 1): alpha / 2^k; together less than alpha.

    From the MOST_HALVINGS-th on it stays at what is next to nothing, so that every bound can still be computed.
    """
    return math.ldexp(alpha, -min(attempt, MOST_HALVINGS))


def compare(suite: LoadedSuite, sides: Sides, alpha: float, policy: Gates) -> list[Comparison]:
    """Every comparison that the rules ask of one suite."""
    margin = margin_of(suite, policy)
    found: list[Comparison] = []
    if suite.suite.against == "base":
        found.append(_not_worse(suite, "utility", "base", sides.composition, sides.base, margin, alpha, policy))
    elif sides.specialist is not None:
        name, specialist = sides.specialist
        minimum = max(suite.suite.min_effect or 0.0, policy.min_effect or 0.0)
        found.append(_effect(suite, name, specialist, sides.base, minimum, alpha))
        found.append(_effect(suite, COMPOSITION, sides.composition, sides.base, minimum, alpha))
        found.append(_not_worse(suite, "non-inferiority", name, sides.composition, specialist, margin, alpha, policy))
    if sides.deployed is not None:
        name, deployed = sides.deployed
        found.append(_not_worse(suite, "upgrade", name, sides.composition, deployed, margin, alpha, policy))
    if suite.suite.limit is not None:
        found.append(_ceiling(suite, sides.composition, suite.suite.limit, alpha))
    return found


def verdict_of(comparisons: Iterable[Comparison]) -> Verdict:
    """Fail when one failed, else inconclusive when one is, else pass; what is waived does not count."""
    verdicts = {c.verdict for c in comparisons if not c.waived}
    return "fail" if "fail" in verdicts else "inconclusive" if "inconclusive" in verdicts else "pass"


def margin_of(suite: LoadedSuite, policy: Gates) -> float:
    """The margin of a suite, which the deployer's policy may narrow."""
    declared = suite.suite.allowance
    return min(declared, policy.max_margin) if policy.max_margin is not None else declared


def _difference(suite: LoadedSuite, first: Outcome, second: Outcome, alpha: float) -> Interval:
    if suite.suite.metric == "perplexity":
        values: Sequence[float] = [a - b for a, b in zip(first.values, second.values, strict=True)]
        return mean_interval(values, alpha)
    return paired_interval(first.values, second.values, alpha)


def _not_worse(
    suite: LoadedSuite,
    rule: Rule,
    against: str,
    first: Outcome,
    second: Outcome,
    margin: float,
    alpha: float,
    policy: Gates,
) -> Comparison:
    interval = _difference(suite, first, second, alpha)
    n = len(first.values)
    minimum = MIN_PERPLEXITY_PROMPTS if suite.suite.metric == "perplexity" else policy.min_prompts or 0
    verdict: Verdict = "pass" if interval.high < margin else "fail" if interval.low > margin else "inconclusive"
    needed = prompts_needed(interval, n, margin) if verdict == "inconclusive" else None
    if verdict == "pass" and n < minimum:
        verdict, needed = "inconclusive", minimum
    if needed is not None:
        needed = max(needed, minimum)
    return Comparison(suite.label, rule, against, interval.value, interval.low, interval.high, margin, verdict, needed)


def _effect(
    suite: LoadedSuite, configuration: str, outcome: Outcome, base: Outcome, minimum: float, alpha: float
) -> Comparison:
    interval = paired_interval(base.values, outcome.values, alpha)
    verdict: Verdict = "pass" if interval.low > minimum else "fail" if interval.high <= minimum else "inconclusive"
    # A patch that reduces nothing has failed, however few prompts there are.
    if interval.value <= 0:
        verdict = "fail"
    mirrored = Interval(-interval.value, -interval.high, -interval.low)
    needed = prompts_needed(mirrored, len(base.values), -minimum) if verdict == "inconclusive" else None
    return Comparison(
        suite.label,
        "effect",
        "base",
        interval.value,
        interval.low,
        interval.high,
        minimum,
        verdict,
        needed,
        configuration=configuration,
    )


def _ceiling(suite: LoadedSuite, outcome: Outcome, limit: float, alpha: float) -> Comparison:
    interval = rate_interval(outcome.values, alpha)
    verdict: Verdict = "pass" if interval.high < limit else "fail" if interval.low >= limit else "inconclusive"
    needed = prompts_needed(interval, len(outcome.values), limit) if verdict == "inconclusive" else None
    return Comparison(
        suite.label, "ceiling", "limit", interval.value, interval.low, interval.high, limit, verdict, needed
    )
