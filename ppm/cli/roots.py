"""Options about the root of an index that a user begins to trust, and how that is asked."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from ppm.cli.options import LocalPath, workspace
from ppm.cli.output import confirm, write

__all__ = ["root_options", "trusted_root"]

F = TypeVar("F", bound=Callable[..., object])


def root_options(function: F) -> F:
    """--root, --fingerprint and --yes."""
    fingerprint = "The fingerprint that its root must have, instead of a question."
    for option in (
        click.option("-y", "--yes", is_flag=True, help="Don't ask whether the root in --root is trusted."),
        click.option("--fingerprint", metavar="SHA256", help=fingerprint),
        click.option(
            "--root", type=LocalPath(), metavar="FILE", help="Its root metadata, from somebody whom you trust."
        ),
    ):
        function = option(function)
    return function


def trusted_root(url: str, root: Path | None, fingerprint: str | None, yes: bool) -> bytes:
    """The root of the index at an address that the user trusts: as the options say, else after a question.

    Raises RequestError, SourceError, DiskError, or IntegrityError when it has another fingerprint.
    """
    from ppm.errors import IntegrityError, RequestError
    from ppm.index.client import download_root
    from ppm.index.held import read_root, root_fingerprint
    from ppm.index.trust import shown_url

    if yes and root is None and fingerprint is None:
        raise RequestError("what is to be trusted?", hint="give --root FILE or --fingerprint with --yes")
    where = shown_url(url)
    data = read_root(root) if root is not None else download_root(url, workspace().access)
    found = root_fingerprint(data)
    if fingerprint is not None:
        if fingerprint.lower().removeprefix("sha256:") != found.removeprefix("sha256:"):
            hint = "ask the index's owner for its fingerprint, and don't trust this root"
            raise IntegrityError(
                f"its root has the fingerprint {found}, not the one you gave", context=where, hint=hint
            )
    elif not yes:
        write(f"The root of {where} has the fingerprint\n  {found}")
        confirm("Is that the fingerprint that its owner gave you?")
    return data
