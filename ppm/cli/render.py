"""Tables for people: the interference matrix, the comparisons, what is deployed."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ppm.audit.model import Audit, Comparison

__all__ = ["one_line", "plain", "print_audit", "print_table"]

MARKS = {"pass": "green", "fail": "red", "inconclusive": "yellow"}


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
    """The matrix with the gate's marks on the composition, what did not pass, and the verdict."""
    from ppm.evaluation.measures.registry import figures_of

    suites = list(audit.suites)
    measures = {suite: figures_of(audit.suites[suite]["metric"]) for suite in suites}
    others = [f"{suite}: {found.unit}" for suite, found in measures.items() if not found.is_rate]
    counts = sorted({int(audit.suites[s]["prompts"]) for s in suites})
    size = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    note = "".join(f"; {other}" for other in others)
    click.echo(f"Failure rates, lower is better{note}. {size} prompts a suite.")
    rows = []
    for configuration in audit.configurations:
        cells = [configuration]
        for suite in suites:
            value = audit.matrix[configuration][suite].value
            text = measures[suite].shown(value)
            if configuration == "composition":
                text += " " + _mark([c for c in audit.comparisons if c.suite == suite])
            else:
                text += " " * 3
            cells.append(text)
        rows.append(cells)
    print_table(["", *(f"{suite}   " for suite in suites)], rows, right=range(1, len(suites) + 1))
    for comparison in audit.comparisons:
        if comparison.verdict != "pass":
            word = "waived" if comparison.waived else comparison.verdict
            needed = (
                f" (about {comparison.prompts_needed:,} prompts would settle it)" if comparison.prompts_needed else ""
            )
            click.echo(f"{word}: {comparison.rule}, {comparison.describe()}{needed}")
    for attempt in audit.attempts:
        if attempt.strategy != audit.strategy:
            click.echo(plain(f"also tried: {attempt.strategy}: {attempt.verdict} ({attempt.detail})"))
    for waiver in audit.waivers:
        click.echo(plain(f"waiver: {waiver.suite}, by {waiver.by}: {waiver.reason}"))
    if audit.circular:
        click.echo(f"circular: the judge of {', '.join(audit.circular)} also chose the training pairs")
    color = MARKS[audit.verdict]
    waived = ", with waivers" if any(c.waived and c.verdict != "pass" for c in audit.comparisons) else ""
    verdict = click.style(audit.verdict, fg=color, bold=True)
    if audit.continual:
        figures = ", ".join(f"{name.replace('_', ' ')} {value:+.3f}" for name, value in audit.continual.items())
        click.echo(f"Over the deployments: {figures}")
    click.echo(f"Verdict: {verdict}{waived} ({audit.strategy}, alpha {audit.alpha:g})")
    if audit.verdict == "pass":
        click.echo(f"What a pass means: {audit.guarantee}.")


def _mark(comparisons: "list[Comparison]") -> str:
    counted = [c for c in comparisons if not c.waived]
    if not counted and comparisons:
        return click.style("w ", fg="yellow")
    worst = next((v for v in ("fail", "inconclusive") if any(c.verdict == v for c in counted)), "pass")
    symbol = {"pass": "ok", "fail": "X ", "inconclusive": "? "}[worst]
    return click.style(symbol, fg=MARKS[worst])
