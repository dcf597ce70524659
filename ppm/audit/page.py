"""An audit for a browser: one page, which loads nothing else and runs no script."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ppm.audit.model import COMPOSITION, Audit, Comparison
from ppm.evaluation.measures.registry import figures_of
from ppm.evaluation.results import Outcome
from ppm.evaluation.suites import LoadedSuite

__all__ = ["html_page"]

WIDTH = 200
PAD = 6
EXAMPLES = 5


@dataclass(frozen=True)
class _Bar:
    """A comparison drawn on an axis of its own: positions in pixels."""

    comparison: Comparison
    mark: str
    zero: float
    margin: float
    low: float
    value: float
    high: float


def html_page(audit: Audit, outcomes: Mapping[tuple[str, str], Outcome], suites: Sequence[LoadedSuite]) -> bytes:
    """The matrix, each comparison drawn against its margin, and prompts that fail in the composition alone."""
    environment = Environment(
        loader=PackageLoader("ppm.audit", ""), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    text = environment.get_template("page.html").render(
        audit=audit,
        composition=COMPOSITION,
        figures={label: figures_of(suite["metric"], label) for label, suite in audit.suites.items()},
        marks={label: _worst([c for c in audit.comparisons if c.suite == label]) for label in audit.suites},
        bars=[_bar(comparison) for comparison in audit.comparisons],
        examples=[found for suite in suites if (found := _examples(audit, outcomes, suite)) is not None],
    )
    return text.encode("utf-8", errors="replace")


def _mark(comparison: Comparison) -> str:
    return "waived" if comparison.waived and comparison.verdict != "pass" else comparison.verdict


def _worst(comparisons: Sequence[Comparison]) -> str:
    found = {_mark(comparison) for comparison in comparisons}
    return next((mark for mark in ("fail", "inconclusive", "waived") if mark in found), "pass")


def _bar(c: Comparison) -> _Bar:
    ends = [0.0, c.margin, c.difference, c.lower, c.upper]
    low, high = min(ends), max(ends)

    def at(value: float) -> float:
        return round(PAD + (WIDTH - 2 * PAD) * (value - low) / ((high - low) or 1.0), 1)

    return _Bar(c, _mark(c), at(0.0), at(c.margin), at(c.lower), at(c.difference), at(c.upper))


def _examples(audit: Audit, outcomes: Mapping[tuple[str, str], Outcome], suite: LoadedSuite) -> dict[str, Any] | None:
    """Prompts on which the composition does worse than what the suite is compared with; None when there are none."""
    against = next(
        (c.against for c in audit.comparisons if c.suite == suite.label and c.rule in ("non-inferiority", "utility")),
        None,
    )
    if against is None or not outcomes[COMPOSITION, suite.digest].completions:
        return None
    theirs, ours = outcomes[against, suite.digest], outcomes[COMPOSITION, suite.digest]
    worse = [i for i in range(len(suite.prompts)) if ours.values[i] > theirs.values[i]]
    if not worse:
        return None
    rows = [
        (suite.prompts[i].prompt, "\n".join(theirs.completions[i]), "\n".join(ours.completions[i]))
        for i in worse[:EXAMPLES]
    ]
    return {
        "suite": suite.label,
        "reference": against,
        "rows": rows,
        "count": len(worse),
        "prompts": len(suite.prompts),
    }
