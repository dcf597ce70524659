"""The command upgrade."""

from typing import TYPE_CHECKING

import click

from ppm.cli.deploy import DeployOptions, deploy_options, run_plan
from ppm.cli.environments import target_in_use
from ppm.cli.options import base_option, choice_options, env_option, workspace

if TYPE_CHECKING:
    from ppm.install.plan import Plan
    from ppm.install.request import Request

__all__ = ["upgrade_command"]


@click.command("upgrade")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@base_option
@env_option
@click.option(
    "--upgrade-strategy",
    type=click.Choice(["only-if-needed", "eager"]),
    default="only-if-needed",
    show_default=True,
    help="Whether to upgrade the dependencies of the named patches too.",
)
@choice_options
@deploy_options
def upgrade_command(
    names: tuple[str, ...],
    base: str | None,
    env: str | None,
    upgrade_strategy: str,
    options: "Request",
    how: DeployOptions,
) -> None:
    """Upgrade deployed patches to the newest versions that fit.

    All of them when none is named; the requirements from when they were installed still apply. The strategy auto also
    tries to continue from the deployed composition. The new composition must not be worse than it on any suite.

    \b
    Example:
      ppm upgrade toxicity --base lab
    """
    from ppm.install.plan import plan_upgrade
    from ppm.install.start import Start

    found, environment = target_in_use(base, env)
    wanted = how.wanted(options)

    def make_plan() -> "Plan":
        return plan_upgrade(Start(workspace(), found, environment, wanted), names, eager=upgrade_strategy == "eager")

    run_plan(make_plan, environment, how)
