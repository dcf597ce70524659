"""Commands about ppm.toml: add, remove."""

from typing import TYPE_CHECKING

import click

from ppm.cli.lock import print_lock
from ppm.cli.options import command_line, json_option, lock_options, workspace
from ppm.cli.output import say

if TYPE_CHECKING:
    from ppm.install.request import Request

__all__ = ["add_command", "remove_command"]


@click.command("add")
@click.argument("requirements", nargs=-1, required=True, metavar="REQUIREMENT...")
@click.option(
    "--base", metavar="MODEL", help="Base model to write into ppm.toml; needed when there is no ppm.toml yet."
)
@lock_options
@json_option
def add_command(
    requirements: tuple[str, ...],
    base: str | None,
    options: "Request",
    as_json: bool,
) -> None:
    """Add patches to ppm.toml, and update ppm.lock.

    They replace what it has for the same names. Nothing is deployed: `ppm sync` does that.

    \b
    Example:
      ppm add "toxicity>=1,<2" --base lab
    """
    from ppm.install.edit import add_to_project

    print_lock(add_to_project(workspace(), options.asking(requirements), base, command_line(), say), as_json)


@click.command("remove")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@lock_options
@json_option
def remove_command(
    names: tuple[str, ...],
    options: "Request",
    as_json: bool,
) -> None:
    """Remove patches from ppm.toml, and update ppm.lock. Nothing is deployed: `ppm sync` does that.

    \b
    Example:
      ppm remove toxicity
    """
    from ppm.install.edit import remove_from_project

    print_lock(remove_from_project(workspace(), names, options, command_line(), say), as_json)
