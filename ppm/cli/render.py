"""An audit for people: the interference table, what did not pass, and the verdict."""

from typing import TYPE_CHECKING

from ppm.cli.output import Styled, Text, print_table, write

if TYPE_CHECKING:
    from ppm.audit.comparison import Comparison
    from ppm.audit.model import Audit
    from ppm.evaluation.measures.base import Measure

__all__ = ["print_audit"]

MARKS = {"pass": "green", "fail": "red", "inconclusive": "yellow", "waived": "yellow"}
SYMBOLS = {"pass": "ok", "fail": "X ", "inconclusive": "? ", "waived": "w "}


def print_audit(audit: "Audit") -> None:
    """The matrix with each patch's own cells in brackets and the gate's marks, what did not pass, and the verdict."""
    from ppm.audit.model import CIRCULAR, UNGROUPED
    from ppm.evaluation.suites import UNCALIBRATED

    _print_matrix(audit)
    _print_corrections(audit)
    _print_opinions(audit)
    _print_triggers(audit)
    _print_candidates(audit)
    for comparison in audit.comparisons:
        if comparison.mark != "pass":
            settles = f" ({comparison.needed})" if comparison.needed else ""
            write(f"{comparison.mark}: {comparison.rule}, {comparison.describe()}{settles}")
    meanings = dict(audit.explained)
    tried = [attempt for attempt in audit.attempts if attempt.strategy != audit.strategy]
    for attempt in tried:
        write(f"also tried: {attempt.strategy}: {attempt.verdict} ({attempt.detail})")
    for verdict in dict.fromkeys(attempt.verdict for attempt in audit.attempts):
        if verdict in meanings:
            write(f"  {verdict}: {meanings.pop(verdict)}")
    for waiver in audit.waivers:
        write(f"waiver: {waiver.suite}, by {waiver.by}: {waiver.reason}")
    for label, (share, base) in audit.malformed.items():
        write(f"not well-formed: {1 - share:.3f} of the composition's answers on {label}, {1 - base:.3f} of the base's")
    if audit.circular:
        write(f"circular: {', '.join(audit.circular)}: {CIRCULAR}")
    if audit.uncalibrated:
        write(f"uncalibrated: {', '.join(audit.uncalibrated)}: {UNCALIBRATED}")
    if audit.continual:
        figures = ", ".join(f"{name.replace('_', ' ')} {value:+.3f}" for name, value in audit.continual.items())
        write(f"Over the deployments: {figures}")
    for word, meaning in meanings.items():
        write(f"  {word}: {meaning}")
    if audit.ungrouped:
        write(f"no groups: {', '.join(audit.ungrouped.values())}: {UNGROUPED}")
    for note in audit.notes:
        write(f"note: {note}")
    said = Styled(audit.verdict, MARKS[audit.verdict], bold=True)
    tried_before = f", attempt {audit.attempt} on its prompts" if audit.attempt > 1 else ""
    write(["Verdict: ", said, f" ({audit.strategy}, alpha {audit.alpha:g}{tried_before})"])
    if audit.may_deploy:
        waived = dict.fromkeys(c.suite for c in audit.comparisons if c.mark == "waived")
        but = f"{', '.join(waived)} did not pass; of the others, " if waived else ""
        write(f"What {'this' if waived else 'a pass'} means: {but}{audit.guarantee}.")


def _print_matrix(audit: "Audit") -> None:
    from ppm.evaluation.measures.registry import figures_of

    suites = list(audit.suites)
    measures = {suite: figures_of(audit.suites[suite].metric, suite) for suite in suites}
    others = {suite: measure for suite, measure in measures.items() if not measure.is_rate}
    write(_legend(audit, others))
    rows = []
    for configuration in audit.configurations:
        cells: list[Text] = [configuration]
        for suite in suites:
            text = measures[suite].shown(audit.matrix[configuration][suite].value)
            own = audit.is_own(configuration, suite)
            compared = [c for c in audit.comparisons if c.suite == suite and configuration == "composition"]
            cells.append([f"{'[' if own else ' '}{text}{']' if own else ' '}", _mark(compared)])
        rows.append(cells)
    print_table(["", *(f"{suite}   " for suite in suites)], rows, right=range(1, len(suites) + 1))


