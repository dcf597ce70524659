"""The command `ppm`: its groups, how errors are shown, and exit codes."""

import importlib
import os
import sys
import traceback
from typing import Any

import click

from ppm import __version__
from ppm.cli.options import output_options
from ppm.errors import PpmError, did_you_mean

__all__ = ["cli", "run"]

# Command -> the module that defines it; a module is imported only when one of its commands is used or listed.
COMMANDS = {
    "quickstart": "quickstart",
    "install": "change",
    "upgrade": "change",
    "uninstall": "change",
    "autoremove": "change",
    "rollback": "change",
    "hold": "state",
    "unhold": "state",
    "list": "inspect",
    "outdated": "graph",
    "show": "inspect",
    "tree": "graph",
    "why": "graph",
    "check": "graph",
    "verify": "state",
    "freeze": "inspect",
    "history": "inspect",
    "diff": "state",
    "add": "project",
    "remove": "project",
    "lock": "project",
    "sync": "project",
    "search": "sources",
    "download": "sources",
    "audit": "audit",
    "generate": "generate",
    "compose": "make",
    "build": "make",
    "strategies": "catalog",
    "judges": "catalog",
    "env": "state",
    "cache": "state",
    "config": "state",
    "completion": "completion",
    "lab": "lab",
}


class _Lazy(click.Group):
    """Finds commands by name, and suggests the nearest for a typo."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"ppm.cli.{COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        for one in (command, *(command.commands.values() if isinstance(command, click.Group) else ())):
            if not any(parameter.name == "quiet" for parameter in one.params):
                one.params += output_options()
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            hint = did_you_mean(args[0], COMMANDS, "`ppm --help` lists the commands")
            raise click.UsageError(f"there is no command {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "-V", "--version", prog_name="ppm")
def cli() -> None:
    """A package manager for safety patches of language models.

    Resolves patches, composes them into one prefix, tests the result for interference, and deploys it only if it
    passes. Start with `ppm quickstart`.
    """


cli.params += output_options()


def run(arguments: list[str] | None = None) -> None:
    """Run the command line and exit.

    0 done, 1 error, 2 usage, 3 no solution, 4 integrity, 5 gate failed, 6 gate inconclusive, 130 interrupted.
    """
    # How long torch's threads (GNU OpenMP) spin while they wait. As long as they do by default, two commands at once on
    # two cores take ten times as long as one after the other; not at all, one alone takes a quarter longer.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments or bool(os.environ.get("PPM_DEBUG"))
    color = False if "--no-color" in arguments or os.environ.get("NO_COLOR") else None
    try:
        code: Any = cli.main(args=arguments, prog_name="ppm", standalone_mode=False, color=color)
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("\ninterrupted; `ppm list` shows what is deployed", err=True)
        sys.exit(130)
    except PpmError as error:
        if debug:
            traceback.print_exc()
        _show(error, color)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        if debug:
            traceback.print_exc()
        name = f"{error.filename}: " if error.filename else ""
        _show(
            PpmError(
                f"{name}{error.strerror or error}",
                hint="make its folder first"
                if isinstance(error, FileNotFoundError)
                else "check the disk's free space and the rights of its folders",
            ),
            color,
        )
        sys.exit(1)


def _show(error: PpmError, color: bool | None) -> None:
    from ppm.cli.render import plain

    text = plain(f"{error.context}: {error.message}" if error.context else error.message)
    click.echo(f"{click.style('error:', fg='red', bold=True)} {text}", err=True, color=color)
    if error.hint:
        click.echo(f"{click.style('hint:', fg='cyan')} {plain(error.hint)}", err=True, color=color)
