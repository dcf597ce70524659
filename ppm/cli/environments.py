"""Commands about environments: env, use."""

import sys
from typing import TYPE_CHECKING, Required, TypedDict

import click

from ppm.cli.options import base_option, command_line, env_option, json_option, workspace
from ppm.cli.output import confirm, print_json, print_table, report, say, warn

if TYPE_CHECKING:
    from ppm.base import BaseModel
    from ppm.environment.deployment import Deployment, Environment

__all__ = ["deployed_in", "env_command", "refuse_nowhere", "target_in_use", "use_command", "warn_affected"]

MOST_WARNED = 5
"""How many advisories are named before something else is shown."""


@click.group("env")
def env_command() -> None:
    """List or remove environments, or remove old deployments.

    \b
    Example:
      ppm env list
    """


@env_command.command("list")
@json_option
def env_list(as_json: bool) -> None:
    """List every environment and what is deployed in it; a star marks the one that `ppm use` chose.

    \b
    Example:
      ppm env list
    """
    from ppm.errors import PpmError

    chosen = workspace().chosen
    rows: list[_Row] = []
    for environment in workspace().environments().values():
        path, in_use = str(environment.path), environment.label == chosen
        row: _Row = {"environment": environment.label, "path": path, "in_use": in_use}
        try:
            deployment = environment.current()
            assert deployment is not None
            pins = [package.pin for package in deployment.lock.packages]
            record = deployment.record
            row |= {"deployment": deployment.number, "base": record.base_model, "verdict": record.verdict}
            row["patches"] = pins

        except PpmError as error:
            row["error"] = error.message
        rows.append(row)
    if as_json:
        print_json(rows)
        return
    if not rows:
        say("There are no environments yet; `ppm install` creates one.")
        return
    cells = []
    for row in rows:
        label = ["*" if row["in_use"] else "", row["environment"]]
        if "error" in row:
            cells.append([*label, "", f"damaged: {row['error']}", "", ""])
        else:
            patches = ", ".join(row["patches"]) or "none"
            cells.append([*label, row["base"], str(row["deployment"]), row["verdict"], patches])
    print_table(["", "Environment", "Base", "Deployment", "Verdict", "Patches"], cells)


class _Row(TypedDict, total=False):
    """An environment, and what is deployed in it or `error`, what is damaged there."""

    environment: Required[str]
    path: Required[str]
    in_use: Required[bool]
    error: str
    deployment: int
    base: str
    verdict: str
    patches: list[str]


@env_command.command("remove")
@click.argument("label", metavar="ENVIRONMENT")
@click.option("-y", "--yes", is_flag=True, help="Don't ask for confirmation.")
@json_option
def env_remove(label: str, yes: bool, as_json: bool) -> None:
    """Remove an environment with its history. Package files stay in the store until `ppm cache prune`.

    \b
    Example:
      ppm env remove lab-0123456789ab/staging --yes
    """
    from ppm.environment.default import clear_default
    from ppm.environment.garbage import remove_environment
    from ppm.environment.transaction import writer
    from ppm.errors import RequestError, did_you_mean

    known = workspace().environments()
    if label not in known:
        raise RequestError(
            f"there is no environment {label!r}", hint=did_you_mean(label, known, "`ppm env list` shows them")
        )
    if not yes and not sys.stdin.isatty():
        raise RequestError(f"removing {label} can't be undone", hint="use --yes to do it without being asked")
    if not yes:
        confirm(f"Remove {label} with its {len(known[label].numbers())} deployments?")
    with writer(known[label], command=command_line(), timeout=workspace().lock_timeout, tell=say) as held:
        remove_environment(held)
    if workspace().chosen == label:
        clear_default(workspace().home)
    if as_json:
        print_json({"removed": label})
    else:
        report(f"Removed {label}.")


@env_command.command("drop")
@click.argument("numbers", nargs=-1, type=int, metavar="[NUMBER]...")
@click.option("--damaged", is_flag=True, help="Drop every damaged deployment except the current one.")
@base_option
@env_option
@json_option
def env_drop(numbers: tuple[int, ...], damaged: bool, base: str | None, env: str | None, as_json: bool) -> None:
    """Remove deployments from history, damaged ones too. The one in force stays.

    \b
    Example:
      ppm env drop --damaged --base lab
    """
    from ppm.environment.transaction import drop, writer
    from ppm.errors import RequestError
    from ppm.inspect.verify import damaged_history

    if damaged == bool(numbers):
        raise RequestError("which deployments?", hint="name them by number, or use --damaged")
    environment = workspace().find_environment(base, env)
    with writer(environment, command=command_line(), timeout=workspace().lock_timeout, tell=say) as held:
        chosen = sorted(set(numbers) or damaged_history(environment))
        drop(held, chosen)
    if as_json:
        print_json({"dropped": chosen})
    else:
        report(f"Dropped from history: {', '.join(map(str, chosen)) or 'nothing (no old deployment is damaged)'}.")


@click.command("use")
@click.argument("label", metavar="[ENVIRONMENT]", required=False)
@click.option("--clear", is_flag=True, help="Forget the choice.")
@json_option
def use_command(label: str | None, clear: bool, as_json: bool) -> None:
    """Choose the environment that commands use.

    Name it by its label as in `ppm env list`, by its name, or by that of its base model. --base, --env and the base of
    a ppm.toml take precedence. Without an argument, shows which one is chosen.

    \b
    Example:
      ppm use lab
    """
    from ppm.environment.default import choose_default, clear_default, environment_called

    if clear and label is not None:
        raise click.UsageError("--clear takes no environment")
    if clear:
        clear_default(workspace().home)
    elif label is not None:
        choose_default(environment_called(label, workspace().environments()))
    chosen = workspace().chosen
    if as_json:
        print_json({"environment": chosen})
    elif chosen is None:
        report("No environment is chosen.")
    else:
        report(f"Commands use {chosen}, unless --base, --env or a ppm.toml says otherwise.")


def deployed_in(base: str | None, env: str | None) -> "tuple[Environment, Deployment]":
    """An environment with what is deployed in it. Raises RequestError when nothing is."""
    from ppm.errors import RequestError

    environment = workspace().find_environment(base, env)
    deployment = environment.current()
    if deployment is None:
        raise RequestError("nothing is deployed", hint="start with `ppm install PATCH --base MODEL`")
    return environment, deployment


def warn_affected(environment: "Environment", deployment: "Deployment") -> list[str]:
    """Name each advisory that was found to affect a deployment, and what to do: their ids. Raises IntegrityError."""
    from ppm.environment.advised import affecting

    found = affecting(environment.home, deployment)
    if len(found) > MOST_WARNED:
        warn(f"{len(found)} advisories affect deployment {deployment.number}; `ppm advisories` lists them all")
    for one in found[:MOST_WARNED]:
        warn(f"{one.pin} is affected by the advisory {one.id}: {one.summary}; next: {one.next_step}")
    return [one.id for one in found]


def target_in_use(base: str | None, env: str | None) -> "tuple[BaseModel, Environment]":
    """The base model and the environment of a command about what is deployed already. Raises PpmError."""
    refuse_nowhere(base, env)
    return workspace().find_target(base, env)


def refuse_nowhere(base: str | None, env: str | None) -> None:
    """Raises RequestError, with how to start, where no base model is named and nothing is deployed."""
    if base is None and workspace().project.base is None:
        workspace().find_environment(None, env)
