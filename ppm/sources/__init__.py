"""Where package files come from: a source lists releases and fetches their bytes.

A source is a folder of package files or a signed index; `open_source` and `open_indexes` alone know that;
everything else knows the protocol.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from ppm.errors import SourceError
from ppm.index.trust import Access, TrustedIndex
from ppm.names import exists
from ppm.sources.base import (
    DEPLOYED_SOURCE,
    Accepting,
    Joined,
    Listing,
    Offer,
    Release,
    Signed,
    SignedSource,
    Source,
)
from ppm.sources.directory import DirectorySource

__all__ = [
    "DEPLOYED_SOURCE",
    "Accepting",
    "Joined",
    "Listing",
    "Offer",
    "Release",
    "Signed",
    "SignedSource",
    "Source",
    "open_indexes",
    "open_source",
    "refuse_url",
]

_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+):/(?P<rest>.*)", re.DOTALL)
"""With one slash: a URL that passed for a path on its way here has lost the other."""


def open_source(location: str | Path, cache_folder: Path | None = None, *, label: str = "") -> Source:
    """The source at a location: a folder of package files, which is read only when something is asked of it.

    `cache_folder` keeps what is known of its files from one command to the next; `label` is how messages and locks
    name the source, in place of its location. Raises SourceError for a URL.
    """
    refuse_url(location)
    return DirectorySource(Path(location), cache_folder, label)


def open_indexes(
    indexes: Sequence[TrustedIndex],
    cache_folder: Path,
    access: Access,
    *,
    before: Sequence[Source] = (),
    tell: Callable[[str], None],
) -> list[Source]:
    """The indexes that the user trusts, in order; a name that is listed `before` is not taken from them.

    They are reached when something is asked of them, and with that TUF is imported. `cache_folder` keeps their files.
    """
    if not indexes:
        return []
    from ppm.sources.index import IndexSource
    from ppm.sources.priority import LaterIndex

    found: list[Source] = list(before)
    for index in indexes:
        found.append(LaterIndex(IndexSource(index, cache_folder, access, tell), found, tell))
    return found[len(before) :]


def refuse_url(location: str | Path) -> None:
    """Raises SourceError when a location is a URL and not a folder or file that happens to look like one."""
    match = _URL.match(str(location))
    if match is None or exists(Path(location)):
        return
    shown = f"{match['scheme']}://{match['rest'].removeprefix('/')}"
    hint = "download the package files into a folder, and name that folder; for a signed index: ppm source add NAME URL"
    if match["scheme"].lower() == "file":
        shown = f"{match['scheme']}:///{match['rest'].lstrip('/')}"
        hint = f"give the path itself: /{match['rest'].lstrip('/')}"
    raise SourceError("URLs are not supported yet", context=shown, hint=hint)
