"""The command `ppm`: its groups, how errors are shown, and exit codes."""

import importlib
import os
import signal
import sys
import threading
import traceback
from difflib import get_close_matches
from types import FrameType, TracebackType
from typing import NoReturn

import click

from ppm.cli.options import output_options
from ppm.cli.output import drop_output, print_error, say, warn
from ppm.cli.progress import Downloads
from ppm.errors import DiskError, PpmError, did_you_mean
from ppm.progress import Events
from ppm.version import __version__

__all__ = ["cli", "run"]

# Subject -> command -> the module that defines it, imported only when one of its commands is used or listed.
SUBJECTS = {
    "Change what is deployed": {
        "quickstart": "quickstart",
        "install": "install",
        "test": "test",
        "upgrade": "upgrade",
        "uninstall": "uninstall",
        "autoremove": "uninstall",
        "rollback": "rollback",
        "hold": "holds",
        "unhold": "holds",
    },
    "Look at what is deployed": {
        "list": "packages",
        "outdated": "outdated",
        "show": "packages",
        "tree": "tree",
        "why": "tree",
        "check": "check",
        "verify": "verify",
        "freeze": "packages",
        "history": "history",
        "log": "log",
        "attempts": "attempts",
        "diff": "diff",
        "audit": "audit",
        "advisories": "advisories",
        "generate": "generate",
        "export": "export",
    },
    "Projects: ppm.toml and ppm.lock": {
        "add": "project",
        "remove": "project",
        "lock": "lock",
        "sync": "sync",
    },
    "Find and make patches": {
        "search": "search",
        "download": "download",
        "compose": "compose",
        "build": "build",
        "rebase": "rebase",
        "strategies": "strategies",
        "judges": "judges",
        "suites": "suites",
        "base": "base",
        "lab": "lab",
    },
    "Signed indexes": {
        "source": "source",
        "index": "index",
        "publish": "publish",
    },
    "Settings and disk": {
        "env": "environments",
        "use": "environments",
        "cache": "cache",
        "config": "config",
        "completion": "completion",
    },
}
NO_COMMAND = "there is no command"
CALLED_ELSEWHERE = {
    "delete": "uninstall",
    "info": "show",
    "ls": "list",
    "rm": "uninstall",
    "status": "list",
    "update": "upgrade",
}
"""What package managers call some of the commands."""

COMMANDS = {name: module for commands in SUBJECTS.values() for name, module in commands.items()}


class _Lazy(click.Group):
    """Finds commands by name, and suggests the nearest for a typo."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands by subject."""
        limit = formatter.width - 6 - max(map(len, COMMANDS))
        for subject, names in SUBJECTS.items():
            with formatter.section(subject):
                found = [(name, self.get_command(ctx, name)) for name in names]
                formatter.write_dl([(name, command.get_short_help_str(limit)) for name, command in found if command])

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
            elsewhere = CALLED_ELSEWHERE.get(args[0])
            near = f"did you mean {elsewhere!r}?" if elsewhere else did_you_mean(args[0], COMMANDS)
            raise click.UsageError("; ".join([f"{NO_COMMAND} {args[0]!r}", *filter(None, [near])]))
        return super().resolve_command(ctx, args)


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "-V", "--version", prog_name="ppm")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """A package manager for safety patches of language models.

    Resolves patches, composes them, tests the result for interference, and deploys it only if it passes.
    Start with `ppm quickstart`.
    """
    ctx.obj = Events(say, progress=Downloads())  # for what sources have to tell


cli.params += output_options()


def run(arguments: list[str] | None = None) -> None:
    """Run the command line and exit.

    0 done, 1 error, 2 usage, 3 no solution, 4 integrity, 5 gate failed, 6 gate inconclusive, 130 interrupted.
    """
    # How long torch's threads (GNU OpenMP) spin while they wait. As long as they do by default, two commands at once on
    # two cores take ten times as long as one after the other; not at all, one alone takes a quarter longer.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    arguments = sys.argv[1:] if arguments is None else arguments
    interrupted = _note_interrupts()
    sys.excepthook = _show_bug
    debug = "--debug" in arguments or bool(os.environ.get("PPM_DEBUG"))
    color = False if "--no-color" in arguments or os.environ.get("NO_COLOR") else None
    try:
        for argument in arguments:
            if any("\ud800" <= character <= "\udfff" for character in argument):
                shown = os.fsencode(argument).decode("utf-8", "backslashreplace")
                raise click.UsageError(f"'{shown}' is not UTF-8")
        code: object = cli.main(args=arguments, prog_name="ppm", standalone_mode=False, color=color)
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        _show(_of_click(error), color)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _say_interrupted()
    except PpmError as error:
        if debug:
            warn(traceback.format_exc().rstrip())
        _show(_with_advice(error) if isinstance(error, DiskError) else error, color)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # click's own help; what ppm prints never raises it
        drop_output()
        sys.exit(0)
    except OSError as error:
        if debug:
            warn(traceback.format_exc().rstrip())
        name = f"{error.filename}: " if error.filename else ""
        _show(
            PpmError(
                f"{name}{error.strerror or error}",
                hint="create the folder first"
                if isinstance(error, FileNotFoundError)
                else "check the disk's free space and the permissions of its folders",
            ),
            color,
        )
        sys.exit(1)
    except Exception:
        if not interrupted:
            raise
        _say_interrupted()


def _of_click(error: click.ClickException) -> PpmError:
    """An error of click's in the form of ppm's own."""
    if isinstance(error, click.NoSuchOption):
        error = _with_near(error)
    context = getattr(error, "ctx", None)
    message = error.format_message().rstrip(".")
    hint = f"`{context.command_path if context else 'ppm'} --help` shows how to use it"
    if message.startswith(NO_COMMAND):
        hint = "`ppm --help` lists the commands"
    return PpmError(message[:1].lower() + message[1:], hint=hint)


def _with_near(error: click.NoSuchOption) -> click.NoSuchOption:
    """The same, but suggesting only what is near without the dashes, which make any two short options alike."""
    known = {option.lstrip("-"): option for option in error.possibilities or ()}
    near = get_close_matches(error.option_name.lstrip("-"), known)
    return click.NoSuchOption(error.option_name, possibilities=[known[word] for word in near], ctx=error.ctx)


def _note_interrupts() -> list[int]:
    """A list that Ctrl-C leaves its mark in.

    The KeyboardInterrupt may come up as any other exception: in the midst of an import, numpy makes a RecursionError
    of it.
    """
    marks: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        marks.append(number)
        signal.default_int_handler(number, frame)

    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, interrupt)
    return marks


def _say_interrupted() -> NoReturn:
    warn("\ninterrupted; `ppm list` shows what is deployed")
    sys.exit(130)


def _show_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """The traceback of a bug, in which a text of others is as harmless as everywhere."""
    warn("".join(traceback.format_exception(kind, error, trace)).rstrip())


def _with_advice(error: DiskError) -> PpmError:
    from ppm.home import advice

    hint = ", ".join(filter(None, (error.hint, advice(error, os.environ))))
    return PpmError(error.message, context=error.context, hint=hint)


def _show(error: PpmError, color: bool | None) -> None:
    print_error(error.message, context=error.context, hint=error.hint, color=color)
