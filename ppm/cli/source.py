"""The commands of those who install from signed indexes: source add, list, update, remove, accept."""

from pathlib import Path

import click

from ppm.cli.options import json_option, offline_option, workspace
from ppm.cli.output import print_json, print_table, report, say
from ppm.cli.roots import root_options, trusted_root

__all__ = ["source_command"]


@click.group("source")
def source_command() -> None:
    """Choose the signed indexes to install from.

    A patch comes from the first source that lists its name: folders that you name, then these in their order.

    \b
    Example:
      ppm source list
    """


@source_command.command("add")
@click.argument("name")
@click.argument("url", metavar="URL")
@root_options
@click.option("--first", is_flag=True, help="Before the other sources. Default: after them.")
def add(name: str, url: str, root: Path | None, fingerprint: str | None, first: bool, yes: bool) -> None:
    """Trust an index, from the fingerprint of its root on.

    URL is its address: https://, http://, file://, or hf://OWNER/REPO@COMMIT/FOLDER for a repository of the hub.

    \b
    Example:
      ppm source add acme https://patches.example.org/index --root root.json
    """
    from ppm.index.trust import new_index
    from ppm.install.trusting import refuse_unpinned, trust_index

    refuse_unpinned(url, workspace().access)
    index = new_index(workspace().home, name, url)
    data = trusted_root(index.url, root, fingerprint, yes)
    trust_index(workspace(), index, data, first=first)
    report(f"Added {index.name}, from which patches come from now on. `ppm search` shows its patches.")


@source_command.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the indexes, the first before the others.

    \b
    Example:
      ppm source list
    """
    from ppm.index.trust import shown_url, trusted_indexes

    found = trusted_indexes(workspace().home)
    if as_json:
        print_json([{"name": index.name, "url": shown_url(index.url)} for index in found])
    elif found:
        print_table(["Source", "Address"], [[index.name, shown_url(index.url)] for index in found])
    else:
        say("There are no indexes; `ppm source add NAME URL --root root.json` adds one.")


@source_command.command("update")
@click.argument("name")
@click.argument("commit", required=False)
def update(name: str, commit: str | None) -> None:
    """Take an index on the hub from another commit. Without COMMIT: from the one that its main branch is at.

    A state that is older than what you have seen is refused.

    \b
    Example:
      ppm source update acme
    """
    from ppm.index.trust import find_index
    from ppm.install.trusting import move_pin

    before, now = move_pin(workspace(), find_index(workspace().home, name), commit)
    report(f"{name} is taken from {now}" + (", as before." if now == before else f", and no more from {before[:12]}."))


@source_command.command("remove")
@click.argument("name")
def remove(name: str) -> None:
    """Trust an index no more. What is deployed stays deployed.

    \b
    Example:
      ppm source remove acme
    """
    from ppm.index.trust import remove_index

    remove_index(workspace().home, name)
    report(f"Removed {name}.")


@source_command.command("accept")
@click.argument("name")
@click.argument("patch")
@offline_option
def accept(name: str, patch: str) -> None:
    """Accept the keys and identities that the publisher of a patch has now, after they changed.

    \b
    Example:
      ppm source accept acme toxicity
    """
    from ppm.index.trust import find_index
    from ppm.install.trusting import accept_publisher
    from ppm.requirement import parse_name

    accepted = accept_publisher(workspace(), find_index(workspace().home, name), parse_name(patch))
    report(f"Accepted for {patch}: {', '.join(accepted)}")
