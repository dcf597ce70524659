"""The command sync."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ppm.cli.deploy import advisory_rows, gate_options, show_refused, show_tests
from ppm.cli.options import (
    base_option,
    command_line,
    env_option,
    find_links_option,
    is_quiet,
    json_option,
    limits_option,
    workspace,
)
from ppm.cli.output import print_json, write
from ppm.cli.render import print_audit
from ppm.cli.reports import Reports, report_options

if TYPE_CHECKING:
    from ppm.install.install import Terms
    from ppm.install.sync import Synced
    from ppm.running import Running

__all__ = ["sync_command"]


@click.command("sync")
@base_option
@env_option
@find_links_option
@click.option("--recompose", is_flag=True, help="Compose and test again, and write the result into ppm.lock.")
@limits_option
@gate_options
@report_options
@json_option
def sync_command(
    base: str | None,
    env: str | None,
    find_links: tuple[Path, ...],
    recompose: bool,
    limits: "Running",
    gate: "Terms",
    reports: Reports,
    as_json: bool,
) -> None:
    """Deploy exactly what ppm.lock names.

    Those patches and no others, and exactly the composition that was tested. What is deployed besides is removed, and
    named. Every file comes from the store or a source and is checked against the lock; exit code 4 when one can't be
    found. The first sync after `ppm lock` composes and tests, and writes the result into ppm.lock.

    \b
    Example:
      ppm sync --base lab
    """
    from ppm.cli.progress import shown
    from ppm.errors import GateError
    from ppm.install.folder import ProjectFolder
    from ppm.install.sync import sync

    folder = ProjectFolder.find(workspace())
    locked = folder.lock()
    if locked is not None and locked.composition is not None and not recompose:
        _refuse_idle(gate)
    reports.refuse_unwritable()
    model, environment = workspace().find_target(base or workspace().base_name(None), env)
    with shown(quiet=as_json) as events:
        try:
            done = sync(
                folder,
                model,
                environment,
                replace(gate, force=recompose),
                command=command_line(),
                find_links=find_links,
                limits=limits,
                events=events,
            )
        except GateError as error:
            pins = [package.pin for package in locked.packages] if locked else []
            show_refused(error, {"patches": pins}, reports, as_json=as_json)
            raise
    if done.composed is not None:
        show_tests(done.composed, reports)
    if as_json:
        pins = [package.manifest.pin for package in done.packages]
        table = {"deployment": done.deployment.number, "changed": done.changed, "patches": pins}
        print_json({**table, "removed": list(done.removed), "advisories": advisory_rows(done.advised)})
    elif not is_quiet():
        _print_synced(done, environment.label)


def _refuse_idle(gate: "Terms") -> None:
    """Raises UsageError for an option about a composition that is not made."""
    for option, given in (("accept", bool(gate.accept)), ("seed", gate.seed is not None)):
        if given:
            raise click.UsageError(f"--{option} has no effect on a locked composition; add --recompose")


def _print_synced(done: "Synced", label: str) -> None:
    if done.composed is not None and done.composed.composed and done.composed.audit is not None:
        print_audit(done.composed.audit)
    if done.changed:
        pinned = ", ".join(package.manifest.pin for package in done.packages)
        write(f"Deployed {pinned} as deployment {done.deployment.number} of {label}.")
    else:
        write(f"Nothing to do: deployment {done.deployment.number} is what ppm.lock names.")
    if done.composed is not None:
        write("Wrote its composition into ppm.lock: the next sync, here or elsewhere, deploys exactly the same one.")
