"""The command attempts."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from ppm.cli.options import base_option, env_option, json_option, workspace
from ppm.cli.output import print_json, print_table, say, write

if TYPE_CHECKING:
    from ppm.inspect.attempts import Spent

__all__ = ["attempts_command"]


@click.command("attempts")
@base_option
@env_option
@json_option
def attempts_command(base: str | None, env: str | None, as_json: bool) -> None:
    """Show what attempts at the gate have spent of alpha.

    Each look at a suite's prompts by another composition may spend less of alpha
    than the one before it, whatever the patches are called. Other prompts begin
    anew; suites that share prompts share their count.

    \b
    Example:
      ppm attempts --base lab
    """
    from ppm.inspect.attempts import spent

    here = workspace()
    model, environment = here.find_target(base, env)
    found = spent(here.home, model, environment, here.project.gates.alpha)
    if as_json:
        print_json(_data(found))
    elif not found.attempts:
        say(f"Nothing was tested on {found.base} here yet.")
    else:
        _print(found)
    if not as_json and found.brought > max((row.attempts for row in found.suites), default=0):
        say(f"What is deployed brings a count of {found.brought} attempts with it, from which the next one goes on.")


def _data(found: "Spent") -> dict[str, object]:
    rows = [
        {
            "at": attempt.at,
            "strategy": attempt.strategy,
            "seed": attempt.seed,
            "looks": attempt.looks,
            "verdict": attempt.verdict,
            "times": attempt.times,
            "suites": list(attempt.names.values()) if attempt.suites is not None else None,
        }
        for attempt in found.attempts
    ]
    return {**asdict(found), "attempts": rows}


def _print(found: "Spent") -> None:
    write(f"Compositions that were tested on {found.base}:")
    rows = [
        [
            f"{number}",
            attempt.at.replace("T", " ")[:16],
            attempt.strategy or attempt.verdict,
            attempt.verdict + (f" ({attempt.times})" if attempt.times > 1 else ""),
            ", ".join(attempt.names.values())
            if attempt.suites is not None
            else "all prompts, as it is not known which",
        ]
        for number, attempt in enumerate(found.attempts, 1)
    ]
    print_table(["", "When", "Strategy", "Verdict", "Suites it met first"], rows, right=[0])
    margins = list(found.suites[0].fewest) if found.suites else []
    several = {row.suite for row in found.suites if row.set > 1}
    cells = [
        [
            f"{row.suite}, set {row.set}" if row.suite in several else row.suite,
            f"{row.prompts:,}",
            f"{row.attempts:,}",
            f"{row.spent:.2g}",
            f"{row.next_alpha:.2g}",
            *(f"{row.fewest[margin]:,}" for margin in margins),
        ]
        for row in found.suites
    ]
    if cells:
        write(f"Of alpha {found.alpha:g} in all; the last columns are how many prompts, or groups, the next one takes:")
        heads = ["Suite", "Prompts", "Attempts", "Spent", "Next has", *(f"Margin {margin}" for margin in margins)]
        print_table(heads, cells, right=range(1, len(heads)))
    if found.void:
        write(f"void: {found.void}")
