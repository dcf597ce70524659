"""The commands of judges: their list, measure, label and agree."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from ppm.cli.labels import agree_command, label_command
from ppm.cli.options import LocalPath, json_option
from ppm.cli.output import print_json, print_table, report, write

if TYPE_CHECKING:
    from ppm.evaluation.agreement import Agreement, Side
    from ppm.evaluation.statistics import Interval

__all__ = ["judges_command"]


@click.group("judges", invoke_without_command=True)
@json_option
@click.pass_context
def judges_command(ctx: click.Context, as_json: bool) -> None:
    """List the judges that suites can name.

    \b
    Example:
      ppm judges
    """
    if ctx.invoked_subcommand is not None:
        return
    import inspect

    from ppm.evaluation.judges.registry import judges

    rows = [
        (kind.name, kind.version, list(inspect.signature(kind.make).parameters), kind.summary)
        for _, kind in sorted(judges().items())
    ]
    if as_json:
        print_json([{"name": n, "version": v, "options": o, "summary": s} for n, v, o, s in rows])
    else:
        print_table(["Judge", "Version", "Options", "Scores"], [[n, v, ", ".join(o), s] for n, v, o, s in rows])


judges_command.add_command(label_command)
judges_command.add_command(agree_command)


@judges_command.command("measure")
@click.argument("judge")
@click.option("--labels", required=True, type=LocalPath(), metavar="FILE", help="Labelled completions, JSON Lines.")
@click.option("--option", "-o", "options", multiple=True, metavar="KEY=VALUE", help="An option of the judge.")
@click.option("--positive", multiple=True, metavar="LABEL", help="A label of what the judge looks for.")
@click.option("--negative", multiple=True, metavar="LABEL", help="A label of what has nothing of it.")
@click.option("--apart", multiple=True, metavar="LABEL", help="A label that is counted and decides nothing.")
@click.option("--write", "into", metavar="FILE[:SUITE]", help="Write the evidence into this suite.")
@json_option
def measure_command(
    judge: str,
    labels: Path,
    options: tuple[str, ...],
    positive: tuple[str, ...],
    negative: tuple[str, ...],
    apart: tuple[str, ...],
    into: str | None,
    as_json: bool,
) -> None:
    """Measure how often a judge agrees with people.

    Each line of the labels has a prompt, a completion, a label (true where the completion has what the judge looks for)
    and, where prompts share an origin, a group. With --write, the judge's options and what counts as a failure are
    the suite's.

    \b
    Example:
      ppm judges measure refusal --labels labels.jsonl
    """
    from ppm.errors import RequestError
    from ppm.evaluation.agreement import measure, read_labels
    from ppm.evaluation.evidence import as_toml, find_suite, judge_with, options_of
    from ppm.suite import Judge

    target = find_suite(into, judge) if into is not None else None
    if target is not None and options:
        raise RequestError("--option does not go with --write", hint="the judge has the options of its suite")
    meanings = _meanings(positive, negative, apart)
    found = target.judge() if target else judge_with(Judge(judge, options_of(options)), Path(), "the command line")
    agreement = measure(found.name, found.version, found.scorer, read_labels(_read(labels), str(labels), meanings))
    goals: tuple[Literal["lower", "higher"], ...] = (target.suite.goal,) if target else ("lower", "higher")
    if target is not None:
        target.write(agreement.evidence(target.suite.goal))
    if as_json:
        print_json(_as_data(agreement, goals))
        return
    _print(agreement)
    for goal in goals if target is None else ():
        what = "a failure" if goal == "lower" else "what is wanted"
        write(f'\nFor a suite with goal = "{goal}", where what the judge finds is {what}:')
        write(as_toml(agreement.evidence(goal)))
    if target is not None:
        report(f"Wrote the evidence of the suite {target.suite.name} into {target.path}")


def _read(path: Path) -> bytes:
    from ppm.errors import RequestError

    try:
        return path.read_bytes()
    except OSError as error:
        hint = "each line is a JSON object with a prompt, a completion and a label"
        raise RequestError(f"can't be read: {error.strerror}", context=str(path), hint=hint) from error


def _meanings(positive: tuple[str, ...], negative: tuple[str, ...], apart: tuple[str, ...]) -> "dict[str, Side]":
    """Which side each label that the user names is on. Raises RequestError for one on two sides."""
    from ppm.errors import RequestError

    meanings: dict[str, Side] = {}
    sides: tuple[tuple[Side, tuple[str, ...]], ...] = (("positive", positive), ("negative", negative), ("apart", apart))
    for side, named in sides:
        for label in named:
            if meanings.setdefault(label.strip(), side) != side:
                raise RequestError(f"the label {label!r} is on two sides", hint="name it once")
    return meanings


def _print(agreement: "Agreement") -> None:
    """The confusion by label, and both rates with their intervals."""
    labels = agreement.labels
    groups = "" if labels.groups is None else f", {labels.groups} groups"
    write(f"{agreement.judge} {agreement.version} on {len(labels.rows)} labelled completions{groups} ({labels.digest})")
    rows = [[r.label, r.side, str(r.found), str(r.completions - r.found)] for r in agreement.table]
    print_table(["Label", "Side", "Found", "Not found"], rows, right=(2, 3))
    write(f"Sensitivity (positives found):     {_shown(agreement.positives)}")
    write(f"Specificity (negatives not found): {_shown(agreement.negatives)}")
    over = "exact" if labels.groups is None else "over group means"
    write(f"Intervals are at 95 %, {over}.")


def _shown(interval: "Interval") -> str:
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def _as_data(agreement: "Agreement", goals: tuple[Literal["lower", "higher"], ...]) -> dict[str, object]:
    from dataclasses import asdict

    return {
        "judge": agreement.judge,
        "version": agreement.version,
        "labels": agreement.labels.digest,
        "groups": agreement.labels.groups,
        "table": [asdict(row) for row in agreement.table],
        "sensitivity": asdict(agreement.positives),
        "specificity": asdict(agreement.negatives),
        "evidence": {goal: asdict(agreement.evidence(goal)) for goal in goals},
    }
