"""The one place that prints. What others wrote never reaches a terminal with its control characters.

Every text is cleaned here, keys and JSON included, and bent to what the output can show; only `Styled` adds escape
sequences, and only after that. A reader who goes away early changes neither a command's work nor its exit code.
"""

import json
import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TextIO

import click

from ppm.cli.options import is_quiet, use_color
from ppm.encoding import CONTROLS
from ppm.names import without_logins

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "Styled",
    "Text",
    "agreed",
    "clean",
    "confirm",
    "console",
    "drop_output",
    "one_line",
    "print_above",
    "print_error",
    "print_json",
    "print_table",
    "print_wrapped",
    "report",
    "say",
    "secret",
    "stdout_is_terminal",
    "warn",
    "write",
]

LINE_ART = str.maketrans("├└│─", "|`|-")
"""What trees are drawn with where the output has no box characters."""


@dataclass(frozen=True)
class Styled:
    """A piece of text in a color of ours; `color` is one of click's names."""

    text: str
    color: str | None = None
    bold: bool = False


Text = str | Styled | Sequence[str | Styled]
"""A text, or the pieces that make one up."""


def clean(text: str) -> str:
    """Text in which control characters and bidirectional marks are question marks."""
    return CONTROLS.sub("?", text)


def one_line(text: str) -> str:
    """The same without line breaks and tabs, for text that somebody else wrote and that may not pass for a line."""
    return clean(" ".join(text.split()))


def write(text: Text) -> None:
    """Data that was asked for, on standard output."""
    _emit(_rendered(text, sys.stdout), err=False)


def report(text: Text) -> None:
    """A line on standard output about what was done, unless the user wants none."""
    if not is_quiet():
        write(text)


def say(text: Text) -> None:
    """A line on standard error, unless the user wants none."""
    if not is_quiet():
        warn(text)


def warn(text: Text) -> None:
    """A line on standard error that even `--quiet` leaves."""
    _emit(_rendered(text, sys.stderr), err=True)


def print_json(value: object) -> None:
    """Plain data as JSON on standard output: text as it is where the output can show it, else escaped."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    if not _fits(text, sys.stdout):
        text = json.dumps(value, indent=2)
    _emit(CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", text), err=False)


def print_table(header: Sequence[str], rows: Sequence[Sequence[Text]], *, right: Sequence[int] = ()) -> None:
    """Columns of text, padded to their widest cell; `right` are the indices of columns of figures."""
    bold = [Styled(cell, bold=True) for cell in header]
    cells = [[[_flat(piece) for piece in _pieces(cell)] for cell in row] for row in (bold, *rows)]
    lengths = [[sum(len(_bent(_text(piece), sys.stdout)) for piece in cell) for cell in row] for row in cells]
    widths = [max(row[i] for row in lengths) for i in range(len(header))]
    for row, taken in zip(cells, lengths, strict=True):
        line: list[str | Styled] = []
        for i, cell in enumerate(row):
            pad = " " * (widths[i] - taken[i])
            line += ["  "] * (i > 0) + ([pad, *cell] if i in right else [*cell, pad])
        while line and not _text(line[-1]).strip():
            line.pop()
        write([*line[:-1], _ended(line[-1])] if line else "")


def print_wrapped(text: str, *, indent: str) -> None:
    """A paragraph, broken to the width of the terminal."""
    from shutil import get_terminal_size

    width = min(get_terminal_size().columns, 100)
    write(click.wrap_text(one_line(text), width, initial_indent=indent, subsequent_indent=indent))


def print_error(message: str, *, context: str = "", hint: str = "", color: bool | None = None) -> None:
    """An error, where it is and what to do about it, on standard error, without the passwords of addresses."""
    text = without_logins(f"{context}: {message}" if context else message)
    _emit(_rendered([Styled("error:", "red", bold=True), f" {text}"], sys.stderr), err=True, color=color)
    if hint:
        _emit(_rendered([Styled("hint:", "cyan"), f" {without_logins(hint)}"], sys.stderr), err=True, color=color)


def agreed(question: str) -> bool:
    """Ask on standard error, for a yes or a no. Raises RequestError where nobody can answer."""
    from ppm.errors import RequestError

    try:
        return click.confirm(_bent(one_line(question), sys.stderr), err=True)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        click.echo(err=True)  # below the question
        raise RequestError(
            "there is no terminal to answer this question, so nothing was changed",
            hint="say yes by an option that --help names, or run it in a terminal",
        ) from None


def confirm(question: str) -> None:
    """Ask on standard error. Raises RequestError for a no."""
    from ppm.errors import RequestError

    if not agreed(question):
        raise RequestError("you said no, so nothing was changed")


def secret(question: str, *, twice: bool) -> str:
    """What is typed in without being shown, asked for on standard error; with `twice`, once more to be sure."""
    typed: str = click.prompt(question, hide_input=True, err=True, confirmation_prompt=twice)
    return typed


def console() -> "Console":
    """Standard error for bars."""
    from rich.console import Console

    return Console(stderr=True, no_color=None if use_color() is None else True)


def print_above(bars: "Console", message: str) -> None:
    """A line above the bars of a console."""
    bars.print(_bent(clean(message), sys.stderr), highlight=False, markup=False, soft_wrap=True)


def stdout_is_terminal() -> bool:
    """Whether standard output goes to a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def drop_output(*, err: bool = False) -> None:
    """Let a stream whose reader is gone lead nowhere."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), (sys.stderr if err else sys.stdout).fileno())


def _pieces(text: Text) -> Sequence[str | Styled]:
    return [text] if isinstance(text, str | Styled) else text


def _text(piece: str | Styled) -> str:
    return piece.text if isinstance(piece, Styled) else piece


def _flat(piece: str | Styled) -> str | Styled:
    """A piece of a cell, on one line; its spaces are left alone, for they align what stands in it."""
    text = clean(re.sub(r"[\r\n\t]+", " ", _text(piece)))
    return replace(piece, text=text) if isinstance(piece, Styled) else text


def _ended(piece: str | Styled) -> str | Styled:
    """A piece without the spaces at its end."""
    return replace(piece, text=piece.text.rstrip()) if isinstance(piece, Styled) else piece.rstrip()


def _rendered(text: Text, stream: TextIO | None) -> str:
    parts = []
    for piece in _pieces(text):
        shown = _bent(clean(_text(piece)), stream)
        if isinstance(piece, Styled):
            shown = click.style(shown, fg=piece.color, bold=piece.bold or None)
        parts.append(shown)
    return "".join(parts)


def _fits(text: str, stream: TextIO | None) -> bool:
    try:
        text.encode(getattr(stream, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _bent(text: str, stream: TextIO | None) -> str:
    """Text that a stream can show: with backslashes in place of what its encoding lacks."""
    if _fits(text, stream):
        return text
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.translate(LINE_ART).encode(encoding, "backslashreplace").decode(encoding)


def _emit(text: str, *, err: bool, color: bool | None = None) -> None:
    """A line, and no matter when its reader is gone: the work and its exit code are what they would have been."""
    try:
        click.echo(text, err=err, color=use_color() if color is None else color)
    except BrokenPipeError:
        drop_output(err=err)
