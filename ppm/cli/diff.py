"""The command diff."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from ppm.cli.options import base_option, env_option, json_option, workspace
from ppm.cli.output import print_json, print_table, write

if TYPE_CHECKING:
    from ppm.inspect.diff import Changes

__all__ = ["diff_command"]


@click.command("diff")
@click.argument("old", type=int, required=False)
@click.argument("new", type=int, required=False)
@base_option
@env_option
@json_option
def diff_command(old: int | None, new: int | None, base: str | None, env: str | None, as_json: bool) -> None:
    """Show what differs between two deployments.

    Patches, strategy, verdict, and figures on every suite. By default compares the previous deployment
    with the current one; with one number, that one with the current one.

    \b
    Example:
      ppm diff 1 2 --base lab
    """
    from ppm.errors import RequestError
    from ppm.inspect.diff import changes

    environment = workspace().find_environment(base, env)
    current = environment.current_number() if new is None else new
    if old is None:
        earlier = [number for number in environment.numbers() if number < current]
        if not environment.numbers():
            raise RequestError("nothing is deployed", hint="start with `ppm install PATCH --base MODEL`")
        if not earlier:
            raise RequestError("there is only one deployment", hint="`ppm history` lists the deployments")
        old = earlier[-1]
    found = changes(environment.deployment(old), environment.deployment(current))
    if as_json:
        print_json(found)
    else:
        _print_changes(found)


def _print_changes(found: "Changes") -> None:
    write(f"From deployment {found['from']} to {found['to']}:")
    lines = [f"  + {pin}" for pin in found["added"]]
    lines += [f"  - {pin}" for pin in found["removed"]]
    lines += [f"  ~ {change['name']} {change['from']} -> {change['to']}" for change in found["changed"]]
    for key, (before, after) in (("strategy", found["strategy"]), ("verdict", found["verdict"])):
        if before != after:
            lines.append(f"  {key}: {before or 'none'} -> {after or 'none'}")
    for line in lines or ["  the same patches, strategy and verdict"]:
        write(line)
    if found["scores"]:
        rows = []
        for suite, pair in found["scores"].items():
            *figures, change = _cells(pair, found["metrics"][suite])
            rows.append([suite, *figures, "" if suite in found["incomparable"] else change])
        print_table(["Suite", str(found["from"]), str(found["to"]), "Change"], rows, right=(1, 2, 3))
    if found["incomparable"]:
        write(f"Not compared, as prompts, judge or decoding differ: {', '.join(found['incomparable'])}.")


def _cells(values: Sequence[float | None], metrics: Sequence[str | None]) -> list[str]:
    """A suite's figure before and after, and by how much it changed where both are of one metric."""
    from ppm.evaluation.measures.registry import figures_of

    shown = [
        "" if value is None or metric is None else figures_of(metric).shown(value)
        for value, metric in zip(values, metrics, strict=True)
    ]
    (before, after), (metric, _) = values, metrics
    if before is None or after is None or metric is None or len(set(metrics)) > 1:
        return [*shown, ""]
    change = after - before
    return [*shown, f"{'-' if change < 0 else '+'}{figures_of(metric).shown(abs(change))}"]
