"""The command test."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ppm.cli.deploy import DeployOptions
from ppm.cli.install import install_requirements, requirements_options
from ppm.cli.options import base_option, env_option, json_option, together
from ppm.cli.reports import Reports, report_options

if TYPE_CHECKING:
    from ppm.install.request import Request

__all__ = ["test_command"]


def _make(strategy: str | None, seed: int | None, as_json: bool, reports: Reports) -> DeployOptions:
    return DeployOptions(strategy, (), "", seed, False, as_json, reports, force=True, deploy=False)


@click.command("test")
@click.argument("requirements", nargs=-1, metavar="[REQUIREMENT]...")
@base_option
@env_option
@requirements_options
@click.option("--strategy", metavar="NAME", help="How patches are composed; `ppm strategies` lists them.")
@click.option("--seed", type=int, help="Seed of the composition's training; 0 by default.")
@report_options
@json_option
@together("how", _make, "strategy", "seed", "as_json", "reports")
def test_command(
    requirements: tuple[str, ...],
    base: str | None,
    env: str | None,
    files: tuple[Path, ...],
    require_hashes: bool,
    options: "Request",
    how: DeployOptions,
) -> None:
    """Do everything that install does except deploy.

    Resolves, composes and tests, together with what is deployed, and changes nothing in the environment; the attempt
    counts like that of an install. Exit code 5 when a suite fails, 6 when one stays inconclusive.

    \b
    Example:
      ppm test toxicity --base lab --env staging --html test.html
    """
    if not requirements and not files:
        raise click.UsageError("name the patches to test")
    install_requirements(requirements, files, base, env, options, require_hashes, how)
