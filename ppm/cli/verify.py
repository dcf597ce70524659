"""The command verify."""

from pathlib import Path

import click

from ppm.cli.options import LocalPath, base_option, env_option, json_option, workspace
from ppm.cli.output import print_json, report, say, write

__all__ = ["verify_command"]


@click.command("verify")
@click.argument("files", nargs=-1, type=LocalPath(), metavar="[FILE]...")
@base_option
@env_option
@json_option
def verify_command(files: tuple[Path, ...], base: str | None, env: str | None, as_json: bool) -> None:
    """Check what is deployed, or package files, byte by byte.

    Compares with the digests that were recorded. Exit code 4 when something was changed or is missing.

    \b
    Example:
      ppm verify --base lab
    """
    from ppm.errors import IntegrityError, PpmError, RequestError
    from ppm.inspect.verify import damaged
    from ppm.package import read_package

    found: list[tuple[str, str | None]] = []
    for path in files:
        try:
            package = read_package(path)
            found.append((f"{path} ({package.manifest.pin}, SHA-256 {package.sha256})", None))
        except PpmError as error:
            found.append((str(path), error.message))
    if not files:
        environment = workspace().find_environment(base, env)
        if not environment.exists():
            raise RequestError("nothing is deployed", hint="start with `ppm install PATCH --base MODEL`")
        found = list(damaged(environment))
    wrong = [(what, fault) for what, fault in found if fault is not None]
    if as_json:
        print_json([{"what": what, "fault": fault} for what, fault in found])
    else:
        for what, fault in wrong or (found if files else ()):
            write(f"{what}: {fault}" if fault else f"{what}: sound")
        if not wrong and not files:
            report(f"Sound: what is in force, and {len(found) - 1} deployments and stored files.")
    if wrong and not files and not as_json:
        say("hint: `ppm install` puts a package file back from a source (--find-links DIR), and a composition from the")
        say("store; `ppm rollback NUMBER` goes back to a deployment that is sound, and `ppm env remove` starts over")
    if wrong:
        raise click.exceptions.Exit(IntegrityError.exit_code)
