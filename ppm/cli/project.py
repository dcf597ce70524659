"""Commands about ppm.toml and ppm.lock: add, remove, lock, sync."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ppm.cli.options import (
    base_option,
    command_line,
    echo_json,
    env_option,
    find_links_option,
    is_quiet,
    json_option,
    lock_options,
    workspace,
)

if TYPE_CHECKING:
    from ppm.install.lock import Locked
    from ppm.install.request import Request

__all__ = ["add_command", "lock_command", "remove_command", "sync_command"]


def _print_lock(found: "Locked", as_json: bool, verb: str = "Locked") -> None:
    from ppm.cli.progress import say
    from ppm.cli.render import plain
    from ppm.document import to_table
    from ppm.install.lock import changes

    new, old = found.lock, found.before
    for note in found.notes:
        say(f"note: {note}")
    if as_json:
        echo_json(to_table(new) if new else None)
        return
    if is_quiet():
        return
    if new is None:
        click.echo("ppm.toml asks for no patch any more; ppm.lock is gone. `ppm uninstall` removes what is deployed.")
        return
    for line in changes(old, new):
        click.echo(plain(f"  {line}"))
    count = len(new.packages)
    click.echo(f"{verb} {count} patch{'es' if count != 1 else ''} for {new.base.model}.")


@click.command("lock")
@base_option
@click.option("--upgrade", is_flag=True, help="Raise every patch to the newest version that fits.")
@click.option("--upgrade-package", "raised", multiple=True, metavar="NAME", help="Raise this patch, and no other.")
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
    """Write into ppm.lock the exact files that answer ppm.toml.

    What is locked stays at its version unless it has to change, or is to be upgraded. No model is loaded, and nothing
    is deployed: `ppm sync` does that.

    \b
    Example:
      ppm lock --upgrade-package toxicity
    """
    from ppm.cli.progress import say
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
        _print_lock(found, as_json, "ppm.lock is out of date: it would lock")
        raise click.exceptions.Exit(1)
    if check and not as_json:
        say("ppm.lock is up to date.")
    else:
        _print_lock(found, as_json)


@click.command("add")
@click.argument("requirements", nargs=-1, required=True, metavar="REQUIREMENT...")
@click.option("--base", metavar="MODEL", help="The base model to write into ppm.toml; needed when there is none yet.")
@lock_options
@json_option
def add_command(
    requirements: tuple[str, ...],
    base: str | None,
    options: "Request",
    as_json: bool,
) -> None:
    """Add patches to ppm.toml, and lock.

    They take the place of what it asks of the same names. Nothing is deployed: `ppm sync` does that.

    \b
    Example:
      ppm add "toxicity>=1,<2" --base lab
    """
    from ppm.cli.progress import say
    from ppm.install.edit import add_to_project

    _print_lock(add_to_project(workspace(), options.asking(requirements), base, command_line(), say), as_json)


@click.command("remove")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@lock_options
@json_option
def remove_command(
    names: tuple[str, ...],
    options: "Request",
    as_json: bool,
) -> None:
    """Take patches out of ppm.toml, and lock. Nothing is deployed: `ppm sync` does that.

    \b
    Example:
      ppm remove toxicity
    """
    from ppm.cli.progress import say
    from ppm.install.edit import remove_from_project

    _print_lock(remove_from_project(workspace(), names, options, command_line(), say), as_json)


@click.command("sync")
@base_option
@env_option
@find_links_option
@click.option("--recompose", is_flag=True, help="Compose and test anew, and write the result into ppm.lock.")
@click.option("--accept", multiple=True, metavar="SUITE", help="Deploy although this suite does not pass.")
@click.option("--reason", default="", metavar="TEXT", help="Why a suite is waived; it is recorded.")
@click.option("--seed", type=int, help="Seed of the composition's training; 0 when it is not given.")
@json_option
def sync_command(
    base: str | None,
    env: str | None,
    find_links: tuple[Path, ...],
    recompose: bool,
    as_json: bool,
    **gate: Any,
) -> None:
    """Deploy exactly what ppm.lock names.

    Those patches and no others, and the very composition that was tested. Every file comes from the store or a
    source and is checked against the lock; exit code 4 when one is not to be had. The first sync after `ppm lock`
    composes and tests, and writes into ppm.lock what it made.

    \b
    Example:
      ppm sync --base lab
    """
    from ppm.cli.progress import shown
    from ppm.errors import GateError
    from ppm.install.folder import ProjectFolder
    from ppm.install.install import Terms
    from ppm.install.sync import sync

    folder = ProjectFolder.find(workspace())
    locked = folder.lock()
    if locked is not None and locked.composition is not None and not recompose:
        for option in ("accept", "seed"):
            if gate[option] not in (None, ()):
                raise click.UsageError(f"--{option} has no effect on a composition that is locked; add --recompose")
    model, environment = workspace().find_target(base or workspace().base_name(None), env)
    with shown(quiet=as_json) as events:
        try:
            done = sync(
                folder,
                model,
                environment,
                Terms(**gate, force=recompose),
                command=command_line(),
                find_links=find_links,
                events=events,
            )
        except GateError as error:
            if as_json:
                pins = [package.pin for package in locked.packages] if locked else []
                audit = error.audit.to_table() if error.audit else None
                echo_json({"deployment": None, "changed": False, "patches": pins, "audit": audit})
            elif error.audit is not None:
                from ppm.cli.render import print_audit

                print_audit(error.audit)
            raise
    if as_json:
        pins = [package.manifest.pin for package in done.packages]
        echo_json({"deployment": done.deployment.number, "changed": done.changed, "patches": pins})
        return
    if is_quiet():
        return
    if done.composed is not None and done.composed.composed and done.composed.audit is not None:
        from ppm.cli.render import print_audit

        print_audit(done.composed.audit)
    if done.changed:
        pinned = ", ".join(package.manifest.pin for package in done.packages)
        click.echo(f"Deployed {pinned} as deployment {done.deployment.number} of {environment.label}.")
    else:
        click.echo(f"Nothing to do: deployment {done.deployment.number} is what ppm.lock names.")
    if done.composed is not None:
        click.echo("Wrote its composition into ppm.lock: the next sync, here or elsewhere, deploys the very same.")
