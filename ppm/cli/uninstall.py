"""Commands that take patches out: uninstall, autoremove."""

from typing import TYPE_CHECKING

import click

from ppm.cli.deploy import DeployOptions, deploy_options, run_plan
from ppm.cli.environments import target_in_use
from ppm.cli.options import base_option, env_option, search_seconds, workspace

if TYPE_CHECKING:
    from ppm.install.plan import Plan

__all__ = ["autoremove_command", "uninstall_command"]


@click.command("uninstall")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@base_option
@env_option
@deploy_options
def uninstall_command(
    names: tuple[str, ...],
    base: str | None,
    env: str | None,
    how: DeployOptions,
) -> None:
    """Remove patches; what remains is composed and tested again.

    What only they needed stays until `ppm autoremove`.

    \b
    Example:
      ppm uninstall gender-bias --base lab
    """
    from ppm.install.plan import plan_uninstall
    from ppm.install.request import Request
    from ppm.install.start import Start

    request = Request(strategy=how.strategy, search_seconds=search_seconds())
    found, environment = target_in_use(base, env)

    def make_plan() -> "Plan":
        return plan_uninstall(Start(workspace(), found, environment, request), names)

    run_plan(make_plan, environment, how)


@click.command("autoremove")
@base_option
@env_option
@deploy_options
def autoremove_command(base: str | None, env: str | None, how: DeployOptions) -> None:
    """Remove patches that nobody asked for and nothing needs.

    \b
    Example:
      ppm autoremove --base lab --dry-run
    """
    from ppm.install.plan import plan_autoremove
    from ppm.install.request import Request
    from ppm.install.start import Start

    request = Request(strategy=how.strategy, search_seconds=search_seconds())
    found, environment = target_in_use(base, env)

    def make_plan() -> "Plan":
        return plan_autoremove(Start(workspace(), found, environment, request))

    run_plan(make_plan, environment, how)
