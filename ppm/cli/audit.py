"""The command audit."""

import os
from pathlib import Path

import click

from ppm.cli.options import base_option, echo_json, env_option, json_option

__all__ = ["audit_command"]


@click.command("audit")
@base_option
@env_option
@click.option("--fresh", is_flag=True, help="Run everything again instead of using results that are kept.")
@click.option("--junit", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Also write JUnit XML.")
@click.option(
    "--samples",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write every sample as JSON Lines.",
)
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write a report page for a browser.",
)
@json_option
def audit_command(
    base: str | None,
    env: str | None,
    fresh: bool,
    junit: Path | None,
    samples: Path | None,
    html: Path | None,
    as_json: bool,
) -> None:
    """Test what is deployed for interference.

    Runs every suite on the base, every specialist and the composition, under the policy that the deployment was
    tested under. Exit code 5 when a suite fails, 6 when one is inconclusive; a waived one is no error.

    \b
    Example:
      ppm audit --base lab --html audit.html
    """
    from ppm.cli.progress import report, shown
    from ppm.cli.render import print_audit
    from ppm.inspect.audit import audit_deployed
    from ppm.install.bases import find_environment

    for path in filter(None, (junit, samples, html)):
        _refuse_unwritable(path)
    with shown(quiet=as_json) as events:
        result, outcomes, suites = audit_deployed(find_environment(base, env), fresh=fresh, events=events)
    if junit is not None or samples is not None:
        from ppm.audit.report import junit_xml, sample_lines

        if junit is not None:
            _write(junit, junit_xml(result))
        if samples is not None:
            _write(samples, sample_lines(outcomes, suites))
    if html is not None:
        from ppm.audit.page import html_page

        _write(html, html_page(result, outcomes, suites))
    if as_json:
        echo_json(result.to_table())
    else:
        print_audit(result)
        for path in filter(None, (junit, samples, html)):
            report(f"Wrote {path}")
    raise SystemExit(0 if result.may_deploy else 5 if result.verdict == "fail" else 6)


def _refuse_unwritable(path: Path) -> None:
    """Raises RequestError for a file that could not be written after minutes of work."""
    from ppm.errors import RequestError

    if not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
        folder = path.absolute().parent
        fault = "can't be written" if folder.is_dir() else f"can't be written: there is no folder {folder}"
        raise RequestError(fault, context=str(path), hint="name a file in a folder of your own")


def _write(path: Path, data: bytes) -> None:
    from ppm.disk import disk_errors, replace_file

    with disk_errors("can't be written", path):
        if path.exists() and not path.is_file():  # a pipe, or /dev/stdout
            path.write_bytes(data)
        else:
            replace_file(path.resolve(), data)
