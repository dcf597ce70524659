"""The command lock."""

from typing import TYPE_CHECKING

import click

from ppm.cli.options import base_option, command_line, is_quiet, json_option, lock_options, workspace
from ppm.cli.output import print_json, say, write

if TYPE_CHECKING:
    from ppm.install.lock import Locked
    from ppm.install.request import Request

__all__ = ["lock_command", "print_lock"]


@click.command("lock")
@base_option
@click.option("--upgrade", is_flag=True, help="Upgrade every patch to the newest version that fits.")
@click.option("--upgrade-package", "raised", multiple=True, metavar="NAME", help="Upgrade only this patch.")
@click.option("--check", is_flag=True, help="Write nothing; exit code 1 when ppm.lock is not up to date.")
@lock_options
@json_option
def lock_command(
    base: str | None,
    upgrade: bool,
    raised: tuple[str, ...],
    check: bool,
    options: "Request",
    as_json: bool,
) -> None:
    """Write the exact files that satisfy ppm.toml into ppm.lock.

    Locked versions stay unless they have to change or you ask for an upgrade. No model is loaded, and nothing is
    deployed: `ppm sync` does that.

    \b
    Example:
      ppm lock --upgrade-package toxicity
    """
    from ppm.install.folder import ProjectFolder
    from ppm.install.lock import lock_project, update_lock

    names = None if upgrade else raised
    if check:
        folder = ProjectFolder.find(workspace())
        found = lock_project(folder, options, base=base, upgrade=names)
        if found.before is not None and folder.stale(found.before):
            say(f"{folder.stale(found.before)}.")
    else:
        found = update_lock(workspace(), options, base=base, upgrade=names, command=command_line(), tell=say)
    if check and found.lock != found.before:
        print_lock(found, as_json, "ppm.lock is out of date: it would lock")
        raise click.exceptions.Exit(1)
    if check and not as_json:
        say("ppm.lock is up to date.")
    else:
        print_lock(found, as_json)


def print_lock(found: "Locked", as_json: bool, verb: str = "Locked") -> None:
    from ppm.document import to_table
    from ppm.install.lock import changes

    new, old = found.lock, found.before
    for note in found.notes:
        say(f"note: {note}")
    if as_json:
        print_json(to_table(new) if new else None)
        return
    if is_quiet():
        return
    if new is None:
        write("ppm.toml lists no patches any more, so ppm.lock was removed. `ppm uninstall` removes what is deployed.")
        return
    for line in changes(old, new):
        write(f"  {line}")
    count = len(new.packages)
    write(f"{verb} {count} patch{'es' if count != 1 else ''} for {new.base.model}.")
