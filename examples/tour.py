"""Runs the commands of docs/tour.md as a new user would, in an empty folder with an empty PPM_HOME.

    python examples/tour.py            # shows what would be printed
    python examples/tour.py --write    # and puts it into docs/tour.md

Each block of the page that begins with `$ ` is a session: the lines after a command are what it prints, standard error
included. Blocks are run one after the other by one shell's rules; `home` is where PPM_HOME begins.
"""

import argparse
import getpass
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "tour.md"
BLOCK = re.compile(r"^```\n(\$ .*?)^```$", re.MULTILINE | re.DOTALL)
EXIT = re.compile(r"^\[exit code (\d+)\]\n?", re.MULTILINE)


def sessions(text: str) -> list[tuple[str, str]]:
    """(command, what it prints) of every block, in order."""
    found = []
    for block in BLOCK.findall(text):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output))
    return found


class Shell:
    """Runs command lines in a folder, with `ppm` and `python` being those of this installation."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        tools = folder / ".tools"
        tools.mkdir()
        for name, module in (("ppm", "-m ppm"), ("python", "")):
            (tools / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n')
            (tools / name).chmod(0o755)
        examples = shlex.quote(str(Path(__file__).resolve().parent))
        subprocess.run(["bash", "-c", f"ln -s {examples} {folder}/examples"], check=True)
        self.variables = {
            **os.environ,
            "PATH": f"{tools}:{os.environ['PATH']}",
            "PPM_HOME": str(folder / "home"),
            "HF_HUB_OFFLINE": "1",
            "COLUMNS": "100",
        }

    def run(self, command: str) -> str:
        """What a command prints; its exit code is noted when it is not 0. `cd` and `export` last."""
        script = f"{command}\ncode=$?\npwd > {self.folder}/.pwd\nenv -0 > {self.folder}/.env\nexit $code"
        where = self.folder / ".pwd"
        folder = where.read_text().strip() if where.is_file() else self.folder
        done = subprocess.run(
            ["bash", "-c", script], cwd=folder, env=self.variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        pairs = (self.folder / ".env").read_bytes().decode().split("\0")
        self.variables = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        text = done.stdout.decode().replace(str(self.folder), "~")
        text = re.sub(rf"\b{re.escape(getpass.getuser())}\b", "you", text)
        return text + (f"[exit code {done.returncode}]\n" if done.returncode else "")


def outline(text: str) -> list[str]:
    """What must be the same on every machine: words without figures, digests, times and the widths of columns."""
    text = re.sub(
        r"[+-]?\b[0-9a-f]{12,64}\b(\.\.\.)?|\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?\S*|[+-]?\d+(\.\d+)?", "#", text
    )
    lines = [" ".join(line.split()) for line in text.splitlines()]
    # Lines of progress depend on how fast the machine is.
    return [line for line in lines if line and not re.match(r"(completions|base|sft|dpo|distil\S*|#)\b.*: #/#", line)]


def retold(text: str, shell: Shell) -> str:
    """The page with what its commands print now."""

    def told(match: re.Match[str]) -> str:
        lines = []
        for part in re.split(r"^\$ ", match[1], flags=re.MULTILINE)[1:]:
            command = part.partition("\n")[0]
            lines.append(f"$ {command}\n{shell.run(command)}")
            print(lines[-1], end="", flush=True)
        return "```\n" + "".join(lines) + "```"

    return BLOCK.sub(told, text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        text = retold(PAGE.read_text(encoding="utf-8"), Shell(Path(name)))
    if options.write:
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
