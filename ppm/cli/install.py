"""The command install."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ppm.cli.deploy import DeployOptions, deploy_options, run_plan
from ppm.cli.options import LocalPath, base_option, choice_options, env_option, workspace

if TYPE_CHECKING:
    from ppm.install.plan import Plan
    from ppm.install.request import Request

__all__ = ["install_command", "install_requirements", "requirements_options"]


def requirements_options(function: Callable[..., object]) -> Callable[..., object]:
    """-r, --require-hashes, and how versions are chosen."""
    file = LocalPath()
    files = click.option("-r", "files", multiple=True, type=file, metavar="FILE", help="Requirements, one a line.")
    text = "Let no package file come in whose SHA-256 is not in a file of -r."
    return files(choice_options(click.option("--require-hashes", is_flag=True, help=text)(function)))


@click.command("install")
@click.argument("requirements", nargs=-1, metavar="[REQUIREMENT]...")
@base_option
@env_option
@requirements_options
@deploy_options
@click.option("--force", is_flag=True, help="Compose and test again even when nothing changed.")
def install_command(
    requirements: tuple[str, ...],
    base: str | None,
    env: str | None,
    files: tuple[Path, ...],
    require_hashes: bool,
    options: "Request",
    how: DeployOptions,
) -> None:
    """Install patches: resolve, compose, test, deploy.

    Patches that are deployed already stay. A requirement is a name, a name with versions such as "toxicity>=1,<2", or
    the path of a package file. A composition that does not pass its tests is not deployed: exit code 5 when a suite
    failed, 6 when one stayed inconclusive.

    \b
    Example:
      ppm install toxicity gender-bias harm-refusal --base lab
    """
    install_requirements(requirements, files, base, env, options, require_hashes, how)


def install_requirements(
    requirements: Sequence[str],
    files: Sequence[Path],
    base: str | None,
    env: str | None,
    options: "Request",
    require_hashes: bool,
    how: DeployOptions,
) -> None:
    """Deploy, or only test, what is asked for on the command line and in files. Raises PpmError."""
    from ppm.install.plan import plan_install
    from ppm.install.start import Start

    found, environment = workspace().find_target(base, env)
    wanted = replace(options, strategy=how.strategy, require_hashes=require_hashes).asking(requirements, files)

    def make_plan() -> "Plan":
        return plan_install(Start(workspace(), found, environment, wanted))

    run_plan(make_plan, environment, how)
