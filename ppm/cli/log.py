"""What was in force at a moment, and on what evidence: the command log."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from ppm.cli.options import base_option, env_option, json_option, workspace
from ppm.cli.output import print_json, print_table, write
from ppm.cli.trail import advisory_lines, shown_moment

if TYPE_CHECKING:
    from ppm.inspect.log import Then

__all__ = ["log_command"]


@click.command("log")
@click.option("--at", "moment", metavar="DATE", help="A day, by its end, or a time, in UTC; now by default.")
@base_option
@env_option
@json_option
def log_command(moment: str | None, base: str | None, env: str | None, as_json: bool) -> None:
    """Say what was in force at a moment, and on what evidence.

    The files of that deployment are verified first. `test-result.intoto.json` and `bom.cdx.json` in its folder say
    the same for other tools, as an in-toto test result and a CycloneDX bill of materials.

    \b
    Example:
      ppm log --base lab
    """
    from ppm.inspect.log import in_force_at
    from ppm.moment import Moment

    at = Moment.from_text(moment).at if moment else datetime.now(UTC)
    found = in_force_at(workspace().find_environment(base, env), at)
    if as_json:
        print_json(found)
    else:
        _print(found)


def _print(found: "Then") -> None:
    until = f"until {shown_moment(found['until'])}" if found["until"] else "until now"
    write(f"Deployment {found['number']}, in force from {shown_moment(found['since'])} {until}.")
    write(f"By {found['user']} with ppm {found['ppm']}: {found['command']}")
    weights = f", weights {found['weights']}" if found["weights"] else ""
    write(f"Base {found['base']} in {found['dtype']}, {found['fingerprint']}{weights}")
    if not found["patches"]:
        write("No patch was in force.")
        return
    print_table(["Patch", "SHA-256", "Source"], [[p["patch"], p["sha256"], p["source"]] for p in found["patches"]])
    write(f"Composed by {found['strategy']}: {found['composition']}")
    alpha = f", tested at alpha {found['alpha']:g}" if found["alpha"] is not None else ""
    write(f"Verdict: {found['verdict']}{alpha}. Passed: {', '.join(found['passed']) or 'nothing'}.")
    for waiver in found["waivers"]:
        write(f"{waiver['suite']} was waived by {waiver['by']} on {waiver['at']}: {waiver['reason']}")
    for line in advisory_lines(found["advisories"]):
        write(line)
    write(f"Evidence, unchanged since, in {found['folder']}:")
    print_table(["File", "SHA-256"], list(map(list, found["evidence"].items())))
