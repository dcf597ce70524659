"""The command test."""

from collections.abc import Mapping
from dataclasses import replace

import click

from ppm.cli.deploy import DeployOptions, more_prompts_option, prefer_option, seed_option, strategy_option
from ppm.cli.install import Asked, asked_options, install_requirements
from ppm.cli.options import json_option, together
from ppm.cli.reports import Reports, report_options

__all__ = ["test_command"]


def _make(
    strategy: str | None,
    prefer: tuple[str, ...],
    more_prompts: Mapping[str, str],
    seed: int | None,
    as_json: bool,
    reports: Reports,
) -> DeployOptions:
    how = DeployOptions(strategy, (), "", seed, False, as_json, reports, force=True, deploy=False)
    return replace(how, prefer=prefer, more_prompts=more_prompts)


@click.command("test")
@asked_options
@strategy_option
@prefer_option
@more_prompts_option
@seed_option
@report_options
@json_option
@together("how", _make, "strategy", "prefer", "more_prompts", "seed", "as_json", "reports")
def test_command(asked: Asked, how: DeployOptions) -> None:
    """Do everything that install does except deploy.

    Resolves, composes and tests, together with what is deployed, and changes nothing in the environment; the attempt
    counts like that of an install. Exit code 5 when a suite fails, 6 when one stays inconclusive.

    \b
    Example:
      ppm test toxicity --base lab --env staging --html test.html
    """
    if not asked.requirements and not asked.files:
        raise click.UsageError("name the patches to test")
    install_requirements(asked, how)
