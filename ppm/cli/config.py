"""The command config."""

import os

import click

from ppm.cli.options import json_option, workspace
from ppm.cli.output import print_json, print_table

__all__ = ["config_command"]


@click.command("config")
@json_option
def config_command(as_json: bool) -> None:
    """Show the settings in effect here, and where each comes from.

    \b
    Example:
      ppm config
    """
    from ppm.inspect.settings import settings

    rows = settings(workspace(), os.environ)
    if as_json:
        print_json([{"setting": key, "value": value, "from": origin} for key, value, origin in rows])
    else:
        print_table(["Setting", "Value", "From"], [list(row) for row in rows])
