"""Options about private keys, and how a passphrase is asked for."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from ppm.cli.options import LocalPath
from ppm.cli.output import secret

__all__ = ["ask_passphrase", "keys_folder", "keys_option"]

F = TypeVar("F", bound=Callable[..., object])
VARIABLE = "PPM_KEY_PASSPHRASE"
_KNOWN = "ppm.passphrase"


def ask_passphrase(*, new: bool = False) -> str:
    """The passphrase of private keys: from PPM_KEY_PASSPHRASE, else typed in, once a command.

    Raises RequestError when nobody can be asked.
    """
    from ppm.errors import RequestError

    known = click.get_current_context().meta
    if _KNOWN not in known:
        given = os.environ.get(VARIABLE)
        if not given and not (sys.stdin is not None and sys.stdin.isatty()):
            raise RequestError("private keys need a passphrase", hint=f"set {VARIABLE}, or run this in a terminal")
        known[_KNOWN] = given or secret("Passphrase of the private keys", twice=new)
    found: str = known[_KNOWN]
    return found


def keys_option(function: F) -> F:
    """--keys."""
    text = "Folder of the index's private keys. Default: beside the index, its name and `.keys`."
    return click.option("--keys", type=LocalPath(), metavar="DIR", help=text)(function)


def keys_folder(index: Path, keys: Path | None) -> Path:
    """Where the private keys of an index are: never inside it, for that is what is served.

    Raises RequestError.
    """
    from ppm.errors import RequestError

    folder = keys or index.absolute().with_name(f"{index.absolute().name}.keys")
    if folder.absolute().is_relative_to(index.absolute()):
        raise RequestError("is inside the index, which is made public", context=str(folder), hint="name another folder")
    return folder
