"""The command history."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

import click

from ppm.cli.options import base_option, env_option, json_option, workspace
from ppm.cli.output import print_json, print_table, say, write
from ppm.cli.trail import accepted

if TYPE_CHECKING:
    from ppm.evaluation.measures.base import Measure
    from ppm.inspect.history import Entry, Figures

__all__ = ["history_command"]

R = TypeVar("R")
INCOMPARABLE = "*"
"""Stands after a figure that can't be compared with the one before it."""


@click.command("history")
@base_option
@env_option
@click.option(
    "--metrics", is_flag=True, help="Show how the figure on every suite changed over the deployments instead."
)
@json_option
def history_command(base: str | None, env: str | None, metrics: bool, as_json: bool) -> None:
    """List the deployments, newest first.

    \b
    Example:
      ppm history --base lab --metrics
    """
    from ppm.errors import PpmError
    from ppm.inspect.history import figures, history

    environment = workspace().find_environment(base, env)
    if metrics:
        _show(figures(environment), _print_figures, as_json=as_json)
        return
    current = 0
    try:
        current = environment.current_number()
    except PpmError as error:
        fault = f"can't tell which deployment is in force ({error.message})"
        say(f"{fault}; `ppm rollback NUMBER` goes back to one of them.")
    _show(history(environment, current), _print_history, as_json=as_json)


def _show(rows: list[R], print_rows: Callable[[list[R]], None], *, as_json: bool) -> None:
    if as_json:
        print_json(rows)
    elif not rows:
        say("Nothing is deployed.")
    else:
        print_rows(rows)


def _print_history(rows: list["Entry"]) -> None:
    cells = []
    for row in rows:
        number = ["*" if row["current"] else "", str(row["number"])]
        if "error" in row:
            cells.append([*number, f"damaged: {row['error']}", "", "", "", ""])
            continue
        patches = ", ".join(row["patches"]) or "none"
        if row["rolled_back_from"]:
            patches += f" (rolled back to {row['rolled_back_from']})"
        waived = "".join(f" [{w['suite']} waived by {w['by']}: {w['reason']}]" for w in row["waivers"])
        waived += accepted(row["advisories"])
        waived += "".join(f" [base accepted as derived from {note}]" for note in row["derived_from"])
        when = row["created"].replace("T", " ")[:16]
        cells.append([*number, when, row["user"], row["strategy"] or "", row["verdict"], patches + waived])
    print_table(["", "Number", "Created", "By", "Strategy", "Verdict", "Patches"], cells, right=[1])


def _print_figures(rows: list["Figures"]) -> None:
    metrics = {suite: metric for row in rows for suite, metric in row.get("metrics", {}).items()}
    units = {suite: found.unit for suite, found in _measures(metrics).items() if not found.is_rate}
    cells = []
    for row in rows:
        measures, values = _measures(row.get("metrics", {})), row.get("values", {})
        marks = dict.fromkeys(row.get("incomparable", []), INCOMPARABLE)
        figures = [
            measures[suite].shown(values[suite]) + marks.get(suite, "") if suite in values else "" for suite in metrics
        ]
        what = f"damaged: {row['error']}" if "error" in row else ", ".join(row["patches"]) or "none"
        cells.append([str(row["number"]), *figures, what])
    write("Failure rates of each deployment, oldest first; lower is better.")
    for suite, unit in units.items():
        write(f"{suite}: {unit}, lower is better.")
    print_table(["Number", *metrics, "Patches"], cells, right=range(len(metrics) + 1))
    if any(row.get("incomparable") for row in rows):
        write(f"{INCOMPARABLE} Not to be compared with the figure before it: prompts, judge or decoding differ.")
    found = rows[-1].get("continual")
    if found:
        write("; ".join(f"{name.replace('_', ' ')} {value:+.3f}" for name, value in found.items()))


def _measures(metrics: Mapping[str, str]) -> "dict[str, Measure]":
    from ppm.evaluation.measures.registry import figures_of

    return {suite: figures_of(metric, suite) for suite, metric in metrics.items()}
