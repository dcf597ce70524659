"""A directory of package files as a source, like pip's find-links.

Metadata is kept in a cache, so that of a large directory only what is new, changed or asked for is read. A file
`NAME.ppm.yanked` beside a package file takes it back, and holds the reason.
"""

import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from ppm.errors import IntegrityError, PackageError, PpmError, SourceError
from ppm.package import MAX_PACKAGE_BYTES, SUFFIX, parse_file_name, read_bounded, read_metadata
from ppm.package import file_name as file_name_of
from ppm.package import sha256 as digest_of
from ppm.sources.base import Release
from ppm.sources.cache import Entry, MetadataCache

__all__ = ["DirectorySource", "stamp_of"]

T = TypeVar("T")
YANKED = ".yanked"
MAX_REASON_BYTES = 1000
SETTLED_AFTER = 2.0
"""Seconds after which a folder's time of change is sure to differ from that of a later change."""


@dataclass(frozen=True)
class _Found:
    """What there is of one name."""

    patches: list[Release] = field(default_factory=list)
    compositions: list[Release] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class DirectorySource:
    """The package files of one directory; a damaged file hides only itself.

    `cache` is a folder to keep metadata in; without one, or where it can't be used, every file is read. `label` is how
    messages and locks name it, in place of its path. `clock` is that by which files are dated.
    """

    def __init__(
        self, path: Path, cache: Path | None = None, label: str = "", clock: Callable[[], float] = time.time
    ) -> None:
        self.path = path
        self.location = label or str(path)
        self._cache_folder = cache
        self._clock = clock
        self._found: dict[str, _Found] = {}
        self._index: MetadataCache | None = None
        self._listed = False

    def named(self, name: str) -> Sequence[Release]:
        return self._look(name).patches

    def compositions(self, name: str) -> Sequence[Release]:
        return self._look(name).compositions

    def problems(self, name: str) -> Sequence[str]:
        return self._look(name).problems

    def providers(self, name: str, fingerprint: str) -> Iterable[str]:
        return self._ask(lambda index: index.providers(name, fingerprint))

    def names(self, fingerprint: str | None) -> Iterable[str]:
        return self._ask(lambda index: index.names(fingerprint))

    def composed_names(self) -> Iterable[str]:
        return self._ask(lambda index: index.composed_names())

    def damaged(self) -> Sequence[str]:
        """What is wrong with each file that can't be used, whatever its name."""
        return [message for name in self._ask(lambda index: index.damaged()) for message in self.problems(name)]

    def fetch(self, release: Release) -> bytes:
        path = self.path / release.file_name
        try:
            with path.open("rb") as stream:
                data = stream.read(MAX_PACKAGE_BYTES + 1)
        except OSError as error:
            raise SourceError(
                f"can't be read: {error.strerror}",
                context=str(path),
                hint="run the command again to see what is there now",
            ) from error
        if digest_of(data) != release.sha256:
            raise IntegrityError(
                "has changed since it was listed",
                context=str(path),
                hint="find out who changed it, and run the command again only if the change was intended",
            )
        return data

    def find(self, file_name: str, sha256: str) -> bytes | None:
        if not self.has_file(file_name):
            return None
        with suppress(PackageError, IntegrityError):  # it can't be read, or is too large to be it
            data = read_bounded(self.path / file_name, file_name)
            return data if digest_of(data) == sha256 else None
        return None

    def has_file(self, file_name: str) -> bool:
        try:
            return file_name == Path(file_name).name and (self.path / file_name).is_file()
        except (OSError, ValueError):  # a name that no file can have
            return False

    def _look(self, name: str) -> "_Found":
        """What there is of one name; each file is compared with what is known of it first."""
        if name not in self._found:
            found = _Found()
            changed: list[Entry] = []
            for entry in self._ask(lambda index: index.entries(name)):
                path = self.path / entry.file
                try:
                    stamp = stamp_of(path)
                except OSError:
                    continue  # gone since the directory was listed
                if stamp != entry.stamp:
                    entry = self._read(path, stamp)
                    changed.append(entry)
                if entry.release is None:
                    found.problems.append(f"{path}: {entry.problem}")
                elif entry.release.name == name:
                    kind = found.compositions if entry.release.composed else found.patches
                    kind.append(self._current(entry.release, path, stamp))
            if changed:
                self._ask(lambda index: index.put(changed))
            self._found[name] = found
        return self._found[name]

    def _current(self, release: Release, path: Path, stamp: str) -> Release:
        """The release with what is not in its file: where it lies, since when, and whether it was taken back."""
        published = None
        with suppress(ValueError, OverflowError, OSError):  # a time before or after all calendars
            published = datetime.fromtimestamp(int(stamp.split()[1]) / 1e9, UTC)
        return replace(release, source=self.location, published=published, yanked=_reason(path))

    def _ask(self, question: Callable[[MetadataCache], T]) -> T:
        """What the cache says; where it fails, what the files say."""
        if self._index is None and self._cache_folder is not None:
            with suppress(OSError, sqlite3.Error):
                self._index = MetadataCache.open(self._cache_folder, self.path)
        for _ in range(2):
            if self._index is not None:
                try:
                    self._bring_up_to_date(self._index)
                    return question(self._index)
                except (sqlite3.Error, ValueError, KeyError, TypeError, AttributeError):
                    pass  # damaged, full, locked for long, or not to be written
            self._index, self._listed = MetadataCache.in_memory(), False
        raise AssertionError("a cache in memory does not fail")

    def _bring_up_to_date(self, index: MetadataCache) -> None:
        """Once: let the index know which files there are now."""
        if self._listed:
            return
        before = self._folder_stamp()
        if index.listing != before:
            files = self._package_files()
            known = index.files()
            index.forget(known.keys() - files.keys())
            changed = [(name, stamp) for name, stamp in files.items() if known.get(name) != stamp]
            index.put([self._read(self.path / name, stamp) for name, stamp in changed])
            settled = self._clock() - int(before.split()[2]) / 1e9 > SETTLED_AFTER
            index.listed(before if settled else "")
        self._listed = True

    def _folder_stamp(self) -> str:
        try:
            return stamp_of(self.path)
        except OSError as error:
            raise self._unreadable(error) from error

    def _package_files(self) -> dict[str, str]:
        """The names of the files there are, with their stamps."""
        files = {}
        try:
            with os.scandir(self.path) as entries:
                for entry in entries:
                    # A file whose name starts with a dot is one that is still being written.
                    # One that is not UTF-8 is no package's.
                    if entry.name.endswith(SUFFIX) and entry.name[0] != "." and entry.name.isprintable():
                        with suppress(OSError):  # gone since
                            files[entry.name] = _stamp(entry.stat())
        except OSError as error:
            raise self._unreadable(error) from error
        return dict(sorted(files.items()))

    def _unreadable(self, error: OSError) -> SourceError:
        reason = {FileNotFoundError: "does not exist", NotADirectoryError: "is not a directory"}.get(
            type(error), f"can't be read: {error.strerror}"
        )
        return SourceError(reason, context=self.location, hint="name a directory that has .ppm files")

    def _read(self, path: Path, stamp: str) -> Entry:
        parts = parse_file_name(path.name)
        name = parts[0] if parts else path.name.removesuffix(SUFFIX)
        try:
            manifest, digest = read_metadata(path)
            name = name if parts else manifest.name
            if file_name_of(manifest) != path.name:
                raise PackageError(
                    f"holds {manifest.pin} for {manifest.base.tag}, but its file name says otherwise", context=str(path)
                )
        except PpmError as error:
            return Entry(path.name, stamp, name, None, error.message)
        release = Release.of(manifest, file_name=path.name, sha256=digest, source=self.location)
        return Entry(path.name, stamp, release.name, release)


def stamp_of(path: Path) -> str:
    """What changes when a file or folder does: size, time of change, time of any change, number. Raises OSError."""
    return _stamp(path.stat())


def _stamp(found: os.stat_result) -> str:
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}"


def _reason(path: Path) -> str | None:
    """Why a package file was taken back; None when it was not."""
    try:
        with path.with_name(path.name + YANKED).open("rb") as stream:
            words = " ".join(stream.read(MAX_REASON_BYTES).decode("utf-8", "replace").split())
            return "".join(letter for letter in words if letter.isprintable())
    except FileNotFoundError:
        return None
    except OSError:
        return ""
