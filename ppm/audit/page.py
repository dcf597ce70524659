"""An audit for a browser: one page, which loads nothing else and runs no script."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from ppm.audit.comparison import COMPOSITION, Comparison, verdict_of
from ppm.audit.model import CIRCULAR, UNGROUPED, Audit
from ppm.evaluation.measures.completions import HIT
from ppm.evaluation.measures.registry import figures_of
from ppm.evaluation.results import Outcome
from ppm.evaluation.second import second_opinion
from ppm.evaluation.suites import UNCALIBRATED, LoadedSuite
from ppm.jsonl import Text

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


def _read(text: Text) -> str:
    """A prompt as people read it; of a chat every message with its role."""
    return text if isinstance(text, str) else "\n".join(f"{role}: {content}" for role, content in text)


@dataclass(frozen=True)
class _Examples:
    """Some of the `count` of a suite's `prompts` on which the composition fails, `alone` or as its reference does.

    `rows`: a prompt, the reference's completions, the composition's.
    """

    suite: str
    reference: str
    rows: list[tuple[str, str, str]]
    count: int
    prompts: int
    alone: bool


def html_page(audit: Audit, outcomes: Mapping[tuple[str, str], Outcome], suites: Sequence[LoadedSuite]) -> bytes:
    """The matrix, each comparison drawn against its margin, and prompts that fail in the composition alone."""
    environment = Environment(
        loader=PackageLoader("ppm.audit", ""), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    figures = {label: figures_of(suite.metric, label) for label, suite in audit.suites.items()}
    text = environment.get_template("page.html").render(
        audit=audit,
        composition=COMPOSITION,
        circular=CIRCULAR,
        uncalibrated=UNCALIBRATED,
        ungrouped=UNGROUPED,
        figures=figures,
        losses=[label for label in audit.utility if figures[label].is_rate],
        lacking=[c for c in audit.comparisons if c.mark != "pass"],
        waived=list(dict.fromkeys(c.suite for c in audit.comparisons if c.mark == "waived")),
        marks={label: _mark([c for c in audit.comparisons if c.suite == label]) for label in audit.suites},
        thresholds=list(dict.fromkeys(threshold for row in audit.triggers for threshold in row.curve)),
        bars=[_bar(comparison) for comparison in audit.comparisons],
        differing=[differing for suite in suites if (differing := _differing(outcomes, suite)) is not None],
        examples=[found for suite in suites if (found := _examples(audit, outcomes, suite)) is not None],
    )
    return text.encode("utf-8", errors="replace")


def _mark(comparisons: Sequence[Comparison]) -> str:
    """What the gate says of a suite; nothing where it was not compared."""
    return verdict_of(comparisons) if comparisons else ""


def _bar(c: Comparison) -> _Bar:
    ends = [0.0, c.margin, c.difference, c.lower, c.upper]
    low, high = min(ends), max(ends)

    def at(value: float) -> float:
        return round(PAD + (WIDTH - 2 * PAD) * (value - low) / ((high - low) or 1.0), 1)

    return _Bar(c, c.mark, at(0.0), at(c.margin), at(c.lower), at(c.difference), at(c.upper))


@dataclass(frozen=True)
class _Differing:
    """Some of the `count` of a suite's `prompts` on whose answers its two judges differ.

    `rows`: a prompt, the composition's completions, the judge that takes them for a failure.
    """

    suite: str
    rows: list[tuple[str, str, str]]
    count: int
    prompts: int


def _differing(outcomes: Mapping[tuple[str, str], Outcome], suite: LoadedSuite) -> _Differing | None:
    outcome = outcomes[COMPOSITION, suite.digest]
    opinion = None if suite.suite.sealed else second_opinion(suite, outcome)
    if opinion is None or suite.suite.second_judge is None or not opinion.prompts:
        return None
    judges = suite.suite.second_judge.name, suite.suite.judge.name
    rows = [
        (_read(suite.prompts[i].prompt), "\n".join(outcome.completions[i]), judges[outcome.values[i] >= HIT])
        for i in opinion.prompts[:EXAMPLES]
    ]
    return _Differing(suite.label, rows, len(opinion.prompts), len(suite.prompts))


def _examples(audit: Audit, outcomes: Mapping[tuple[str, str], Outcome], suite: LoadedSuite) -> _Examples | None:
    """Prompts on which the composition does worse than what the suite is compared with; None when there are none.

    Where a suite did not pass for another reason, such as too little effect, those on which the composition fails.
    """
    compared = [c for c in audit.comparisons if c.suite == suite.label]
    against = next((c.against for c in compared if c.rule in ("non-inferiority", "utility", "upgrade")), None)
    if suite.suite.sealed or against is None or not outcomes[COMPOSITION, suite.digest].completions:
        return None
    theirs, ours = outcomes[against, suite.digest], outcomes[COMPOSITION, suite.digest]
    every = range(len(suite.prompts))
    shown = [i for i in every if ours.values[i] > theirs.values[i]]
    alone = bool(shown)
    if not alone and any(c.mark != "pass" for c in compared):
        shown = [i for i in every if ours.values[i] > 0]
    if not shown:
        return None
    rows = [
        (_read(suite.prompts[i].prompt), "\n".join(theirs.completions[i]), "\n".join(ours.completions[i]))
        for i in shown[:EXAMPLES]
    ]
    return _Examples(suite.label, against, rows, len(shown), len(suite.prompts), alone)