def _print_corrections(audit: "Audit") -> None:
    for label, figures in audit.corrections.items():
        suite = audit.suites[label]
        known = f"sensitivity {suite.sensitivity:.3f}, specificity {suite.specificity:.3f}"
        write(f"Without its judge's errors ({known}), as the gate compares it, {label} is:")
        rows: list[list[Text]] = [
            [configuration, f"{value:.3f}", f"[{low:.3f}, {high:.3f}]"]
            for configuration, (value, low, high) in figures.items()
        ]
        print_table(["", "corrected", "bounds"], rows, right=range(1, 3))


def _print_opinions(audit: "Audit") -> None:
    for label, cells in audit.opinions.items():
        said = ", ".join(f"{configuration} {cell.second:.3f}" for configuration, cell in cells.items())
        differ = cells["composition"].differ or 0.0
        write(
            f"By another judge, {audit.suites[label].second_judge}, {label} is {said}; "
            f"the two judges differ on {differ:.3f} of the prompts in the composition."
        )


def _print_triggers(audit: "Audit") -> None:
    shown = audit.shown_triggers
    if not shown:
        return
    write("Triggers: the share of a suite's prompts that a patch stands in front of; the base answers the rest.")
    if any(row.kind == "wrong patch" for row in shown):
        write("recall: what meets the suite's own patch; wrong patch: what meets other patches alone.")
    rows: list[list[Text]] = [
        [
            row.configuration,
            row.suite,
            row.kind,
            f"{row.share:.3f}",
            f"[{row.low:.3f}, {row.high:.3f}]",
            f"{row.prompts}",
        ]
        for row in shown
    ]
    print_table(["", "suite", "", "fires", "bounds", "prompts"], rows, right=range(3, 6))


def _print_candidates(audit: "Audit") -> None:
    from ppm.audit.candidates import PROMPT_TOKENS, frontier

    if not audit.candidates:
        return
    write(
        "Candidates, in the order of the gate. Loss: of the patch that loses most, on ranking prompts. Passes: over a "
        f"prompt of {PROMPT_TOKENS} tokens where a patch acts. *: no other is as good in all figures and better in one."
    )
    best = frontier(audit.candidates)
    rows: list[list[Text]] = [
        [
            f"{'*' if c in best else ' '} {c.strategy}",
            "" if c.loss is None else f"{c.loss:+.3f}",
            f"{c.passes:.2f}",
            f"{c.tokens}",
            c.cost,
            "yes" if c.one_prefix else "no",
        ]
        for c in audit.candidates
    ]
    print_table(["", "loss", "passes", "tokens", "made in", "one prefix"], rows, right=range(1, 4))


def _legend(audit: "Audit", others: "dict[str, Measure]") -> str:
    """How the matrix is to be read; `others` are the measures of suites that have no rates."""
    size = _range([suite.prompts for suite in audit.suites.values()])
    lines = [f"Failure rates, lower is better; {size} prompts per suite. [x] marks a patch alone on its own suite."]
    grouped = [f"{label} {suite.groups}" for label, suite in audit.suites.items() if suite.groups is not None]
    if grouped:
        lines.append(f"Evidence is counted in groups of alike prompts: {', '.join(grouped)}.")
    losses = [suite for suite in audit.utility if suite not in others]
    if losses:
        lines.append(f"Utility, as loss: {', '.join(losses)} (the share of prompts not answered as they should be).")
    for measure in dict.fromkeys(others.values()):
        named = ", ".join(suite for suite, other in others.items() if other is measure)
        compares = f"; the gate compares {measure.compared}" if measure.compared else ""
        lines.append(f"{named}: {measure.unit}, lower is better{compares}.")
    return "\n".join(lines)


def _range(counts: "list[int]") -> str:
    least, most = min(counts), max(counts)
    return f"{least}" if least == most else f"{least} to {most}"


def _mark(comparisons: "list[Comparison]") -> Styled:
    """Two characters: what the gate says of a suite; nothing where it was not compared."""
    from ppm.audit.comparison import verdict_of

    if not comparisons:
        return Styled("  ")
    verdict = verdict_of(comparisons)
    return Styled(SYMBOLS[verdict], MARKS[verdict])
