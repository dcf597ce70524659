"""A site on an index: a folder of static files for any web server, or for none, which is replaced as a whole."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ppm.disk import disk_errors
from ppm.errors import RequestError
from ppm.folder import put_folder, stage, sweep
from ppm.index.catalogue import Catalogue
from ppm.index.pages import Titled, put_pages
from ppm.progress import Progress, silent
from ppm.sources.index import IndexSource

__all__ = ["MARKER", "Written", "write_page", "write_site"]

MARKER = ".ppm-site"
"""Lists the files that ppm wrote, so that nobody else's are taken away."""
Write = Callable[[Path, bytes], None]


@dataclass(frozen=True)
class Written:
    """How many patches and files there are now, and what was found wrong and left out."""

    patches: int
    files: int
    faults: tuple[str, ...]


def write_page(path: Path, data: bytes) -> None:
    """Write one file of a site; all of them are flushed together. Raises OSError."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)


def write_site(
    source: IndexSource,
    root: bytes,
    titled: Titled,
    folder: Path,
    *,
    write: Write = write_page,
    progress: Progress = silent,
) -> Written:
    """Write the pages on an index, trusted from a root on, into a folder: all of them, or what was there stays.

    A folder that pages were written into before is replaced, or an empty one, and no other. Only for whoever holds the
    folder's lock. Raises RequestError, DiskError; SourceError or IntegrityError when the index as a whole is no use.
    """
    sweep(folder)
    _refuse_foreign(folder)
    catalogue = Catalogue(source)
    with stage(folder) as staged, disk_errors("can't be written", folder):
        files: list[str] = []

        def put(file: str, data: bytes) -> None:
            write(staged / file, data)
            files.append(file)

        put_pages(catalogue, root, titled, put, progress)
        listed = {"schema": 1, "files": sorted(files)}
        write(staged / MARKER, json.dumps(listed, indent=0).encode() + b"\n")
        if hasattr(os, "sync"):
            os.sync()  # a flush of each of many small files takes minutes
        _refuse_foreign(folder)
        put_folder(staged, folder)
    return Written(len(catalogue.names), len(files), tuple(catalogue.faults))


def _refuse_foreign(folder: Path) -> None:
    """Raises RequestError for a folder that holds what ppm did not write as pages, or for a file."""
    hint = "name a new folder, or move that away"
    with disk_errors("can't be read", folder):
        if not folder.exists():
            return
        if not folder.is_dir():
            raise RequestError("is a file", context=str(folder), hint="name a new folder")
        try:
            known = {MARKER, *json.loads((folder / MARKER).read_bytes())["files"]}
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            known = set()
        for path in _files(folder):
            if path not in known:
                raise RequestError(f"holds {path}, which is no page of ppm's", context=str(folder), hint=hint)


def _files(folder: Path, below: str = "") -> Iterator[str]:
    """What is not a folder, by its path in the folder; links are not followed."""
    with os.scandir(folder / below) as entries:
        for entry in sorted(entries, key=lambda one: one.name):
            path = f"{below}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                yield from _files(folder, f"{path}/")
            else:
                yield path
