"""Commands about what sources have: search, download."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ppm.cli.options import base_option, choice_options, echo_json, find_links_option, json_option, workspace

if TYPE_CHECKING:
    from ppm.install.request import Request

__all__ = ["download_command", "search_command"]


@click.command("search")
@click.argument("text", nargs=-1)
@click.option("--base", metavar="MODEL", help="Only patches for this base model. Default: the project's, else any.")
@find_links_option
@json_option
def search_command(text: tuple[str, ...], base: str | None, find_links: tuple[Path, ...], as_json: bool) -> None:
    """Search the sources for patches by name, risk or summary.

    \b
    Example:
      ppm search toxicity --base lab
    """
    from ppm.cli.progress import say
    from ppm.cli.render import print_table
    from ppm.environment.deployment import Environment
    from ppm.errors import RequestError, did_you_mean
    from ppm.home import ppm_home
    from ppm.inspect.search import search
    from ppm.sources import Joined
    from ppm.workspace import look_up_base

    project = workspace().project
    known = Environment.all(ppm_home())
    named = workspace().base_name(base) if base or project.base else None
    if named is None and len(known) == 1 and not (find_links or project.sources):
        named = workspace().base_name(known[0].label)
    sources = workspace().sources(named, (*find_links, *project.sources))
    if not sources:
        raise RequestError("there is no source to search", hint="say --find-links DIR, or --base lab for the lab's")
    offer = Joined(sources)
    base_model = look_up_base(named, offer, offer.names(None)) if named else None
    rows = search(" ".join(text), offer, base_model.fingerprint if base_model else None)
    if as_json:
        keys = ("name", "base_model", "base_tag", "source", "file_name", "sha256", "summary")
        table = [{key: getattr(row, key) for key in keys} for row in rows]
        lists = [{"version": str(row.version), "risks": list(row.risks)} for row in rows]
        echo_json([{**one, **more} for one, more in zip(table, lists, strict=True)])
        return
    for message in (message for source in sources for message in source.damaged()):
        say(f"passed over: {message}")
    if not rows:
        near = did_you_mean(" ".join(text), offer.names(None), "")
        say(f"No patch matches {' '.join(text)!r}{f'; {near}' if near else '.'}")
        return
    print_table(
        ["Patch", "Version", "For", "Against", "Summary"],
        [[row.name, str(row.version), row.base_tag, ", ".join(row.risks), row.summary] for row in rows],
    )


@click.command("download")
@click.argument("requirements", nargs=-1, metavar="[REQUIREMENT]...")
@base_option
@click.option("--locked", is_flag=True, help="What ppm.lock names instead, its composition and audit included.")
@click.option(
    "-d", "--dest", type=click.Path(path_type=Path), default=Path(), metavar="DIR", help="Where to; default: here."
)
@click.option("--no-deps", is_flag=True, help="Without what they depend on.")
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
        raise click.UsageError("name patches, or say --locked")
    if locked:
        paths = export(open_locked(ProjectFolder.find(workspace()), options.find_links), dest)
        if as_json:
            echo_json([str(path) for path in paths])
        for path in () if as_json else paths:
            click.echo(str(path))
        return
    written = download(
        workspace(), options.asking(requirements), workspace().base_name(base), dest, dependencies=not no_deps
    )
    if as_json:
        echo_json([str(path) for _, path in written])
        return
    for _, path in written:
        click.echo(str(path))
