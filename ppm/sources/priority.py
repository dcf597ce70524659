"""Sources in order: a name that an earlier one lists is not taken from an index that comes later.

Otherwise whoever can publish in the one could slip a newer version of a patch under a name of the other's.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from ppm.errors import SourceError
from ppm.index.advisory import Listed
from ppm.sources.base import Release, Signed, Source
from ppm.sources.index import IndexSource

__all__ = ["LaterIndex"]


class LaterIndex:
    """An index, of which only the names count that no source `before` it lists.

    `tell` is told of each name that this index has too, as far as that is known without asking it.
    """

    def __init__(self, index: IndexSource, before: Sequence[Source], tell: Callable[[str], None]) -> None:
        self.index = index
        self.location = index.location
        self._before = tuple(before)
        self._tell = tell
        self._told: set[str] = set()

    def named(self, name: str) -> Sequence[Release]:
        return () if self._taken(name) else self.index.named(name)

    def compositions(self, name: str) -> Sequence[Release]:
        return () if self._taken(name) else self.index.compositions(name)

    def problems(self, name: str) -> Sequence[str]:
        return () if self._taken(name) else self.index.problems(name)

    def providers(self, name: str, fingerprint: str) -> Iterable[str]:
        return () if self._taken(name) else self.index.providers(name, fingerprint)

    def names(self, fingerprint: str | None) -> Iterable[str]:
        found = set()
        for name in self.index.names(fingerprint):
            with suppress(SourceError):  # whether an earlier one lists it can't be known, which says so itself
                found |= set() if self._taken(name) else {name}
        return found

    def composed_names(self) -> Iterable[str]:
        return self.index.composed_names()

    def damaged(self) -> Sequence[str]:
        return self.index.damaged()

    def fetch(self, release: Release) -> bytes:
        return self.index.fetch(release)

    def find(self, file_name: str, sha256: str) -> bytes | None:
        return self.index.find(file_name, sha256)

    def has_file(self, file_name: str) -> bool:
        return self.index.has_file(file_name)

    def signed(self, sha256: str) -> Signed | None:
        return self.index.signed(sha256)

    def advisories(self, name: str, sha256: str | None = None) -> Sequence[Listed]:
        """The index's own, whoever else lists the name: they are about files by their digests."""
        return self.index.advisories(name, sha256)

    def _taken(self, name: str) -> bool:
        first = next((source for source in self._before if _lists(source, name)), None)
        if first is not None and name not in self._told and self.index.listed_before(name):
            self._told.add(name)
            self._tell(f"{name} is taken from {first.location} alone; {self.location} lists it too")
        return first is not None


def _lists(source: Source, name: str) -> bool:
    if isinstance(source, LaterIndex):
        return source.index.lists(name)
    if isinstance(source, IndexSource):
        return source.lists(name)
    return bool(source.named(name) or source.problems(name) or source.compositions(name))
