"""An audit for a browser: one page, which loads nothing else and runs no script."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ppm.audit.candidates import PROMPT_TOKENS, frontier
from ppm.audit.comparison import COMPOSITION, Comparison, verdict_of
from ppm.audit.model import CIRCULAR, UNGROUPED, Audit
from ppm.audit.report import Report
from ppm.evaluation.measures.completions import HIT
from ppm.evaluation.measures.registry import figures_of
from ppm.evaluation.results import Outcome
from ppm.evaluation.suites import UNCALIBRATED, LoadedSuite
from ppm.jsonl import spelled_out
from ppm.page import render
from ppm.verdict import Waiver

__all__ = ["html_page"]

WIDTH, PAD = 200, 6
REACH = 0.2
"""How far the axis reaches to either side of what the rule asks for; what is farther away is drawn at its end."""
ENOUGH = 0.9
"""The power from which more prompts are not what an inconclusive comparison lacks."""
FULL_RECALL = 0.95
"""From which share of a risk's prompts on triggers need no mention."""
SHOWN, ROWS = 5, 1_000
"""How many answers on which judges differ are shown, and how many of a suite's failures; `--samples` writes all."""


@dataclass(frozen=True)
class _Bar:
    """A comparison drawn on the axis of all of them, with what passes on the left: positions in pixels.

    `margin` is what the rule asks for, in the middle, and `zero` no difference, None where the axis does not reach it.
    """

    comparison: Comparison
    mark: str
    zero: float | None
    margin: float
    low: float
    value: float
    high: float


@dataclass(frozen=True)
class _Examples:
    """The `count` of a suite's `prompts` on which the composition fails, of which its reference does better on `alone`.

    `rows`: a prompt, the reference's completions, the composition's, and whether the reference does better.
    """

    suite: str
    reference: str
    rows: list[tuple[str, str, str, bool]]
    count: int
    prompts: int
    alone: int


def html_page(report: Report) -> bytes:
    """What was tested and what did not pass, the matrix, each comparison against its margin, and what fails."""
    audit, outcomes, suites = report.audit, report.outcomes, report.suites
    figures = {label: figures_of(suite.metric, label) for label, suite in audit.suites.items()}
    lacking = [c for c in audit.comparisons if c.mark != "pass"]
    return render(
        "audit/page.html",
        audit=audit,
        about=report.about,
        summary=_summary(audit, lacking),
        composition=COMPOSITION,
        reach=REACH,
        enough=ENOUGH,
        unmet=_unmet(audit),
        circular=CIRCULAR,
        uncalibrated=UNCALIBRATED,
        ungrouped=UNGROUPED,
        figures=figures,
        losses=[label for label in audit.utility if figures[label].is_rate],
        lacking=lacking,
        waived=_waived(audit, lacking),
        marks={label: _mark([c for c in audit.comparisons if c.suite == label]) for label in audit.suites},
        frontier=frontier(audit.candidates),
        prompt_tokens=PROMPT_TOKENS,
        thresholds=list(dict.fromkeys(threshold for row in audit.triggers for threshold in row.curve)),
        bars=[_bar(comparison) for comparison in audit.comparisons],
        differing=[differing for suite in suites if (differing := _differing(report, suite)) is not None],
        examples=[found for suite in suites if (found := _examples(audit, outcomes, suite)) is not None],
    )


def _unmet(audit: Audit) -> dict[str, tuple[float, float]]:
    """By suite, where its own patch misses prompts: the shares that no patch answers, and that others alone do."""
    own = [row for row in audit.triggers if row.configuration == COMPOSITION]
    wrong = {row.suite: row.share for row in own if row.kind == "wrong patch"}
    found = {row.suite: row.share for row in own if row.kind == "recall" and row.share < FULL_RECALL}
    return {
        suite: (max(0.0, 1 - share - wrong.get(suite, 0.0)), wrong.get(suite, 0.0)) for suite, share in found.items()
    }


def _mark(comparisons: Sequence[Comparison]) -> str:
    """What the gate says of a suite; nothing where it was not compared."""
    return verdict_of(comparisons) if comparisons else ""


