"""Tables for people: the interference matrix, the comparisons, what is deployed."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ppm.audit.model import Audit, Comparison

__all__ = ["one_line", "plain", "print_audit", "print_table"]

MARKS = {"pass": "green", "fail": "red", "inconclusive": "yellow", "waived": "yellow"}
SYMBOLS = {"pass": "ok", "fail": "X ", "inconclusive": "? ", "waived": "w "}


# Bold and the colors that ppm uses itself may pass; concealing, moving and reversing text may not.
UNSAFE = re.compile(
    r"\x1b(?!\[(?:0|1|31|32|33|36)?m)|[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)


def plain(text: str) -> str:
    """Text without control characters that could play tricks on a terminal; our own colours stay."""
    return UNSAFE.sub("?", text)


def one_line(text: str) -> str:
    """The same without line breaks and tabs, for text that somebody else wrote."""
    return plain(" ".join(text.split()))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> None:
    """Columns of text, padded to their widest cell; `right` are the indices of columns of figures."""
    cells = [[plain(re.sub(r"[\r\n\t]+", " ", cell)) for cell in row] for row in (header, *rows)]
    widths = [max(len(click.unstyle(row[i])) for row in cells) for i in range(len(header))]
    for number, row in enumerate(cells):
        line = []
        for i, cell in enumerate(row):
            pad = " " * (widths[i] - len(click.unstyle(cell)))
            line.append(pad + cell if i in right else cell + pad)
        text = "  ".join(line).rstrip()
        click.echo(click.style(text, bold=True) if number == 0 else text)


def print_audit(audit: "Audit") -> None:
    """The matrix with each patch's own cells in brackets and the gate's marks, what did not pass, and the verdict."""
    from ppm.audit.model import CIRCULAR

    _print_matrix(audit)
    for comparison in audit.comparisons:
        if comparison.mark != "pass":
            needed = comparison.prompts_needed
            settles = f" (about {needed:,} prompts would settle it)" if needed else ""
            click.echo(plain(f"{comparison.mark}: {comparison.rule}, {comparison.describe()}{settles}"))
    meanings = dict(audit.explained)
    tried = [attempt for attempt in audit.attempts if attempt.strategy != audit.strategy]
    for attempt in tried:
        click.echo(plain(f"also tried: {attempt.strategy}: {attempt.verdict} ({attempt.detail})"))
    for verdict in dict.fromkeys(attempt.verdict for attempt in audit.attempts):
        if verdict in meanings:
            click.echo(f"  {verdict}: {meanings.pop(verdict)}")
    for waiver in audit.waivers:
        click.echo(plain(f"waiver: {waiver.suite}, by {waiver.by}: {waiver.reason}"))
    if audit.circular:
        click.echo(plain(f"circular: {', '.join(audit.circular)}: {CIRCULAR}"))
    if audit.continual:
        figures = ", ".join(f"{name.replace('_', ' ')} {value:+.3f}" for name, value in audit.continual.items())
        click.echo(f"Over the deployments: {figures}")
    for word, meaning in meanings.items():
        click.echo(f"  {word}: {meaning}")
    for note in audit.notes:
        click.echo(plain(f"note: {note}"))
    said = click.style(audit.verdict, fg=MARKS[audit.verdict], bold=True)
    click.echo(f"Verdict: {said} ({audit.strategy}, alpha {audit.alpha:g})")
    if audit.may_deploy:
        waived = dict.fromkeys(c.suite for c in audit.comparisons if c.mark == "waived")
        but = f"{', '.join(waived)} did not pass; of the others, " if waived else ""
        click.echo(plain(f"What {'this' if waived else 'a pass'} means: {but}{audit.guarantee}."))


def _print_matrix(audit: "Audit") -> None:
    from ppm.evaluation.measures.registry import figures_of

    suites = list(audit.suites)
    measures = {suite: figures_of(audit.suites[suite].metric, suite) for suite in suites}
    click.echo(
        plain(_legend(audit, {suite: measure.unit for suite, measure in measures.items() if not measure.is_rate}))
    )
    rows = []
    for configuration in audit.configurations:
        cells = [configuration]
        for suite in suites:
            text = measures[suite].shown(audit.matrix[configuration][suite].value)
            own = audit.is_own(configuration, suite)
            mark = _mark([c for c in audit.comparisons if c.suite == suite]) if configuration == "composition" else "  "
            cells.append(f"{'[' if own else ' '}{text}{']' if own else ' '}{mark}")
        rows.append(cells)
    print_table(["", *(f"{suite}   " for suite in suites)], rows, right=range(1, len(suites) + 1))


def _legend(audit: "Audit", units: "dict[str, str]") -> str:
    """How the matrix is to be read."""
    counts = sorted({suite.prompts for suite in audit.suites.values()})
    size = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    lines = [f"Failure rates, lower is better; {size} prompts a suite. [x] is a patch alone on a suite of its own."]
    losses = [suite for suite in audit.utility if suite not in units]
    if losses:
        lines.append(
            f"Utility, as loss: {', '.join(losses)} (the share of prompts that are not answered as they should be)."
        )
    lines += [f"{suite}: {unit}, lower is better." for suite, unit in units.items()]
    return "\n".join(lines)


def _mark(comparisons: "list[Comparison]") -> str:
    """Two characters: what the gate says of a suite; nothing where it was not compared."""
    from ppm.audit.model import verdict_of

    if not comparisons:
        return "  "
    verdict = verdict_of(comparisons)
    return click.style(SYMBOLS[verdict], fg=MARKS[verdict])
