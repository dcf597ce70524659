"""Is what is deployed, and what it rests on, still what was recorded? The command verify."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ppm.cli.options import LocalPath, base_option, command_line, env_option, json_option, workspace
from ppm.cli.output import print_json, report, say, write

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
    caches is only reported.

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
        print_json([{"what": f.what, "fault": f.fault, "in_force": f.in_force} for f in found])
    else:
        _print(found if files else wrong)
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


def _print_hints(wrong: "list[Finding]") -> None:
    if any(finding.in_force for finding in wrong):
        say("hint: `ppm install` puts a package file back from a source (--find-links DIR), and a composition from the")
        say("store; `ppm rollback NUMBER` goes back to a sound deployment; `ppm verify --mend` repairs holds and")
        say("the count of attempts; `ppm env remove` starts over")
    else:
        say("hint: what is in force is sound; `ppm env drop --damaged` removes damaged deployments from history, and")
        say("`ppm verify --mend` repairs the rest")
