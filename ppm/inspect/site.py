"""Pages on an index that is at hand as a folder, or that the user trusts."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ppm.errors import RequestError, did_you_mean
from ppm.index.check import as_new_client
from ppm.index.held import is_index, read_root
from ppm.index.layout import METADATA, TRUSTED_ROOT
from ppm.index.pages import Titled
from ppm.index.site import Written, write_site
from ppm.index.trust import check_url, find_index, shown_url, trusted_indexes
from ppm.names import check_name
from ppm.progress import Progress
from ppm.sources.index import IndexSource
from ppm.workspace import Workspace

__all__ = ["Wanted", "write_index_site"]

EPOCH = "SOURCE_DATE_EPOCH"
UNNAMED = "index"
"""What an index is called whose folder has no name that a source could have."""


@dataclass(frozen=True)
class Wanted:
    """What the user asked for: pages on the index in a folder, or of a trusted source's name, into another folder.

    Where `url`, `name` or `root` (a file) are None, what follows from the index is taken.
    """

    index: Path
    site: Path
    url: str | None = None
    name: str | None = None
    root: Path | None = None


def write_index_site(
    workspace: Workspace, wanted: Wanted, command: str, tell: Callable[[str], None], progress: Progress
) -> Written:
    """Write the pages. Raises PpmError, and then what was in the folder before stays."""
    site = Path(os.path.realpath(wanted.site))
    with _opened(workspace, wanted, tell) as (source, root, titled), workspace.hold(site, command, tell):
        return write_site(source, root, titled, site, progress=progress)


@contextmanager
def _opened(
    workspace: Workspace, wanted: Wanted, tell: Callable[[str], None]
) -> Iterator[tuple[IndexSource, bytes, Titled]]:
    """The index, the root that is trusted, and what its pages call it. Raises RequestError."""
    problem = check_url(wanted.url) if wanted.url is not None else ""
    if problem:
        raise RequestError(
            f"the address {problem}", context="--url", hint="for example https://patches.example.org/index"
        )
    url = shown_url(wanted.url) if wanted.url is not None else None
    made = _moment(workspace.environ.get(EPOCH))
    if is_index(wanted.index):
        root = read_root(wanted.root or wanted.index / METADATA / TRUSTED_ROOT)
        titled = Titled(_named(wanted.name, wanted.index.absolute().name), url, made)
        with as_new_client(wanted.index, root, tell) as source:
            yield source, root, titled
        return
    name, known = str(wanted.index), [index.name for index in trusted_indexes(workspace.home)]
    if name not in known:
        hint = f"name its folder, or one of the sources {', '.join(known)}" if known else "name its folder"
        raise RequestError("is not an index", context=name, hint=did_you_mean(name, known, hint))
    if wanted.root is not None:
        raise RequestError("a source is trusted from its own root on", context="--root", hint="leave it out")
    index = find_index(workspace.home, name)
    source = IndexSource(index, workspace.index_files, workspace.access, tell)
    titled = Titled(_named(wanted.name, index.name), url or shown_url(index.url), made)
    yield source, read_root(index.root), titled


def _named(name: str | None, otherwise: str) -> str:
    """Raises RequestError for a name that no source can have."""
    try:
        return check_name(name or otherwise)
    except ValueError as error:
        if name is not None:
            raise RequestError(str(error), context="--name") from error
        return UNNAMED


def _moment(epoch: str | None) -> datetime:
    """Now, or the moment that the environment names for builds that are to be the same. Raises RequestError."""
    if not epoch:
        return datetime.now(UTC)
    try:
        return datetime.fromtimestamp(int(epoch), UTC)
    except (ValueError, OverflowError, OSError) as error:
        hint = "it is a number of seconds since 1970, such as 1796000000"
        raise RequestError(f"must be a time, not {epoch[:40]!r}", context=EPOCH, hint=hint) from error
