"""Rates and differences for pages: over groups, with their bounds, and whether there is enough to judge by.

Knows nothing of models: values by the id of a prompt go in, and the group that each prompt counts in
(`ppm.evaluation.groups`). Where a judge's errors are known, corrected figures stand beside the observed ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ppm.evaluation.correction import Confusion, corrected_difference, corrected_rate
from ppm.evaluation.statistics import Interval, group_means, paired_interval, rate_interval

__all__ = ["LEAST_GROUPS", "PAGE_ALPHA", "Figure", "difference_of", "rate_of"]

LEAST_GROUPS = 250
"""Below so many groups a figure is shown, and nothing is judged by it."""
PAGE_ALPHA = 0.025
"""Of each bound, so that both together are a 95 % interval."""


@dataclass(frozen=True)
class Figure:
    """A rate, or a difference of two, with one-sided bounds, over the groups of some prompts."""

    interval: Interval
    prompts: int
    groups: int

    @property
    def judged(self) -> bool:
        """Whether there are groups enough to judge by."""
        return self.groups >= LEAST_GROUPS

    def __str__(self) -> str:
        """The figure as a page shows it, in brackets what is not judged."""
        found = self.interval
        text = f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"
        return text if self.judged else f"({text})"


def rate_of(
    values: Mapping[str, float],
    groups: Mapping[str, str],
    *,
    alpha: float = PAGE_ALPHA,
    errors: Confusion | None = None,
) -> Figure:
    """A failure rate: the mean of the groups' means, each bound at alpha; corrected for a judge's errors where given.

    Raises ValueError for a prompt without a group.
    """
    means = group_means(list(values.values()), _groups(values, groups))
    interval = rate_interval(means, alpha) if errors is None else corrected_rate(means, errors, alpha)
    return Figure(interval, len(values), len(means))


def difference_of(
    first: Mapping[str, float],
    second: Mapping[str, float],
    groups: Mapping[str, str],
    *,
    alpha: float = PAGE_ALPHA,
    errors: Confusion | None = None,
) -> Figure:
    """The difference first - second of two failure rates on the same prompts, each bound at alpha.

    Raises ValueError where the prompts are not the same, or one has no group.
    """
    if first.keys() != second.keys():
        raise ValueError("paired values must come from the same prompts")
    named = _groups(first, groups)
    x, y = group_means(list(first.values()), named), group_means([second[key] for key in first], named)
    interval = paired_interval(x, y, alpha) if errors is None else corrected_difference(x, y, errors, alpha)
    return Figure(interval, len(first), len(x))


def _groups(values: Mapping[str, float], groups: Mapping[str, str]) -> list[str]:
    lacking = next((key for key in values if key not in groups), None)
    if not values or lacking is not None:
        raise ValueError("there are no prompts" if not values else f"the prompt {lacking!r} has no group")
    return [groups[key] for key in values]
