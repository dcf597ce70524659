"""An audit for people: the interference table, what did not pass, and the verdict."""

from typing import TYPE_CHECKING

from ppm.cli.output import Styled, Text, print_table, write

if TYPE_CHECKING:
    from ppm.audit.model import Audit, Comparison

__all__ = ["print_audit"]

MARKS = {"pass": "green", "fail": "red", "inconclusive": "yellow"}


def print_audit(audit: "Audit") -> None:
    """The matrix with the gate's marks on the composition, what did not pass, and the verdict."""
    suites = list(audit.suites)
    perplexity = [s for s in suites if audit.suites[s]["metric"] == "perplexity"]
    counts = sorted({int(audit.suites[s]["prompts"]) for s in suites})
    size = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    note = f"; {', '.join(perplexity)}: perplexity" if perplexity else ""
    write(f"Failure rates, lower is better{note}. {size} prompts a suite.")
    rows = []
    for configuration in audit.configurations:
        cells: list[Text] = [configuration]
        for suite in suites:
            value = audit.matrix[configuration][suite].value
            text = f"{value:.2f}" if suite in perplexity else f"{value:.3f}"
            own = [c for c in audit.comparisons if c.suite == suite]
            cells.append([text, " ", _mark(own)] if configuration == "composition" else text + " " * 3)
        rows.append(cells)
    print_table(["", *(f"{suite}   " for suite in suites)], rows, right=range(1, len(suites) + 1))
    for comparison in audit.comparisons:
        if comparison.verdict != "pass":
            word = "waived" if comparison.waived else comparison.verdict
            needed = (
                f" (about {comparison.prompts_needed:,} prompts would settle it)" if comparison.prompts_needed else ""
            )
            write(f"{word}: {comparison.rule}, {comparison.describe()}{needed}")
    for attempt in audit.attempts:
        if attempt.strategy != audit.strategy:
            write(f"also tried: {attempt.strategy}: {attempt.verdict} ({attempt.detail})")
    for waiver in audit.waivers:
        write(f"waiver: {waiver.suite}, by {waiver.by}: {waiver.reason}")
    if audit.circular:
        write(f"circular: the judge of {', '.join(audit.circular)} also chose the training pairs")
    waived = ", with waivers" if any(c.waived and c.verdict != "pass" for c in audit.comparisons) else ""
    if audit.continual:
        figures = ", ".join(f"{name.replace('_', ' ')} {value:+.3f}" for name, value in audit.continual.items())
        write(f"Over the deployments: {figures}")
    verdict = Styled(audit.verdict, MARKS[audit.verdict], bold=True)
    write(["Verdict: ", verdict, f"{waived} ({audit.strategy}, alpha {audit.alpha:g})"])
    if audit.verdict == "pass":
        write(f"What a pass means: {audit.guarantee}.")


def _mark(comparisons: "list[Comparison]") -> Styled:
    counted = [c for c in comparisons if not c.waived]
    if not counted and comparisons:
        return Styled("w ", "yellow")
    worst = next((v for v in ("fail", "inconclusive") if any(c.verdict == v for c in counted)), "pass")
    symbol = {"pass": "ok", "fail": "X ", "inconclusive": "? "}[worst]
    return Styled(symbol, MARKS[worst])
