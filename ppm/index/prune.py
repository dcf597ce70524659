"""Removing files of an index that nothing lists any more. A kill does no harm: what counts is never touched."""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Snapshot, Targets

from ppm.disk import PARTIAL, disk_errors
from ppm.index.layout import BINS, METADATA, TARGETS, stored
from ppm.index.repository import Repository

__all__ = ["Pruned", "prune"]

_SUPERSEDED = re.compile(rf"\d+\.(snapshot|targets|{BINS}-[0-9a-f]+)\.json")
"""The metadata that may go some time. Roots stay: users come from any of them."""


@dataclass(frozen=True)
class Pruned:
    """How many files went, and how large they were together."""

    files: int
    size: int


def prune(repository: Repository, now: datetime, before: datetime, *, dry: bool = False) -> Pruned:
    """Remove what was written `before` a moment, if neither the newest snapshot nor one that is valid `now` lists it.

    A client may be in the midst of an older state. With `dry`, nothing is removed. Raises IntegrityError when the
    newest state is damaged, DiskError.
    """
    listed = _listed(repository, now)
    files = size = 0
    with disk_errors("can't be pruned", repository.folder):
        for path in _files(repository.folder):
            status = path.lstat()
            if path in listed or status.st_mtime >= before.timestamp():
                continue
            if not dry:
                path.unlink()
                with suppress(OSError):  # there is something else in it
                    path.parent.rmdir()
            files, size = files + 1, size + status.st_size
    return Pruned(files, size)


def _files(folder: Path) -> Iterator[Path]:
    """The files that may go where nothing lists them: the metadata before the targets that it speaks of."""
    for path in sorted((folder / METADATA).iterdir()):
        if _SUPERSEDED.fullmatch(path.name) or path.name.startswith(PARTIAL):
            yield path
    for path in sorted((folder / TARGETS).rglob("*")):
        if path.is_file() or path.is_symlink():
            yield path


def _listed(repository: Repository, now: datetime) -> set[Path]:
    """What the newest snapshot lists, and what others list that are valid still."""
    metadata = repository.folder / METADATA
    newest = [repository.targets, *map(repository.bin, repository.bin_names)]
    names = {f"{repository.snapshot.signed.version}.snapshot.json"} | _metadata(repository.snapshot.signed)
    found = {path for one in newest for path in _targets(repository.folder, one.signed)}
    older = set()
    for path in metadata.glob("*.snapshot.json"):
        with suppress(OSError, RepositoryError):
            snapshot = Metadata[Snapshot].from_bytes(path.read_bytes()).signed
            if not snapshot.is_expired(now):
                names.add(path.name)
                older |= _metadata(snapshot)
    for name in older - names:
        with suppress(OSError, RepositoryError):
            listed = Metadata[Targets].from_bytes((metadata / name).read_bytes()).signed
            found |= _targets(repository.folder, listed)
    return found | {metadata / name for name in names | older}


def _metadata(snapshot: Snapshot) -> set[str]:
    return {f"{meta.version}.{name}" for name, meta in snapshot.meta.items()}


def _targets(folder: Path, listed: Targets) -> set[Path]:
    return {folder / TARGETS / stored(path, target.hashes["sha256"]) for path, target in listed.targets.items()}
