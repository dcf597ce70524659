"""The command audit."""

from typing import TYPE_CHECKING

import click

from ppm.cli.environments import warn_affected
from ppm.cli.options import base_option, env_option, json_option, running_options, workspace
from ppm.cli.output import print_json
from ppm.cli.reports import report_options

if TYPE_CHECKING:
    from ppm.cli.reports import Reports
    from ppm.running import Running

__all__ = ["audit_command"]


@click.command("audit")
@base_option
@env_option
@click.option("--fresh", is_flag=True, help="Run everything again instead of using cached results.")
@click.option("--early", is_flag=True, help="Stop at the first of the policy's looks that settles it.")
@running_options(chooses=False)
@report_options
@json_option
def audit_command(
    base: str | None,
    env: str | None,
    fresh: bool,
    early: bool,
    running: "Running",
    reports: "Reports",
    as_json: bool,
) -> None:
    """Test what is deployed for interference.

    Runs every suite on the base, every specialist and the composition, under the policy that the deployment was
    tested under. Exit code 5 when a suite fails, 6 when one is inconclusive; a waived one is not an error. Exit
    code 5 too when `ppm advisories` found an advisory that affects the deployment.

    \b
    Example:
      ppm audit --base lab --html audit.html
    """
    from ppm.cli.progress import shown
    from ppm.cli.render import print_audit
    from ppm.inspect.audit import audit_deployed

    reports.refuse_unwritable()
    with shown(quiet=as_json) as events:
        environment = workspace().find_environment(base, env)
        found = audit_deployed(workspace(), environment, fresh=fresh, early=early, asked=running, events=events)
    reports.write(found)
    if as_json:
        print_json(found.audit.to_table())
    else:
        print_audit(found.audit)
        reports.tell()
    deployment = environment.current()
    affected = warn_affected(environment, deployment) if deployment is not None else []
    passed = found.audit.may_deploy and not affected
    raise SystemExit(0 if passed else 5 if affected or found.audit.verdict == "fail" else 6)
