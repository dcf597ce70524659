"""The commands that write an index for others: a copy to serve, and pages for a browser."""

from pathlib import Path

import click

from ppm.cli.options import LocalPath, command_line, workspace
from ppm.cli.output import report, say, warn
from ppm.cli.progress import shown
from ppm.cli.roots import root_options, trusted_root

__all__ = ["mirror", "page"]


@click.command("mirror")
@click.argument("origin", metavar="URL|SOURCE")
@click.argument("folder", type=LocalPath(), metavar="DIR")
@root_options
def mirror(origin: str, folder: Path, root: Path | None, fingerprint: str | None, yes: bool) -> None:
    """Copy an index to a folder that any host can serve, or bring such a copy up to date.

    Everything is verified, from the root that you trust on: that of one of your sources, or as with `ppm source add`.
    Users of the copy trust the same root. A copy that is there is brought up to date from its own root.

    \b
    Example:
      ppm index mirror acme my-mirror
    """
    from ppm.errors import RequestError
    from ppm.index.held import read_root
    from ppm.index.layout import METADATA, TRUSTED_ROOT
    from ppm.index.mirror import mirror_index
    from ppm.index.trust import check_url, find_index, shown_url
    from ppm.names import is_url

    own = folder / METADATA / TRUSTED_ROOT
    url = origin.rstrip("/")
    if not is_url(origin):
        index = find_index(workspace().home, origin)
        url, own = index.url, index.root
    elif problem := check_url(url):
        raise RequestError(problem, context=shown_url(url)[:200], hint="for example https://patches.example.org/index")
    with workspace().hold(folder, command_line(), say):
        if fingerprint is None and own.is_file() and (root is None or read_root(root) == read_root(own)):
            data = read_root(own)
        else:
            data = trusted_root(url, root, fingerprint, yes)
        with shown() as events:
            done = mirror_index(url, data, folder, workspace().access, events)
    report(
        f"Copied {done.fetched} file{'' if done.fetched == 1 else 's'} ({done.size / 1e6:,.1f} MB) of {shown_url(url)} "
        f"to {folder}; {done.kept} were there."
    )
    report(f"The copy is valid until {done.expires:%Y-%m-%d %H:%M} UTC: run this again before.")


@click.command("page")
@click.argument("folder", type=LocalPath(), metavar="DIR")
@click.option(
    "--output", "site", type=LocalPath(), required=True, metavar="SITE", help="Folder to write the pages into."
)
@click.option("--url", metavar="URL", help="Address of the index, for the commands on the pages.")
@click.option("--name", help="What the pages call the index. Default: the name of DIR.")
@click.option("--root", type=LocalPath(), metavar="FILE", help="Root metadata that is trusted. Default: its first.")
def page(folder: Path, site: Path, url: str | None, name: str | None, root: Path | None) -> None:
    """Write pages on an index for a browser: its patches, advisories, and how it is signed.

    DIR is an index, or the name of one that you trust. The pages are static files that load nothing from elsewhere. A
    folder that pages were written into before is replaced as a whole. SOURCE_DATE_EPOCH is the time that they state.

    \b
    Example:
      ppm index page my-index --output my-site --url https://patches.example.org/index
    """
    from ppm.errors import IntegrityError
    from ppm.inspect.site import Wanted, write_index_site

    wanted = Wanted(folder, site, url, name, root)
    with shown() as events:
        found = write_index_site(workspace(), wanted, command_line(), say, events.progress)
    report(f"Wrote {found.files} files on {found.patches} patch{'es' * (found.patches != 1)} into {site}.")
    for fault in found.faults:
        warn(fault)
    if found.faults:
        count = len(found.faults)
        raise IntegrityError(
            f"has {count} fault{'s' * (count != 1)}; what they are in is refused on the pages too",
            context=str(folder),
            hint="they are listed above",
        )
