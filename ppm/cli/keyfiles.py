"""Options about private keys, and how a passphrase is asked for."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from ppm.cli.options import LocalPath
from ppm.cli.output import secret

__all__ = ["ask_passphrase", "keys_folders", "keys_option"]

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
    text = "Folder of private keys, besides the one beside the index, which has its name and `.keys`."
    return click.option("--keys", type=LocalPath(), metavar="DIR", help=text)(function)


def keys_folders(index: Path, keys: Path | None) -> tuple[Path, Path | None]:
    """Where the private keys of an index are, and where those of root and targets are if that is elsewhere.

    Never inside the index, for that is what is served. Raises RequestError.
    """
    from ppm.errors import RequestError

    beside = index.absolute().with_name(f"{index.absolute().name}.keys")
    if keys is not None and keys.absolute().is_relative_to(index.absolute()):
        raise RequestError("is inside the index, which is made public", context=str(keys), hint="name another folder")
    if keys is None or keys.absolute() == beside:
        return beside, None
    return (beside, keys) if beside.is_dir() else (keys, None)
