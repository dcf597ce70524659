"""Commands that change an environment: install, upgrade, uninstall, autoremove, rollback."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ppm.cli.options import (
    base_option,
    choice_options,
    command_line,
    echo_json,
    env_option,
    is_quiet,
    json_option,
    workspace,
)

if TYPE_CHECKING:
    from ppm.environment.deployment import Environment
    from ppm.install.install import InstallResult, Terms
    from ppm.install.plan import Plan
    from ppm.install.request import Request

F = TypeVar("F", bound=Callable[..., Any])

__all__ = ["autoremove_command", "install_command", "rollback_command", "uninstall_command", "upgrade_command"]


def _plan_table(plan: "Plan") -> dict[str, Any]:
    return {
        "base": plan.base.name,
        "strategy": plan.strategy,
        "patches": [
            {
                "name": pin.release.name,
                "version": str(pin.release.version),
                "source": pin.release.source,
                "sha256": pin.release.sha256,
                "requested": pin.requested,
                "required_by": list(pin.required_by),
            }
            for pin in plan.pins
        ],
        "added": list(plan.added),
        "removed": list(plan.removed),
        "passed_over": list(plan.passed_over),
        "notes": list(plan.notes),
    }


def _print_plan(plan: "Plan") -> None:
    from ppm.cli.render import plain

    before = {package.name: package.version for package in plan.previous.lock.packages} if plan.previous else {}
    click.echo(f"Resolved for {plan.base.name}:")
    for pin in plan.pins:
        name, version = pin.release.name, str(pin.release.version)
        was = f", in place of {before[name]}" if before.get(name, version) != version else ""
        why = "" if pin.requested else f", needed by {', '.join(pin.required_by) or 'nothing any more'}"
        click.echo(plain(f"  {pin.release.pin}  (from {pin.release.source}{was}{why})"))
    for name in sorted(set(before) - {pin.release.name for pin in plan.pins}):
        click.echo(plain(f"  removes {name}=={before[name]}"))
    for message in plan.passed_over:
        click.echo(plain(f"  passed over: {message}"))
    for note in plan.notes:
        click.echo(plain(f"  note: {note}"))


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
    if is_quiet():
        return
    from ppm.cli.render import print_audit

    if not result.changed:
        click.echo(f"Nothing to do: deployment {result.deployment.number} has these patches already.")
        return
    if result.composed and result.audit is not None:
        print_audit(result.audit)
    label, number = result.plan.environment.label, result.deployment.number
    pins = ", ".join(pin.release.pin for pin in result.plan.pins)
    click.echo(
        f"Deployed {pins} as deployment {number} of {label}." if pins else f"Nothing is deployed for {label} any more."
    )


def _run(
    make_plan: "Callable[[], Plan]", environment: "Environment", as_json: bool, dry_run: bool, terms: "Terms"
) -> None:
    from ppm.cli.progress import shown
    from ppm.errors import GateError
    from ppm.install.fetch import fetch
    from ppm.install.install import composes, install

    if dry_run:
        plan = make_plan()
        fetch(plan.pins, plan.sources)
        anew = composes(plan, terms) or bool(terms.accept)
        if as_json:
            echo_json({**_plan_table(plan), "composes": anew})
        else:
            _print_plan(plan)
            would = "These would be composed and tested" if anew else "Nothing would have to be composed"
            click.echo(f"{would}. Nothing was changed (--dry-run).")
        return
    plans: list[Plan] = []
    with shown(quiet=as_json) as events:
        planned = plans.append if as_json or is_quiet() else _print_plan
        try:
            result = install(make_plan, environment, terms, command=command_line(), planned=planned, events=events)
        except GateError as error:
            if as_json:
                audit = error.audit.to_table() if error.audit else None
                echo_json({**_plan_table(plans[0]), "changed": False, "deployment": None, "audit": audit})
            elif error.audit is not None:
                from ppm.cli.render import print_audit

                print_audit(error.audit)
            raise
    _finish(result, as_json)


def _gate_options(function: F) -> F:
    """Options of every command that composes and gates."""
    for option in reversed(
        (
            click.option("--strategy", metavar="NAME", help="How patches are composed; `ppm strategies` lists them."),
            click.option("--accept", multiple=True, metavar="SUITE", help="Deploy although this suite does not pass."),
            click.option("--reason", default="", metavar="TEXT", help="Why a suite is waived; it is recorded."),
            click.option("--seed", type=int, help="Seed of the composition's training; 0 when it is not given."),
            click.option("--dry-run", is_flag=True, help="Show what would be deployed, and stop."),
        )
    ):
        function = option(function)
    return function


@click.command("install")
@click.argument("requirements", nargs=-1, metavar="[REQUIREMENT]...")
@base_option
@env_option
@click.option(
    "-r", "files", multiple=True, type=click.Path(path_type=Path), metavar="FILE", help="Requirements, one a line."
)
@choice_options
@click.option(
    "--require-hashes", is_flag=True, help="Let no package file come in whose SHA-256 is not in a file of -r."
)
@_gate_options
@click.option("--force", is_flag=True, help="Compose and test again even when nothing changed.")
@json_option
def install_command(
    requirements: tuple[str, ...],
    base: str | None,
    env: str | None,
    files: tuple[Path, ...],
    require_hashes: bool,
    dry_run: bool,
    as_json: bool,
    strategy: str | None,
    options: "Request",
    **gate: Any,
) -> None:
    """Install patches: resolve, compose, test, deploy.

    Patches that are deployed already stay. A requirement is a name, a name with versions such as "toxicity>=1,<2", or
    the path of a package file. A composition that does not pass its tests is not deployed: exit code 5 when a suite
    failed, 6 when one stayed inconclusive.

    \b
    Example:
      ppm install toxicity gender-bias harm-refusal --base lab
    """
    from ppm.install.install import Terms
    from ppm.install.plan import plan_install
    from ppm.install.start import Start

    found, environment = workspace().find_target(base, env)
    wanted = replace(options, strategy=strategy, require_hashes=require_hashes).asking(requirements, files)

    def make_plan() -> "Plan":
        return plan_install(Start(workspace(), found, environment, wanted))

    _run(make_plan, environment, as_json, dry_run, Terms(**gate))


@click.command("upgrade")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@base_option
@env_option
@click.option(
    "--upgrade-strategy",
    type=click.Choice(["only-if-needed", "eager"]),
    default="only-if-needed",
    show_default=True,
    help="Whether what the named patches depend on is raised too.",
)
@choice_options
@_gate_options
@json_option
def upgrade_command(
    names: tuple[str, ...],
    base: str | None,
    env: str | None,
    upgrade_strategy: str,
    dry_run: bool,
    as_json: bool,
    strategy: str | None,
    options: "Request",
    **gate: Any,
) -> None:
    """Raise deployed patches to the newest versions that fit.

    All of them when none is named; what was asked for when they were installed still holds. The strategy auto also
    tries to go on from what is deployed. A new composition must not be worse than that on any suite, old or new.

    \b
    Example:
      ppm upgrade toxicity --base lab
    """
    from ppm.install.install import Terms
    from ppm.install.plan import plan_upgrade
    from ppm.install.start import Start

    found, environment = workspace().find_target(base, env)
    wanted = replace(options, strategy=strategy)

    def make_plan() -> "Plan":
        return plan_upgrade(Start(workspace(), found, environment, wanted), names, eager=upgrade_strategy == "eager")

    _run(make_plan, environment, as_json, dry_run, Terms(**gate))


@click.command("uninstall")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@base_option
@env_option
@_gate_options
@json_option
def uninstall_command(
    names: tuple[str, ...],
    base: str | None,
    env: str | None,
    dry_run: bool,
    as_json: bool,
    strategy: str | None,
    **gate: Any,
) -> None:
    """Remove patches; what remains is composed and tested anew.

    What only they needed stays until `ppm autoremove`.

    \b
    Example:
      ppm uninstall gender-bias --base lab
    """
    from ppm.install.install import Terms
    from ppm.install.plan import plan_uninstall
    from ppm.install.request import Request
    from ppm.install.start import Start

    found, environment = workspace().find_target(base, env)

    def make_plan() -> "Plan":
        return plan_uninstall(Start(workspace(), found, environment, Request(strategy=strategy)), names)

    _run(make_plan, environment, as_json, dry_run, Terms(**gate))


@click.command("autoremove")
@base_option
@env_option
@_gate_options
@json_option
def autoremove_command(
    base: str | None, env: str | None, dry_run: bool, as_json: bool, strategy: str | None, **gate: Any
) -> None:
    """Remove patches that nobody asked for and nothing needs.

    \b
    Example:
      ppm autoremove --base lab --dry-run
    """
    from ppm.install.install import Terms
    from ppm.install.plan import plan_autoremove
    from ppm.install.request import Request
    from ppm.install.start import Start

    found, environment = workspace().find_target(base, env)

    def make_plan() -> "Plan":
        return plan_autoremove(Start(workspace(), found, environment, Request(strategy=strategy)))

    _run(make_plan, environment, as_json, dry_run, Terms(**gate))


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
    from ppm.cli.progress import report, say
    from ppm.environment.holds import refuse_held
    from ppm.environment.transaction import rollback, writer

    environment = workspace().find_environment(base, env)
    with writer(environment, command=command_line(), tell=say) as held:
        deployment = rollback(
            held, number, check=lambda old: refuse_held(environment, old.lock, f"deployment {old.number}")
        )
    if as_json:
        echo_json({"deployment": deployment.number, "rolled_back_to": deployment.record.rolled_back_from})
    else:
        pins = ", ".join(package.pin for package in deployment.lock.packages) or "no patches"
        back_to = deployment.record.rolled_back_from
        report(f"Deployment {deployment.number} is current: {pins}, as in deployment {back_to}.")
