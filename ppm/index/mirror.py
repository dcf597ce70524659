"""Copying an index to a folder that any host can serve. Each file is verified on its way.

What is in force there stays whole until all that is new has come: `timestamp.json`, which says what counts, is replaced
after it. What is there already is not fetched again, so a copy that was killed goes on where it was.
"""

import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.ngclient.config import UpdaterConfig

from ppm.disk import PARTIAL, disk_errors, make_folder, replace_file
from ppm.errors import RequestError, SourceError
from ppm.index.blame import blaming
from ppm.index.client import AT_ONCE, Client, digest_of, fetch_target, fetcher_of
from ppm.index.layout import MAX_ROOT_BYTES, METADATA, TARGETS, TRUSTED_ROOT, stored
from ppm.index.repository import check_next_root
from ppm.index.roles import bins_of
from ppm.index.trust import Access, TrustedIndex, shown_url
from ppm.progress import Events

__all__ = ["Mirrored", "mirror_index"]

T = TypeVar("T")
S = TypeVar("S", Root, Timestamp, Snapshot, Targets)
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+!~-]{0,250}")
"""What a folder or file of an index can be called: nothing that leads out of the copy, or is hidden in it."""
_LONGEST = 1000


@dataclass(frozen=True)
class Mirrored:
    """How many files came and how large they are together, how many were there, and until when the copy is valid."""

    fetched: int
    size: int
    kept: int
    expires: datetime


def mirror_index(url: str, root: bytes, folder: Path, access: Access, events: Events) -> Mirrored:
    """Copy the index at an address, whose root is trusted, to a folder; a copy that is there is brought up to date.

    One process at a time may do so. Raises RequestError for a folder that holds something else, SourceError,
    IntegrityError, or DiskError.
    """
    where = shown_url(url)
    if access.offline:
        raise SourceError("is not asked, as you want it", context=where, hint="run this without PPM_OFFLINE")
    with disk_errors("can't be used", folder):
        _check_folder(folder)
        with tempfile.TemporaryDirectory(prefix="ppm-mirror-") as kept:
            index = TrustedIndex("mirror", url, Path(kept))
            index.root.write_bytes(root)
            _recall(folder, index.metadata)
            access = replace(access, fresh=True, partials=None)
            Client(index, index.folder, access).open()
            with blaming(where):
                return _Copy(index, folder, access, events).run()


def _check_folder(folder: Path) -> None:
    """Raises RequestError for a folder in which there is something, but no copy of an index."""
    if (folder / METADATA / TRUSTED_ROOT).is_file() or not folder.exists():
        return
    if any(path.is_file() and not path.name.startswith(PARTIAL) for path in folder.rglob("*")):
        hint = "name a folder that is empty, or that is not there yet"
        raise RequestError("has something in it that is no index", context=str(folder), hint=hint)


def _recall(folder: Path, metadata: Path) -> None:
    """Let a client know what the copy holds, so that it refuses what is older."""
    (metadata / "root_history").mkdir(parents=True)
    for path in (folder / METADATA).glob("*.root.json"):
        (metadata / "root_history" / path.name).write_bytes(path.read_bytes())
    with suppress(OSError, RepositoryError, KeyError):
        data = (folder / METADATA / "timestamp.json").read_bytes()
        version = Metadata[Timestamp].from_bytes(data).signed.snapshot_meta.version
        snapshot = (folder / METADATA / f"{version}.snapshot.json").read_bytes()
        version = Metadata[Snapshot].from_bytes(snapshot).signed.meta["targets.json"].version
        targets = (folder / METADATA / f"{version}.targets.json").read_bytes()
        for name, known in (("timestamp", data), ("snapshot", snapshot), ("targets", targets)):
            (metadata / f"{name}.json").write_bytes(known)


