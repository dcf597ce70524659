"""Where package files come from: a source lists releases and fetches their bytes.

`open_source` alone knows which kinds of sources there are; everything else knows the protocol.
"""

import re
from pathlib import Path

from ppm.errors import SourceError
from ppm.names import exists
from ppm.sources.base import DEPLOYED_SOURCE, Accepting, Joined, Listing, Offer, Release, Source
from ppm.sources.directory import DirectorySource

__all__ = [
    "DEPLOYED_SOURCE",
    "Accepting",
    "Joined",
    "Listing",
    "Offer",
    "Release",
    "Source",
    "open_source",
    "refuse_url",
]

_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+):/(?P<rest>.*)", re.DOTALL)
"""With one slash: a URL that passed for a path on its way here has lost the other."""


def open_source(location: str | Path, cache_folder: Path | None = None, *, label: str = "") -> Source:
    """The source at a location: today a folder of package files, which is read only when something is asked of it.

    `cache_folder` keeps what is known of its files from one command to the next; `label` is how messages and locks
    name the source, in place of its location. Raises SourceError for a URL.
    """
    refuse_url(location)
    return DirectorySource(Path(location), cache_folder, label)


def refuse_url(location: str | Path) -> None:
    """Raises SourceError when a location is a URL and not a folder or file that happens to look like one."""
    match = _URL.match(str(location))
    if match is None or exists(Path(location)):
        return
    shown = f"{match['scheme']}://{match['rest'].removeprefix('/')}"
    hint = "download the package files into a folder, and name that folder"
    if match["scheme"].lower() == "file":
        shown = f"{match['scheme']}:///{match['rest'].lstrip('/')}"
        hint = f"give the path itself: /{match['rest'].lstrip('/')}"
    raise SourceError("URLs are not supported yet", context=shown, hint=hint)
