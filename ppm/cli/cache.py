"""The commands of the caches: info, prune."""

from typing import TYPE_CHECKING

import click

from ppm.cli.options import is_quiet, json_option, workspace
from ppm.cli.output import print_json, print_table, say, warn

if TYPE_CHECKING:
    from ppm.environment.garbage import Usage

__all__ = ["cache_command"]


@click.group("cache")
def cache_command() -> None:
    """Show or free the disk space that ppm uses.

    \b
    Example:
      ppm cache info
    """


@cache_command.command("info")
@json_option
def cache_info(as_json: bool) -> None:
    """Show the caches and the store, with their sizes.

    \b
    Example:
      ppm cache info
    """
    from ppm.environment.garbage import usage

    home = workspace().home
    _print_usage(usage(home), as_json)
    if not as_json:
        say(f"in {home}")


@cache_command.command("prune")
@click.argument(
    "names",
    nargs=-1,
    type=click.Choice(["results", "training", "sources", "indexes", "self-test"]),
    metavar="[CACHE]...",
)
@click.option(
    "--days", type=click.FloatRange(min=0), default=0.0, help="Only what has not been used for this many days."
)
@json_option
def cache_prune(names: tuple[str, ...], days: float, as_json: bool) -> None:
    """Empty the caches, and remove stored packages that nothing needs.

    The caches are results, training, sources, indexes and self-test; all of them unless you name some. The store keeps
    what any deployment needs, including those you can roll back to, and what was added in the last day.

    \b
    Example:
      ppm cache prune results --days 30
    """
    from ppm.environment.garbage import CACHES, prune

    removed, unknown = prune(workspace().home, names or tuple(CACHES), older_than=days * 24 * 3600)
    if as_json or not is_quiet():
        _print_usage(removed, as_json, "Removed")
    for fault in unknown:
        warn(f"The store was left alone because a deployment can't be read: {fault}")
    if unknown:
        warn("hint: `ppm env drop --damaged` removes damaged deployments from history")


def _print_usage(rows: "list[Usage]", as_json: bool, title: str = "") -> None:

    if as_json:
        print_json([{"name": row.name, "files": row.files, "bytes": row.size} for row in rows])
        return
    cells = [[row.name, f"{row.files:,}", f"{row.size / 1e6:,.1f} MB", row.what] for row in rows]
    print_table([title, "Files", "Size", ""], cells, right=(1, 2))
