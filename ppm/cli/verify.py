"""Is what is deployed, and what it rests on, still what was recorded? The command verify."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ppm.cli.options import LocalPath, base_option, command_line, env_option, json_option, workspace
from ppm.cli.output import print_json, report, say, write
from ppm.cli.trail import advisory_lines, print_check

if TYPE_CHECKING:
    from ppm.inspect.verify import Finding

__all__ = ["verify_command"]


@click.command("verify")
@click.argument("files", nargs=-1, type=LocalPath(), metavar="[FILE]...")
@base_option
@env_option
@click.option("--all", "everything", is_flag=True, help="Also exit with 4 for damaged history and caches.")
@click.option(
    "--mend",
    "mending",
    is_flag=True,
    help="First repair holds, the count of attempts, stored audits and cached results.",
)
@json_option
def verify_command(
    files: tuple[Path, ...], base: str | None, env: str | None, everything: bool, mending: bool, as_json: bool
) -> None:
    """Check what is deployed, or package files, byte by byte.

    Compares every deployment and all it needs, the holds, the attempts at the gate and cached results with their
    recorded digests. Exit code 4 when something in force was changed or is missing; damage to history and
    caches is only reported. Shows how each patch was checked when it was deployed: by which keys, and when.

    \b
    Example:
      ppm verify --base lab
    """
    from ppm.errors import IntegrityError, RequestError
    from ppm.inspect.verify import examine
    from ppm.install.mend import mend

    if files:
        if mending:
            raise RequestError("a package file can't be repaired", hint="fetch it again from its vendor")
        for path in files:
            if not path.exists():
                raise RequestError("there is no such file", context=str(path), hint="give the path of a .ppm file")
        found = [_package(path) for path in files]
    else:
        environment = workspace().find_environment(base, env)
        if not environment.exists():
            raise RequestError("nothing is deployed", hint="start with `ppm install PATCH --base MODEL`")
        if mending:
            for line in mend(environment, command=command_line(), timeout=workspace().lock_timeout, tell=say):
                say(line)
        found = list(examine(environment))
    wrong = [finding for finding in found if finding.fault is not None]
    if as_json:
        print_json([_row(finding) for finding in found])
    else:
        _print(found if files else wrong)
        if not any(finding.in_force for finding in wrong):
            _print_trail([finding for finding in found if finding.in_force])
        if not wrong and not files:
            count = sum(finding.what.startswith("deployment") for finding in found)
            report(f"All sound: what is in force, and {count} deployments and stored files.")
    if wrong and files:
        what = wrong[0].what if len(wrong) == 1 else f"{len(wrong)} of {len(found)} package files"
        raise IntegrityError(
            f"not sound: {what}", hint="don't install what is not sound; fetch it again from its vendor"
        )
    if wrong and not as_json:
        _print_hints(wrong)
    if any(finding.in_force or everything for finding in wrong):
        raise click.exceptions.Exit(IntegrityError.exit_code)


def _package(path: Path) -> "Finding":
    from ppm.errors import PpmError
    from ppm.inspect.verify import Finding
    from ppm.package import read_package

    try:
        package = read_package(path)
    except PpmError as error:
        return Finding(str(path), error.message, True)
    return Finding(f"{path} ({package.manifest.pin}, SHA-256 {package.sha256})", None, True)


def _print(findings: "list[Finding]") -> None:
    for finding in findings:
        old = "" if finding.in_force else " (not in force)"
        write(f"{finding.what}{old}: {finding.fault or 'sound'}")


def _row(finding: "Finding") -> dict[str, object]:
    from ppm.inspect.trail import advised, checked

    row = {"what": finding.what, "fault": finding.fault, "in_force": finding.in_force}
    how = checked(finding.checked) if finding.checked is not None else None
    return {
        **row,
        "patch": finding.patch,
        "checked": how,
        "advisories": advised(finding.advisories),
        "unread": list(finding.unread),
    }


def _print_trail(findings: "list[Finding]") -> None:
    """How each patch in force was checked before it was deployed, and the advisories that were in force on it then."""
    from ppm.inspect.trail import advised

    for finding in findings:
        if finding.patch is not None:
            print_check(finding.patch, finding.checked)
        for line in finding.unread:
            report(f"{finding.what}: {line}")
        for line in advisory_lines(advised(finding.advisories)):
            report(f"  {line}")


def _print_hints(wrong: "list[Finding]") -> None:
    if any(finding.in_force for finding in wrong):
        say("hint: `ppm install` puts a package file back from a source (--find-links DIR), and a composition from the")
        say("store; `ppm rollback NUMBER` goes back to a sound deployment; `ppm verify --mend` repairs holds and")
        say("the count of attempts; `ppm env remove` starts over")
    else:
        say("hint: what is in force is sound; `ppm env drop --damaged` removes damaged deployments from history, and")
        say("`ppm verify --mend` repairs the rest")
