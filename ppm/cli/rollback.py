"""The command rollback."""

import click

from ppm.cli.options import base_option, command_line, env_option, json_option, workspace
from ppm.cli.output import print_json, report, say

__all__ = ["rollback_command"]


@click.command("rollback")
@click.argument("number", type=int, required=False)
@base_option
@env_option
@json_option
def rollback_command(number: int | None, base: str | None, env: str | None, as_json: bool) -> None:
    """Go back to an earlier deployment.

    By default to the one before the current one. A rollback is a deployment too:
    `ppm history` shows it, and another rollback undoes it.

    \b
    Example:
      ppm rollback --base lab
    """
    from ppm.environment.holds import refuse_held
    from ppm.environment.transaction import rollback, writer

    environment = workspace().find_environment(base, env)
    with writer(environment, command=command_line(), timeout=workspace().lock_timeout, tell=say) as held:
        deployment = rollback(
            held, number, check=lambda old: refuse_held(environment, old.lock, f"deployment {old.number}")
        )
    if as_json:
        print_json({"deployment": deployment.number, "rolled_back_to": deployment.record.rolled_back_from})
    else:
        pins = ", ".join(package.pin for package in deployment.lock.packages) or "no patches"
        back_to = deployment.record.rolled_back_from
        report(f"Deployment {deployment.number} is current: {pins}, as in deployment {back_to}.")
        if number is None:
            again = command_line()
            say(f"Another `{again}` undoes this; to go further back, name a deployment: `{again} NUMBER`.")