def _summary(audit: Audit, lacking: Sequence[Comparison]) -> list[str]:
    """A few sentences: what was tested, how it went, what still fails, and what that means."""
    patches = sum("==" in name for name in audit.configurations)
    prompts = sum(suite.prompts for suite in audit.suites.values())
    several = f"{patches} patches, composed by {audit.strategy}" if patches > 1 else "One patch"
    was = "were" if patches > 1 else "was"
    tested = f"{several}, {was} tested on {audit.base} with {prompts:,} prompts in {len(audit.suites)} suites."
    passed = f"{len(audit.comparisons) - len(lacking)} of {len(audit.comparisons)} comparisons passed"
    waived = dict.fromkeys(c.suite for c in lacking if c.mark == "waived")
    open_ = dict.fromkeys(c.suite for c in lacking if c.mark != "waived")
    went = [passed, *([f"{', '.join(open_)} did not"] if open_ else [])]
    went += [f"{', '.join(waived)} did not, and {'were' if len(waived) > 1 else 'was'} waived"] if waived else []
    risks = [label for label, suite in audit.suites.items() if suite.owner is not None and label in audit.composed]
    left = ", ".join(
        f"{label} {figures_of(audit.suites[label].metric, label).shown(audit.composed[label])}" for label in risks
    )
    means = "So it must not be deployed as it is"
    if audit.may_deploy:
        means = f"{'Of what passed, this is shown' if waived else 'What a pass means'}: {audit.guarantee}"
    still = [f"As observed, of the prompts of each risk these shares still fail: {left}."] if left else []
    return [tested, f"{'; '.join(went)}.", *still, f"{means}."]


@dataclass
class _Waived:
    """The suites that somebody waived for one reason: those that did not pass, and those that needed none."""

    waiver: Waiver
    suites: list[str] = field(default_factory=list)
    spare: list[str] = field(default_factory=list)


def _waived(audit: Audit, lacking: Sequence[Comparison]) -> list[_Waived]:
    suites = {c.suite for c in lacking if c.mark == "waived"}
    found: dict[tuple[str, str, str], _Waived] = {}
    for waiver in audit.waivers:
        one = found.setdefault((waiver.by, waiver.reason, waiver.at), _Waived(waiver))
        (one.suites if waiver.suite in suites else one.spare).append(waiver.suite)
    return list(found.values())


def _bar(c: Comparison) -> _Bar:
    above = c.rule in ("effect", "preserved-effect")  # what passes is above what is asked for

    def excess(value: float) -> float:
        return c.margin - value if above else value - c.margin

    def at(value: float) -> float:
        part = min(max(excess(value) / REACH, -1.0), 1.0)
        return round(WIDTH / 2 + (WIDTH / 2 - PAD) * part, 1)

    zero = at(0.0) if abs(excess(0.0)) <= REACH else None
    low, high = sorted((at(c.lower), at(c.upper)))
    return _Bar(c, c.mark, zero, at(c.margin), low, at(c.difference), high)


@dataclass(frozen=True)
class _Differing:
    """Some of the `count` of a suite's `prompts` on whose answers its two judges differ.

    `rows`: a prompt, the composition's completions, the judge that takes them for a failure.
    """

    suite: str
    rows: list[tuple[str, str, str]]
    count: int
    prompts: int


def _differing(report: Report, suite: LoadedSuite) -> _Differing | None:
    outcome = report.outcomes[COMPOSITION, suite.digest]
    opinion = None if suite.suite.sealed else report.opinions.get(suite.label)
    if opinion is None or suite.suite.second_judge is None or not opinion.prompts:
        return None
    judges = suite.suite.second_judge.name, suite.suite.judge.name
    rows = [
        (spelled_out(suite.prompts[i].prompt), "\n".join(outcome.completions[i]), judges[outcome.values[i] >= HIT])
        for i in opinion.prompts[:SHOWN]
    ]
    return _Differing(suite.label, rows, len(opinion.prompts), len(suite.prompts))


def _examples(audit: Audit, outcomes: Mapping[tuple[str, str], Outcome], suite: LoadedSuite) -> _Examples | None:
    """Prompts on which the composition fails, those first on which what it is compared with does better."""
    compared = [c for c in audit.comparisons if c.suite == suite.label]
    against = next((c.against for c in compared if c.rule in ("non-inferiority", "utility", "upgrade")), None)
    if suite.suite.sealed or against is None or not outcomes[COMPOSITION, suite.digest].completions:
        return None
    theirs, ours = outcomes[against, suite.digest], outcomes[COMPOSITION, suite.digest]
    failing = [i for i, value in enumerate(ours.values) if suite.measure.fails(suite.suite, value)]
    if not failing:
        return None
    alone = {i for i in failing if ours.values[i] > theirs.values[i]}
    failing.sort(key=lambda i: (i not in alone, i))
    rows = [
        (
            spelled_out(suite.prompts[i].prompt),
            "\n".join(theirs.completions[i]),
            "\n".join(ours.completions[i]),
            i in alone,
        )
        for i in failing[:ROWS]
    ]
    return _Examples(suite.label, against, rows, len(failing), len(suite.prompts), len(alone))
