"""Options that several commands share."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

__all__ = ["base_option", "command_line", "echo_json", "env_option", "find_links_option", "json_option"]

F = TypeVar("F", bound=Callable[..., Any])


def base_option(function: F) -> F:
    """--base, where an environment can be found without it."""
    text = "Base model: `lab`, a folder, a hub name as NAME@COMMIT, or an environment. Default: the only one there is."
    return click.option("--base", metavar="MODEL", help=text)(function)


def env_option(function: F) -> F:
    """--env."""
    return click.option("--env", metavar="NAME", help="One of several environments of the base, such as `staging`.")(
        function
    )


def find_links_option(function: F) -> F:
    """--find-links, -f."""
    return click.option(
        "--find-links",
        "-f",
        multiple=True,
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="A folder of package files.",
    )(function)


def json_option(function: F) -> F:
    """--json."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def echo_json(value: Any) -> None:
    """Plain data as JSON on standard output."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def command_line() -> str:
    """What the user ran, for the records."""
    import shlex

    return shlex.join(["ppm", *sys.argv[1:]])[:500]
