"""Checking a whole index as its clients see it: every name, every file, every publisher's statement."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ppm.errors import IntegrityError
from ppm.index.layout import METADATA, TRUSTED_ROOT
from ppm.index.trust import Access, TrustedIndex
from ppm.sources.index import IndexSource

__all__ = ["Checked", "as_new_client", "check_index"]


@dataclass(frozen=True)
class Checked:
    """How much there is, and what is wrong with it."""

    names: int
    releases: int
    faults: tuple[str, ...]


@contextmanager
def as_new_client(folder: Path, root: bytes, tell: Callable[[str], None]) -> Iterator[IndexSource]:
    """What somebody finds in an index who begins to trust it now, from a root on."""
    with tempfile.TemporaryDirectory(prefix="ppm-index-") as name:
        trusted = TrustedIndex("index", folder.absolute().as_uri(), Path(name))
        trusted.root.write_bytes(root)
        yield IndexSource(trusted, None, Access(), tell)


def check_index(folder: Path, root: bytes | None, tell: Callable[[str], None]) -> Checked:
    """What a new client finds in an index, which trusts its first root, or the one that is given.

    Raises IntegrityError or SourceError when the index as a whole can't be used.
    """
    first = root or (folder / METADATA / TRUSTED_ROOT).read_bytes()
    with as_new_client(folder, first, tell) as source:
        faults, releases = [], 0
        names = sorted(source.publishers.names)
        source.names(None)
        for one in names:
            try:
                found = source.named(one)
            except IntegrityError:
                continue  # it is among what is damaged
            try:
                source.advisories(one)
            except IntegrityError as error:
                faults.append(f"{error.context}: {error.message}")
            for release in found:
                releases += 1
                try:
                    source.fetch(release)
                except IntegrityError as error:
                    faults.append(f"{error.context}: {error.message}")
        return Checked(len(names), releases, (*source.damaged(), *faults))
