"""The command check."""

import click

from ppm.cli.environments import deployed_in, warn_affected
from ppm.cli.options import base_option, env_option, json_option
from ppm.cli.output import print_json, report, write

__all__ = ["check_command"]


@click.command("check")
@base_option
@env_option
@json_option
def check_command(base: str | None, env: str | None, as_json: bool) -> None:
    """Check that the deployed patches fit together.

    Looks at dependencies, conflicts, base model and composition. Exit code 1 when something is wrong, 5 when
    `ppm advisories` found an advisory that affects it. `ppm verify` checks the files.

    \b
    Example:
      ppm check --base lab
    """
    from ppm.inspect.verify import broken

    environment, deployment = deployed_in(base, env)
    found = broken(deployment, environment)
    affected = warn_affected(environment, deployment)
    if as_json:
        print_json({"deployment": deployment.number, "faults": found, "advisories": affected})
    for fault in () if as_json else found:
        write(fault)
    if found:
        raise click.exceptions.Exit(1)
    if affected:
        raise click.exceptions.Exit(5)
    if not as_json:
        count = len(deployment.lock.packages)
        report(f"Deployment {deployment.number}: {count} patch{'es' if count != 1 else ''}, no problems found.")
