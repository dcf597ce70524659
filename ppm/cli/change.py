"""Commands that change an environment: install, uninstall, rollback."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ppm.cli.options import base_option, command_line, echo_json, env_option, json_option

if TYPE_CHECKING:
    from ppm.base import BaseModel
    from ppm.install import InstallResult, Plan

__all__ = ["base_of", "install_command", "rollback_command", "uninstall_command"]


def base_of(base: str | None, env: str | None) -> "BaseModel":
    """The base model that a command means: --base, else the project's, else that of the only environment."""
    from ppm.errors import RequestError
    from ppm.install import find_environment, open_base
    from ppm.lock import Project

    if base is None:
        project = Project.find(Path.cwd())
        base = project.base if project and project.base else None
    if base is None:
        try:
            base = find_environment(None, env).label
        except RequestError as error:
            raise RequestError(
                "which base model?", hint=f"say --base MODEL, for example --base lab ({error.message})"
            ) from error
    return open_base(base)


def _read_requirements(files: tuple[Path, ...]) -> list[str]:
    from ppm.errors import RequestError

    found = []
    for path in files:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise RequestError(
                f"can't be read ({error})", context=str(path), hint="give a file of one requirement a line"
            ) from error
        found += [text for line in lines if (text := line.split("#")[0].strip())]
    return found


def _plan_table(plan: "Plan") -> dict[str, Any]:
    return {
        "base": plan.base.name,
        "strategy": plan.strategy,
        "patches": [
            {
                "name": pin.candidate.name,
                "version": str(pin.candidate.version),
                "source": pin.candidate.source,
                "sha256": pin.candidate.sha256,
                "requested": pin.requested,
                "required_by": list(pin.required_by),
            }
            for pin in plan.pins
        ],
        "added": list(plan.added),
        "removed": list(plan.removed),
    }


def _print_plan(plan: "Plan") -> None:
    click.echo(f"Resolved for {plan.base.name}:")
    for pin in plan.pins:
        why = "" if pin.requested else f", needed by {', '.join(pin.required_by)}"
        click.echo(f"  {pin.candidate.pin}  (from {pin.candidate.source}{why})")
    for removed in plan.removed:
        click.echo(f"  removes {removed}")


def result_table(result: "InstallResult") -> dict[str, Any]:
    """What an install did, as plain data."""
    return {
        **_plan_table(result.plan),
        "changed": result.changed,
        "deployment": result.deployment.number,
        "path": str(result.deployment.path),
        "audit": result.audit.to_table() if result.audit else None,
    }


def _finish(result: "InstallResult", as_json: bool) -> None:
    if as_json:
        echo_json(result_table(result))
        return
    from ppm.cli.render import print_audit

    if not result.changed:
        click.echo(f"Nothing to do: deployment {result.deployment.number} has these patches already.")
        return
    if result.audit is not None:
        print_audit(result.audit)
    label = result.plan.environment.label
    pins = ", ".join(pin.candidate.pin for pin in result.plan.pins) or "no patches"
    click.echo(f"Deployed {pins} as deployment {result.deployment.number} of {label}.")


def _run(make_plan: Any, base: "BaseModel", env: str | None, as_json: bool, dry_run: bool, **options: Any) -> None:
    from ppm.cli.progress import shown
    from ppm.errors import GateFailed, GateInconclusive
    from ppm.install import environment_for, install

    plan = make_plan()
    if dry_run:
        if as_json:
            echo_json(_plan_table(plan))
        else:
            _print_plan(plan)
            click.echo("Nothing was changed (--dry-run).")
        return
    if not as_json:
        _print_plan(plan)
    with shown(quiet=as_json) as events:
        try:
            result = install(make_plan, environment_for(base, env), command=command_line(), events=events, **options)
        except (GateFailed, GateInconclusive) as error:
            failed: Any = getattr(error, "audit", None)
            if failed is not None and not as_json:
                from ppm.cli.render import print_audit

                print_audit(failed)
            elif failed is not None:
                echo_json({**_plan_table(plan), "changed": False, "deployment": None, "audit": failed.to_table()})
            raise
    _finish(result, as_json)


@click.command("install")
@click.argument("requirements", nargs=-1, metavar="[REQUIREMENT]...")
@base_option
@env_option
@click.option(
    "--strategy", metavar="NAME", help="How patches are composed; `ppm strategies` lists them. Default: auto."
)
@click.option(
    "--find-links",
    "-f",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A folder of package files.",
)
@click.option(
    "-r", "files", multiple=True, type=click.Path(path_type=Path), metavar="FILE", help="Requirements, one a line."
)
@click.option(
    "--accept", multiple=True, metavar="SUITE", help="Deploy although this suite does not pass; needs --reason."
)
@click.option("--reason", default="", metavar="TEXT", help="Why a suite is waived; it is recorded.")
@click.option("--seed", default=0, show_default=True, help="Seed of the composition's training.")
@click.option("--force", is_flag=True, help="Compose and test again even when nothing changed.")
@click.option("--dry-run", is_flag=True, help="Show what would be installed, and stop.")
@json_option
def install_command(
    requirements: tuple[str, ...],
    base: str | None,
    env: str | None,
    strategy: str | None,
    find_links: tuple[Path, ...],
    files: tuple[Path, ...],
    accept: tuple[str, ...],
    reason: str,
    seed: int,
    force: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Install patches: resolve, compose, test, deploy.

    Patches that are deployed already stay. A composition that does not pass its tests is not deployed: exit code 5
    when a suite failed, 6 when one stayed inconclusive.

    \b
    Example:
      ppm install toxicity gender-bias harm-refusal --base lab
    """
    from ppm.install import plan_install

    found = base_of(base, env)
    wanted = [*requirements, *_read_requirements(files)]

    def make_plan() -> "Plan":
        return plan_install(wanted, found, find_links=find_links, strategy=strategy, env=env)

    _run(make_plan, found, env, as_json, dry_run, seed=seed, accept=accept, reason=reason, force=force)


@click.command("uninstall")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@base_option
@env_option
@click.option("--strategy", metavar="NAME", help="How the remaining patches are composed. Default: auto.")
@click.option("--dry-run", is_flag=True, help="Show what would remain, and stop.")
@json_option
def uninstall_command(
    names: tuple[str, ...], base: str | None, env: str | None, strategy: str | None, dry_run: bool, as_json: bool
) -> None:
    """Remove patches; what remains is composed and tested anew.

    \b
    Example:
      ppm uninstall gender-bias --base lab
    """
    from ppm.install import plan_uninstall

    found = base_of(base, env)
    _run(lambda: plan_uninstall(names, found, strategy=strategy, env=env), found, env, as_json, dry_run)


@click.command("rollback")
@click.argument("number", type=int, required=False)
@base_option
@env_option
@json_option
def rollback_command(number: int | None, base: str | None, env: str | None, as_json: bool) -> None:
    """Go back to an earlier deployment.

    To the one before the current one, or to the one with the given number. A rollback is a deployment too:
    `ppm history` shows it, and another rollback undoes it.

    \b
    Example:
      ppm rollback --base lab
    """
    from ppm.environment.transaction import rollback, writer
    from ppm.install import find_environment

    environment = find_environment(base, env)
    with writer(environment, command=command_line()) as held:
        deployment = rollback(held, number)
    if as_json:
        echo_json({"deployment": deployment.number, "rolled_back_to": deployment.record.rolled_back_from})
    else:
        pins = ", ".join(package.pin for package in deployment.lock.packages) or "no patches"
        back_to = deployment.record.rolled_back_from
        click.echo(f"Deployment {deployment.number} is current: {pins}, as in deployment {back_to}.")
