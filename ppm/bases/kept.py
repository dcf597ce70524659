"""Where real bases are kept: a folder each under PPM_HOME/bases, whole or not there, with a record of its origin."""

import os
import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ppm import document
from ppm.disk import PARTIAL, disk_errors, flush_folder
from ppm.errors import DiskError, ManifestError, ModelError
from ppm.names import check_digest, check_sha256, exists

__all__ = [
    "ORIGIN_FILE",
    "Origin",
    "OriginFile",
    "folder_of",
    "kept_folder",
    "put",
    "read_origin",
    "remove",
]

ORIGIN_FILE = "ppm-origin.toml"
SCHEMA = 1
_COPY_MODE = 0o666


@dataclass(frozen=True)
class OriginFile:
    """A file that a base was made from, and its digest."""

    name: str
    sha256: str

    def __post_init__(self) -> None:
        check_sha256(self.sha256, "sha256")


@dataclass(frozen=True)
class Origin:
    """`ppm-origin.toml`: what a base folder was made from, and by what.

    `accepted` is the day on which a user agreed to the licence, where it asks for that.
    """

    schema: int
    source: str
    fingerprint: str
    dtype: str
    name: str = ""
    revision: str = ""
    licence: str = ""
    licence_address: str = ""
    accepted: str = ""
    files: tuple[OriginFile, ...] = ()
    made_with: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_digest(self.fingerprint, "fingerprint")

    def render(self) -> bytes:
        """The record as TOML."""
        return document.render(document.table_of(self)).encode()


def folder_of(name: str, home: Path) -> Path:
    """Where the base of a name is kept, be it there or not."""
    return home / "bases" / name


def kept_folder(name: str, home: Path) -> Path | None:
    """The folder of a base that is kept; None when it is not. A folder without its record is none."""
    folder = folder_of(name, home)
    return folder if exists(folder / ORIGIN_FILE) else None


def read_origin(folder: Path) -> Origin | None:
    """What a base folder was made from; None where it does not say. Raises ModelError when the record is damaged."""
    path = folder / ORIGIN_FILE
    if not exists(path):
        return None
    try:
        return document.read_document(Origin, path.read_bytes(), str(path), schema=SCHEMA)
    except OSError as error:
        raise ModelError(f"can't be read: {error.strerror}", context=str(path)) from error
    except ManifestError as error:
        hint = f"remove the folder {folder}, and fetch or import the base again"
        raise ModelError(error.message, context=error.context, hint=hint) from error


def put(made: Path, target: Path) -> None:
    """Flush a finished folder to disk and give it its place, in one step. Raises DiskError.

    `target` must not be there, or be empty.
    """
    with disk_errors("can't be written", target):
        for path in sorted(made.rglob("*")):
            if path.is_file():
                _flush(path)
        for path in (*(path for path in made.rglob("*") if path.is_dir()), made):
            flush_folder(path)
        if exists(target):
            target.rmdir()
        made.rename(target)
        flush_folder(target.parent)


def remove(folder: Path) -> None:
    """Take a kept base away: first its name, in one step, then its files. Raises DiskError."""
    doomed = folder.with_name(f"{PARTIAL}{folder.name}-{secrets.token_hex(4)}")
    with disk_errors("can't be removed", folder):
        folder.rename(doomed)
        flush_folder(folder.parent)
    try:
        shutil.rmtree(doomed)
    except OSError as error:
        raise DiskError(f"can't be removed: {error.strerror}", doomed, "other", hint="remove it yourself") from error


def _flush(path: Path) -> None:
    """Flush a file to disk, readable for whom the umask lets read: some writers of weights say otherwise."""
    umask = os.umask(0o077)
    os.umask(umask)
    with suppress(PermissionError):
        path.chmod(_COPY_MODE & ~umask)
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
