"""The command search."""

from pathlib import Path

import click

from ppm.cli.options import find_links_option, json_option, workspace
from ppm.cli.output import print_json, print_table, say

__all__ = ["search_command"]


@click.command("search")
@click.argument("text", nargs=-1)
@click.option(
    "--base",
    metavar="MODEL",
    help="Only patches for this base model. Default: the one of the project, then of `ppm use`, then any.",
)
@find_links_option
@json_option
def search_command(text: tuple[str, ...], base: str | None, find_links: tuple[Path, ...], as_json: bool) -> None:
    """Search the sources for patches by name, risk or summary.

    \b
    Example:
      ppm search toxicity --base lab
    """
    from ppm.errors import RequestError, did_you_mean
    from ppm.inspect.search import search
    from ppm.sources import Joined
    from ppm.workspace import look_up_base

    project = workspace().project
    named = workspace().base_name(base) if base or project.base or workspace().chosen else None
    known = list(workspace().environments())
    if named is None and len(known) == 1 and not (find_links or project.sources):
        named = workspace().base_name(known[0])
    sources = workspace().sources(named, (*find_links, *project.sources))
    if not sources:
        raise RequestError(
            "there are no sources to search", hint="use --find-links DIR, or --base lab for the lab's patches"
        )
    offer = Joined(sources)
    base_model = look_up_base(named, offer, offer.names(None)) if named else None
    rows = search(" ".join(text), offer, base_model.fingerprint if base_model else None)
    if as_json:
        keys = ("name", "base_model", "base_tag", "source", "file_name", "sha256", "summary")
        table = [{key: getattr(row, key) for key in keys} for row in rows]
        lists = [{"version": str(row.version), "risks": list(row.risks)} for row in rows]
        print_json([{**one, **more} for one, more in zip(table, lists, strict=True)])
        return
    for message in (message for source in sources for message in source.damaged()):
        say(f"skipped: {message}")
    if not rows:
        wanted = " ".join(text)
        near = did_you_mean(wanted, offer.names(None), "") if wanted else ""
        missing = f"No patch matches '{wanted}'" if wanted else "The sources have no patches"
        elsewhere = search(wanted, offer, None) if base_model else []
        if elsewhere:
            missing = f"{missing} for {named}; there are some for {', '.join(sorted({r.base_tag for r in elsewhere}))}"
            fitting = any("derived" in row.accepts for row in elsewhere)
            near = f"`ppm install` takes them if {named} is a recast or requantised copy" if fitting else ""
        say(f"{missing}{f'; {near}' if near else ''}{'' if near.endswith('?') else '.'}")
        return
    several = len({row.source for row in rows}) > 1
    heads = ["Patch", "Version", "For", "Against", "Summary", *(["Source"] if several else [])]
    cells = [[row.name, str(row.version), row.base_tag, ", ".join(row.risks), row.summary] for row in rows]
    print_table(heads, [[*own, row.source][: len(heads)] for own, row in zip(cells, rows, strict=True)])
