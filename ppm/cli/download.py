"""The command download."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ppm.cli.options import LocalPath, base_option, choice_options, json_option, workspace
from ppm.cli.output import print_json, write

if TYPE_CHECKING:
    from ppm.install.request import Request

__all__ = ["download_command"]


@click.command("download")
@click.argument("requirements", nargs=-1, metavar="[REQUIREMENT]...")
@base_option
@click.option("--locked", is_flag=True, help="What ppm.lock names, including its composition and audit.")
@click.option(
    "-d",
    "--dest",
    type=LocalPath(),
    default=Path(),
    metavar="DIR",
    help="Where to put the files. Default: the current folder.",
)
@click.option("--no-deps", is_flag=True, help="Leave out dependencies.")
@choice_options
@json_option
def download_command(
    requirements: tuple[str, ...],
    base: str | None,
    locked: bool,
    dest: Path,
    no_deps: bool,
    options: "Request",
    as_json: bool,
) -> None:
    """Copy package files of patches into a folder.

    What they depend on is copied too; the folder can serve as a source.

    \b
    Example:
      ppm download toxicity --base lab --dest dist
    """
    from ppm.install.download import download
    from ppm.install.folder import ProjectFolder
    from ppm.install.locked import export, open_locked

    if locked == bool(requirements):
        raise click.UsageError("name patches, or use --locked")
    if locked:
        paths = export(open_locked(ProjectFolder.find(workspace()), options.find_links), dest)
        if as_json:
            print_json([str(path) for path in paths])
        for path in () if as_json else paths:
            write(str(path))
        return
    named = workspace().base_name(base)
    written = download(workspace(), options.asking(requirements), named, dest, dependencies=not no_deps)
    if as_json:
        print_json([str(path) for _, path in written])
        return
    for _, path in written:
        write(str(path))
