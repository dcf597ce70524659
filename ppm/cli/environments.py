"""Commands about environments: env."""

import sys
from typing import TYPE_CHECKING, Any

import click

from ppm.cli.options import command_line, json_option
from ppm.cli.output import confirm, print_json, print_table, report, say

if TYPE_CHECKING:
    from ppm.environment.deployment import Deployment, Environment

__all__ = ["deployed_in", "env_command"]


@click.group("env")
def env_command() -> None:
    """List environments, or remove one.

    \b
    Example:
      ppm env list
    """


@env_command.command("list")
@json_option
def env_list(as_json: bool) -> None:
    """List every environment with what is deployed in it.

    \b
    Example:
      ppm env list
    """
    from ppm.environment.deployment import Environment
    from ppm.errors import PpmError
    from ppm.home import ppm_home

    rows: list[dict[str, Any]] = []
    for environment in Environment.all(ppm_home()):
        row: dict[str, Any] = {"environment": environment.label, "path": str(environment.path)}
        try:
            deployment = environment.current()
            assert deployment is not None
            pins = [package.pin for package in deployment.lock.packages]
            record = deployment.record
            row |= {"deployment": deployment.number, "base": record.base_model, "verdict": record.verdict}
            rows.append({**row, "patches": pins})
        except PpmError as error:
            rows.append({**row, "error": error.message})
    if as_json:
        print_json(rows)
        return
    if not rows:
        say("There is no environment yet; `ppm install` makes one.")
        return
    cells = []
    for row in rows:
        if "error" in row:
            cells.append([row["environment"], "", f"damaged: {row['error']}", "", ""])
        else:
            patches = ", ".join(row["patches"]) or "none"
            cells.append([row["environment"], row["base"], str(row["deployment"]), row["verdict"], patches])
    print_table(["Environment", "Base", "Deployment", "Verdict", "Patches"], cells)


@env_command.command("remove")
@click.argument("label", metavar="ENVIRONMENT")
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@json_option
def env_remove(label: str, yes: bool, as_json: bool) -> None:
    """Remove an environment with its history. Package files stay in the store until `ppm cache prune`.

    \b
    Example:
      ppm env remove lab-0123456789ab/staging --yes
    """
    from ppm.environment.deployment import Environment
    from ppm.environment.garbage import remove_environment
    from ppm.environment.transaction import writer
    from ppm.errors import RequestError, did_you_mean
    from ppm.home import ppm_home

    known = {environment.label: environment for environment in Environment.all(ppm_home())}
    if label not in known:
        raise RequestError(
            f"there is no environment {label!r}", hint=did_you_mean(label, known, "`ppm env list` shows them")
        )
    if not yes and not sys.stdin.isatty():
        raise RequestError(f"removing {label} can't be undone", hint="say --yes")
    if not yes:
        confirm(f"Remove {label} with its {len(known[label].numbers())} deployments?")
    with writer(known[label], command=command_line(), tell=say) as held:
        remove_environment(held)
    if as_json:
        print_json({"removed": label})
    else:
        report(f"Removed {label}.")


def deployed_in(base: str | None, env: str | None) -> "tuple[Environment, Deployment]":
    """An environment with what is deployed in it. Raises RequestError when nothing is."""
    from ppm.errors import RequestError
    from ppm.install.bases import find_environment

    environment = find_environment(base, env)
    deployment = environment.current()
    if deployment is None:
        raise RequestError("nothing is deployed", hint="start with `ppm install PATCH --base MODEL`")
    return environment, deployment