class _Copy:
    """One copying of an index, whose newest root, timestamp, snapshot and targets a client has verified."""

    def __init__(self, index: TrustedIndex, folder: Path, access: Access, events: Events) -> None:
        self._index = index
        self._folder = folder
        self._events = events
        self._fetcher = fetcher_of(index.url, access)
        self._sizes: dict[Path, int | None] = {}  # of each file that came; None for one that was there
        self._root = self._trusted("root", Root)
        self._timestamp = self._trusted("timestamp", Timestamp)
        self._snapshot = self._trusted("snapshot", Snapshot)
        self._targets = self._trusted("targets", Targets)

    def run(self) -> Mirrored:
        if not self._root.signed.consistent_snapshot:
            raise RepositoryError("the names of its files don't begin with their digests")
        roots = self._roots()
        first = self._folder / METADATA / TRUSTED_ROOT
        if first.is_file() and first.read_bytes() != roots[1]:
            hint = "name another folder, or remove it"
            raise RequestError("is a copy of another index", context=str(self._folder), hint=hint)
        if not (self._folder / METADATA / "timestamp.json").is_file():
            self._write_roots(roots)
        bins = self._bins()
        self._put(f"{self._targets.signed.version}.targets.json", self._known("targets"))
        self._put(f"{self._snapshot.signed.version}.snapshot.json", self._known("snapshot"))
        self._files(bins)
        self._replace(roots)
        came = [size for size in self._sizes.values() if size is not None]
        return Mirrored(len(came), sum(came), len(self._sizes) - len(came), self._timestamp.signed.expires)

    def _known(self, role: str) -> bytes:
        return (self._index.metadata / f"{role}.json").read_bytes()

    def _trusted(self, role: str, kind: type[S]) -> Metadata[S]:
        return _metadata(self._known(role), kind)

    def _roots(self) -> dict[int, bytes]:
        """All roots by their versions. Those before the trusted one must lead to it."""
        newest = self._root.signed.version
        trusted = _metadata(self._index.root.read_bytes(), Root).signed.version
        history = self._index.metadata / "root_history"
        found = {}
        for version in range(1, newest + 1):
            if version < trusted:
                found[version] = self._fetcher.download_bytes(self._url(f"{version}.root.json"), MAX_ROOT_BYTES)
            else:
                found[version] = (history / f"{version}.root.json").read_bytes()
        root = _metadata(found[1], Root)
        for version in range(2, trusted + 1):
            newer = _metadata(found[version], Root)
            check_next_root(root, newer)
            root = newer
        return found

    def _bins(self) -> dict[str, MetaFile]:
        """The bins by their names, all of them there. Raises RepositoryError for roles that no index has."""
        bins = {}
        for name in bins_of(self._targets.signed).get_roles():
            if f"{name}.json" not in self._snapshot.signed.meta:
                raise RepositoryError(f"{name} is not in its snapshot")
            bins[name] = self._snapshot.signed.meta[f"{name}.json"]
        self._each(bins, self._bin, lambda count: self._events.progress("Copying lists", count, len(bins)))
        return bins

    def _bin(self, name: str) -> None:
        meta = self._snapshot.signed.meta[f"{name}.json"]
        file = f"{meta.version}.{name}.json"
        path = self._inside(METADATA, file)
        with suppress(OSError, RepositoryError):
            self._checked_bin(path.read_bytes(), name, meta)
            self._sizes.setdefault(path)
            return
        data = self._fetcher.download_bytes(self._url(file), meta.length or UpdaterConfig().targets_max_length)
        self._checked_bin(data, name, meta)
        self._write(path, data)

    def _checked_bin(self, data: bytes, name: str, meta: MetaFile) -> Targets:
        """Raises RepositoryError for one that is not the signed one of this state, or is expired."""
        meta.verify_length_and_hashes(data)
        found = _metadata(data, Targets)
        self._targets.signed.verify_delegate(name, found.signed_bytes, found.signatures)
        if found.signed.version != meta.version:
            raise RepositoryError(f"{name} has version {found.signed.version}, not {meta.version}")
        if found.signed.is_expired():
            raise RepositoryError(f"{name} is expired")
        return found.signed

    def _files(self, bins: dict[str, MetaFile]) -> None:
        """All targets. A list is read when it is its turn: together they may be large."""
        for done, listed in enumerate(self._lists(bins), 1):
            self._each(listed.targets.values(), self._file, lambda count: None)
            self._events.progress("Copying files, by list", done, len(bins) + 1)

    def _lists(self, bins: dict[str, MetaFile]) -> Iterator[Targets]:
        yield self._targets.signed
        for name, meta in bins.items():
            yield self._checked_bin(self._inside(METADATA, f"{meta.version}.{name}.json").read_bytes(), name, meta)

    def _file(self, target: TargetFile) -> None:
        path = self._inside(TARGETS, stored(target.path, digest_of(target)))
        with suppress(OSError, RepositoryError), path.open("rb") as stream:
            target.verify_length_and_hashes(stream)
            self._sizes.setdefault(path)
            return
        self._write(path, fetch_target(self._fetcher, self._index, target, consistent=True))

    def _replace(self, roots: dict[int, bytes]) -> None:
        """Let what is new count. Two files say what that is: the one that suits both states goes first."""
        before = max(version for version in roots if (self._folder / METADATA / f"{version}.root.json").is_file())
        if self._suits(_metadata(roots[before], Root).signed):
            self._put("timestamp.json", self._known("timestamp"))
            self._write_roots(roots)
        else:
            self._write_roots(roots)
            self._put("timestamp.json", self._known("timestamp"))

    def _suits(self, root: Root) -> bool:
        """Whether what is new is signed by the keys of an older root as well."""
        try:
            for role, found in (
                (Timestamp.type, self._timestamp),
                (Snapshot.type, self._snapshot),
                (Targets.type, self._targets),
            ):
                root.verify_delegate(role, found.signed_bytes, found.signatures)
        except RepositoryError:
            return False
        return True

    def _write_roots(self, roots: dict[int, bytes]) -> None:
        for version, data in roots.items():
            self._put(f"{version}.root.json", data)

    def _put(self, name: str, data: bytes) -> None:
        """Write a file of metadata, unless it is there."""
        path = self._inside(METADATA, name)
        if path.is_file() and path.read_bytes() == data:
            self._sizes.setdefault(path)
        else:
            self._write(path, data)

    def _write(self, path: Path, data: bytes) -> None:
        with disk_errors("can't be written", path):
            make_folder(path.parent)
            replace_file(path, data, sole_writer=True)
        self._sizes[path] = len(data)

    def _url(self, name: str) -> str:
        return f"{self._index.metadata_url}/{name}"

    def _inside(self, part: str, path: str) -> Path:
        """Where a file is in the copy. Raises RepositoryError for a path that no index has."""
        if len(path) > _LONGEST or not all(map(_PART.fullmatch, path.split("/"))):
            raise RepositoryError(f"{path[:100]!r} can't be the path of a file")
        return self._folder / part / path

    def _each(self, items: Iterable[T], act: Callable[[T], None], done: Callable[[int], None]) -> None:
        """Act on each, several at a time, and say how many are done; the first error ends it."""
        pool = ThreadPoolExecutor(AT_ONCE)
        try:
            for count, _ in enumerate(pool.map(act, items), 1):
                done(count)
        finally:
            pool.shutdown(cancel_futures=True)


def _metadata(data: bytes, kind: type[S]) -> Metadata[S]:
    found = Metadata[S].from_bytes(data)
    if not isinstance(found.signed, kind):
        raise RepositoryError(f"there is a file of {found.signed.type} in the place of one of {kind.type}")
    return found
