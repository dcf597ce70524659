"""Metadata of a directory's package files, kept in a small database, so that they need not all be read again.

A cache and no more: it can be deleted at any time, is not trusted over the file itself (whoever takes a package checks
its digest and its manifest), and every failure of it is an sqlite3.Error, after which one in memory will do.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from packaging.version import Version

from ppm.requirement import Requirement
from ppm.sources.base import Release, declarations

__all__ = ["Entry", "MetadataCache"]

SCHEMA = 4
TABLES = """
CREATE TABLE files (file TEXT PRIMARY KEY, stamp TEXT, name TEXT, fingerprint TEXT, metadata TEXT, problem TEXT);
CREATE INDEX by_name ON files (name);
CREATE TABLE provided (name TEXT, fingerprint TEXT, provider TEXT, file TEXT);
CREATE INDEX by_provided ON provided (name, fingerprint);
CREATE INDEX by_file ON provided (file);
CREATE TABLE state (listing TEXT);
INSERT INTO state VALUES ('');
"""
WAIT_SECONDS = 5.0


@dataclass(frozen=True)
class Entry:
    """What is known of one file: its metadata, or what is wrong with it. `stamp` changes whenever the file does."""

    file: str
    stamp: str
    name: str
    release: Release | None
    problem: str = ""


class MetadataCache:
    """The entries of one directory."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @staticmethod
    def open(folder: Path, directory: Path) -> "MetadataCache":
        """The cache of a directory below a folder; a damaged one is made anew. Raises OSError or sqlite3.Error."""
        digest = hashlib.sha256(str(directory.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:32]
        path = folder / f"{digest}.sqlite"
        folder.mkdir(parents=True, exist_ok=True)
        try:
            return MetadataCache(_connect(str(path)))
        except sqlite3.OperationalError:  # busy, or may not be written
            raise
        except sqlite3.DatabaseError:
            path.unlink(missing_ok=True)
            return MetadataCache(_connect(str(path)))

    @staticmethod
    def in_memory() -> "MetadataCache":
        """One that is forgotten at the end."""
        return MetadataCache(_connect(":memory:"))

    @property
    def listing(self) -> str:
        """The stamp of the directory when its files were last listed; "" when that can't be relied on."""
        return str(self._rows("SELECT listing FROM state")[0][0])

    def listed(self, stamp: str) -> None:
        """Note that the entries are those of the directory as it is now."""
        self._change([("UPDATE state SET listing = ?", [(stamp,)])])

    def files(self) -> dict[str, str]:
        """The names of the files that something is known of, with their stamps."""
        return {row[0]: row[1] for row in self._rows("SELECT file, stamp FROM files")}

    def entries(self, name: str) -> Sequence[Entry]:
        """What is known of the files of one patch."""
        query = "SELECT file, stamp, name, metadata, problem FROM files WHERE name = ? ORDER BY file"
        return [Entry(row[0], row[1], row[2], _release(row[3]), row[4]) for row in self._rows(query, name)]

    def providers(self, name: str, fingerprint: str) -> Iterable[str]:
        query = "SELECT DISTINCT provider FROM provided WHERE name = ? AND fingerprint = ?"
        return [row[0] for row in self._rows(query, name, fingerprint)]

    def names(self, fingerprint: str | None) -> Iterable[str]:
        where = "WHERE fingerprint = ?" if fingerprint else "WHERE fingerprint IS NOT NULL"
        query = f"SELECT name FROM files {where} UNION SELECT name FROM provided {where}"
        return [row[0] for row in self._rows(query, *([fingerprint] * 2 if fingerprint else []))]

    def composed_names(self) -> Iterable[str]:
        """The names of all compositions."""
        query = "SELECT DISTINCT name FROM files WHERE fingerprint IS NULL AND metadata IS NOT NULL"
        return [row[0] for row in self._rows(query)]

    def damaged(self) -> Iterable[str]:
        """The names of which some file can't be used."""
        return [row[0] for row in self._rows("SELECT DISTINCT name FROM files WHERE metadata IS NULL")]

    def forget(self, files: Iterable[str]) -> None:
        """Drop what is known of files that are gone."""
        gone = [(file,) for file in files]
        if gone:
            deletes = [f"DELETE FROM {table} WHERE file = ?" for table in ("files", "provided")]
            self._change([(statement, gone) for statement in deletes])

    def put(self, entries: Sequence[Entry]) -> None:
        """Note what is known of files, in place of what was."""
        if not entries:
            return
        rows, provided = [], []
        for entry in entries:
            found = entry.release
            base = found.fingerprint if found and not found.composed else None  # by which names are listed
            rows.append((entry.file, entry.stamp, entry.name, base, _metadata(found) if found else None, entry.problem))
            if found is not None and base is not None:
                provided += [(name, base, found.name, entry.file) for name in found.stands_for]
        self._change(
            [
                ("DELETE FROM provided WHERE file = ?", [(entry.file,) for entry in entries]),
                ("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)", rows),
                ("INSERT INTO provided VALUES (?, ?, ?, ?)", provided),
            ]
        )

    def _rows(self, query: str, *values: str) -> list[tuple[str, ...]]:
        return self._connection.execute(query, values).fetchall()

    def _change(self, statements: Sequence[tuple[str, Sequence[tuple[str | None, ...]]]]) -> None:
        """All or nothing."""
        with self._connection:
            for statement, rows in statements:
                self._connection.executemany(statement, rows)


def _connect(path: str) -> sqlite3.Connection:
    """An open database with its tables. Raises sqlite3.DatabaseError when it is none, or of another schema."""
    connection = sqlite3.connect(path, timeout=WAIT_SECONDS)
    try:
        connection.execute("PRAGMA synchronous = OFF")  # a cache that a crash destroys is made anew
        if _version(connection) == 0:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                if _version(connection) == 0:  # still, now that no other process can make the tables
                    for statement in TABLES.strip().split(";\n"):
                        connection.execute(statement.strip(";"))
                    connection.execute(f"PRAGMA user_version = {SCHEMA}")
        if _version(connection) != SCHEMA:
            raise sqlite3.DatabaseError("another schema")
    except BaseException:
        connection.close()
        raise
    return connection


def _version(connection: sqlite3.Connection) -> int:
    [[version]] = connection.execute("PRAGMA user_version").fetchall()
    return int(version)


_BESIDE = ("source", "yanked", "published", "made_for")
"""What is not in a package file."""


def _metadata(release: Release) -> str:
    table = {f.name: getattr(release, f.name) for f in fields(release) if f.name not in _BESIDE}
    asked = {key: _texts(table[key]) for key in _TABLES}
    return json.dumps({**table, **asked, "version": str(release.version)}, ensure_ascii=False)


_TABLES = ("dependencies", "conflicts", "replaces")


def _texts(asked: Mapping[str, Requirement]) -> dict[str, str]:
    return {name: str(requirement.specifier) for name, requirement in asked.items()}


def _release(text: str | None) -> Release | None:
    if text is None:
        return None
    table = json.loads(text)
    lists = {key: tuple(table[key]) for key in ("provides", "risks", "accepts")}
    asked = {key: declarations(table[key]) for key in _TABLES}
    return Release(**{**table, **lists, **asked, "version": Version(table["version"]), "source": ""})
