"""Commands about holds: hold, unhold."""

from typing import TYPE_CHECKING

import click

from ppm.cli.options import base_option, command_line, env_option, is_quiet, json_option, workspace
from ppm.cli.output import print_json, print_table, report, say

if TYPE_CHECKING:
    from ppm.environment.holds import Hold

__all__ = ["hold_command", "unhold_command"]


@click.command("hold")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@base_option
@env_option
@click.option("--reason", default="", metavar="TEXT", help="The reason, shown with the hold.")
@json_option
def hold_command(names: tuple[str, ...], base: str | None, env: str | None, reason: str, as_json: bool) -> None:
    """Keep deployed patches at their versions.

    No install or upgrade changes them until `ppm unhold`. Without a name, lists the holds.

    \b
    Example:
      ppm hold toxicity --base lab --reason "audited by hand"
    """
    from ppm.environment.holds import Hold, read_holds, write_holds
    from ppm.environment.transaction import writer
    from ppm.errors import RequestError
    from ppm.inspect.graph import Graph

    environment = workspace().find_environment(base, env)
    if names:
        with writer(environment, command=command_line(), timeout=workspace().lock_timeout, tell=say) as held:
            deployment = environment.current()
            if deployment is None:
                raise RequestError(
                    "there is nothing to hold: no patch is deployed", hint="start with `ppm install PATCH --base MODEL`"
                )
            graph = Graph(deployment.lock)
            wanted = [graph.package(name).name for name in names]
            holds = {hold.name: hold for hold in read_holds(environment)}
            for name in wanted:
                if name not in holds or reason:  # a hold that is there already keeps its reason
                    holds[name] = Hold.now(name, reason)
            write_holds(held, tuple(holds.values()))
    if as_json or not (names and is_quiet()):
        _print_holds(read_holds(environment), as_json)


@click.command("unhold")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@base_option
@env_option
@json_option
def unhold_command(names: tuple[str, ...], base: str | None, env: str | None, as_json: bool) -> None:
    """Let held patches change again.

    \b
    Example:
      ppm unhold toxicity --base lab
    """
    from ppm.environment.holds import read_holds, write_holds
    from ppm.environment.transaction import writer
    from ppm.errors import RequestError, did_you_mean
    from ppm.resolve import parse_name

    environment = workspace().find_environment(base, env)
    with writer(environment, command=command_line(), timeout=workspace().lock_timeout, tell=say) as held:
        holds = {hold.name: hold for hold in read_holds(environment)}
        for name in dict.fromkeys(map(parse_name, names)):
            if name not in holds:
                otherwise = f"held patches are {', '.join(holds)}" if holds else "no patch is held"
                raise RequestError(f"{name} is not held", hint=did_you_mean(name, holds, otherwise))
            del holds[name]
        write_holds(held, tuple(holds.values()))
    if as_json:
        _print_holds(tuple(holds.values()), as_json)
    else:
        report(f"{', '.join(names)} may change again.")


def _print_holds(holds: "tuple[Hold, ...]", as_json: bool) -> None:

    if as_json:
        print_json([{"name": h.name, "by": h.by, "at": h.at, "reason": h.reason} for h in holds])
    elif holds:
        print_table(["Held", "By", "Since", "Reason"], [[h.name, h.by, h.at, h.reason] for h in holds])
    else:
        say("No patch is held.")
