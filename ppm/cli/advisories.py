"""The command advisories."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from ppm.cli.options import base_option, env_option, json_option, limits_option, offline_option, workspace
from ppm.cli.output import print_json, report, write

if TYPE_CHECKING:
    from ppm.environment.advised import Judged
    from ppm.running import Running

__all__ = ["advisories_command"]

_SHOWN = ("id", "summary", "name", "version", "source", "verdict", "reason", "rate", "upper", "base_rate", "limit")


@click.command("advisories")
@base_option
@env_option
@limits_option
@offline_option
@json_option
def advisories_command(base: str | None, env: str | None, limits: "Running", as_json: bool) -> None:
    """Measure whether advisories concern what is deployed.

    Reads the advisories on the deployed patches from the signed indexes, and runs the prompts that they name. Exit code
    5 when one affects what is deployed. The verdicts are kept: `ppm check` and `ppm audit` know them.

    \b
    Example:
      ppm advisories --base lab
    """
    from ppm.cli.progress import shown
    from ppm.inspect.advisories import judge_deployed

    with shown(quiet=as_json) as events:
        environment = workspace().find_environment(base, env)
        found = judge_deployed(workspace(), environment, asked=limits, events=events)
    if as_json:
        rows = [{key: asdict(one)[key] for key in (*_SHOWN, "prompts", "fixed")} for one in found.verdicts]
        print_json({"deployment": found.deployment, "advisories": rows})
    elif not found.verdicts:
        report(f"Deployment {found.deployment}: no advisory is about its patches.")
    for one in () if as_json else found.verdicts:
        write(f"{one.id}, {one.pin}: {_said(one)}")
        write(f"  {one.summary}")
        if one.verdict == "affected":
            write(f"  next: {one.next_step}")
    raise SystemExit(5 if found.affected else 0)


def _said(one: "Judged") -> str:
    if one.rate is None or one.upper is None or one.base_rate is None or one.limit is None:
        return f"unknown: {one.reason}"
    return (
        f"{one.verdict}: fails on {one.rate:.1%} of its {one.prompts} prompts (at most {one.upper:.1%}; limit "
        f"{one.limit:.1%}; the base alone {one.base_rate:.1%})"
    )
