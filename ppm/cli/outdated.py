"""The command outdated."""

from typing import TYPE_CHECKING

import click

from ppm.cli.environments import target_in_use
from ppm.cli.options import base_option, choice_options, env_option, json_option, workspace
from ppm.cli.output import print_json, print_table, say

if TYPE_CHECKING:
    from ppm.install.request import Request

__all__ = ["outdated_command"]


@click.command("outdated")
@base_option
@env_option
@click.option("--all", "everything", is_flag=True, help="Also show patches that are up to date.")
@choice_options
@json_option
def outdated_command(
    base: str | None,
    env: str | None,
    everything: bool,
    options: "Request",
    as_json: bool,
) -> None:
    """List deployed patches of which there is a newer version.

    Upgrade is what `ppm upgrade` would take; the newest may be out of its reach.

    \b
    Example:
      ppm outdated --base lab --find-links dist
    """
    from ppm.inspect.outdated import newer
    from ppm.install.start import Start

    found, environment = target_in_use(base, env)
    known = newer(Start(workspace(), found, environment, options))
    rows = [row for row in known if everything or row.outdated]
    if as_json:
        keys = ("name", "version", "wanted", "latest", "note")
        print_json([{key: getattr(row, key) for key in keys} for row in rows])
        return
    if not known:
        say("Nothing is deployed. Start with `ppm quickstart`.")
        return
    lacking = [row.name for row in known if row.latest is None]
    newest = [row.name for row in known if row.latest is not None and not row.outdated]
    if not rows and not lacking:
        say("Every deployed patch is the newest version in the sources.")
    if newest and lacking and not everything:
        say(f"Up to date: {', '.join(newest)}.")
    if lacking:
        say(f"Not found in any source: {', '.join(lacking)}. Add the folder that has them with --find-links DIR.")
    if not rows:
        return
    cells = [
        [r.name, r.version, r.wanted if r.wanted != r.version else "", r.latest or "no source", r.note] for r in rows
    ]
    print_table(["Patch", "Deployed", "Upgrade", "Newest", ""], cells)
