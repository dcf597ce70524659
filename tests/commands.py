"""Runs the command line in this process, or in one of its own."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ppm.cli.main import COMMANDS, cli, run


@dataclass(frozen=True)
class Result:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def ppm(*arguments: str) -> Result:
    """Run `ppm` with some arguments in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            run([str(argument) for argument in arguments])
        except SystemExit as exit_:
            code = exit_.code if isinstance(exit_.code, int) else 0
    return Result(code, out.getvalue(), err.getvalue())


def fine(*arguments: str) -> Result:
    """Run `ppm` in this process, which must work."""
    done = ppm(*arguments)
    assert done.code == 0, (arguments, done.err)
    return done


def examples() -> Iterator[tuple[str, str]]:
    """Each command, subcommands included, with the line of its example in its help, or ""."""
    context = click.Context(cli)
    for name in COMMANDS:
        found = cli.get_command(context, name)
        below = found.commands if isinstance(found, click.Group) else {}
        for words, one in ((name, found), *((f"{name} {sub}", one) for sub, one in below.items())):
            match = re.search(r"Example:\n +(ppm [^\n]+)", (one and one.help) or "")
            yield words, match[1] if match else ""


def command(*arguments: str) -> list[str]:
    """The command line of `ppm` in a process of its own."""
    return [sys.executable, "-c", "from ppm.cli.main import run; run()", *map(str, arguments)]


def imported(*arguments: str) -> tuple[int, set[str]]:
    """The exit code of a command in a process of its own, and the modules that it imported."""
    script = (
        "import json, sys\n"
        "from ppm.cli.main import run\n"
        "try:\n    run(sys.argv[1:])\n"
        "except SystemExit as error:\n    code = error.code\n"
        "print(json.dumps([code, sorted(sys.modules)]), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True)
    code, modules = json.loads(done.stderr.splitlines()[-1])
    return code, set(modules)


def start(*arguments: str, home: Path, **options: Any) -> subprocess.Popen[str]:
    """Start `ppm` in a process of its own."""
    environment = {**os.environ, "PPM_HOME": str(home)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command(*arguments), env=environment, **{**pipes, **options})
