"""The command install."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ppm.cli.deploy import DeployOptions, deploy_options, run_plan
from ppm.cli.options import LocalPath, base_option, choice_options, env_option, together, workspace

if TYPE_CHECKING:
    from ppm.install.plan import Plan
    from ppm.install.request import Request

__all__ = ["Asked", "asked_options", "install_command", "install_requirements"]


@dataclass(frozen=True)
class Asked:
    """What a command asks for, as its arguments and options say it, and where."""

    requirements: tuple[str, ...]
    files: tuple[Path, ...]
    base: str | None
    env: str | None
    require_hashes: bool
    options: "Request"


def asked_options(function: Callable[..., object]) -> Callable[..., object]:
    """Requirements, the environment, and how versions are chosen; the command gets them together, as `asked`."""
    keys = ("requirements", "files", "base", "env", "require_hashes", "options")
    command = together("asked", Asked, *keys)(function)
    text = "Refuse package files whose SHA-256 is not given in a -r file."
    command = choice_options(click.option("--require-hashes", is_flag=True, help=text)(command))
    text = "Read requirements from a file, one per line."
    command = click.option("-r", "files", multiple=True, type=LocalPath(), metavar="FILE", help=text)(command)
    return click.argument("requirements", nargs=-1, metavar="[REQUIREMENT]...")(base_option(env_option(command)))


@click.command("install")
@asked_options
@deploy_options
@click.option("--force", is_flag=True, help="Compose and test again even when nothing changed.")
def install_command(asked: Asked, how: DeployOptions) -> None:
    """Install patches: resolve, compose, test, deploy.

    Patches that are already deployed stay. A requirement is a name, a name with versions such as "toxicity>=1,<2", or
    the path of a package file. A composition that does not pass its tests is not deployed: exit code 5 when a suite
    failed, 6 when one stayed inconclusive.

    \b
    Example:
      ppm install toxicity gender-bias harm-refusal --base lab
    """
    install_requirements(asked, how)


def install_requirements(asked: Asked, how: DeployOptions) -> None:
    """Deploy, or only test, what is asked for on the command line and in files. Raises PpmError."""
    from ppm.install.plan import plan_install
    from ppm.install.start import Start

    found, environment = workspace().find_target(asked.base, asked.env)
    wanted = replace(how.wanted(asked.options), require_hashes=asked.require_hashes)
    wanted = wanted.asking(asked.requirements, asked.files)

    def make_plan() -> "Plan":
        return plan_install(Start(workspace(), found, environment, wanted))

    run_plan(make_plan, environment, how)
