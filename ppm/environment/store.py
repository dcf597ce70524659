"""The content store: every package file once, under its SHA-256. Knows nothing of what the bytes mean."""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from ppm.disk import PARTIAL, disk_errors, make_folder, replace_file
from ppm.errors import EnvironmentStateError, IntegrityError

__all__ = ["Store"]

_DIGEST = re.compile(r"[0-9a-f]{64}")
_COMES_BACK = "`ppm install` puts a package file back from a source (--find-links DIR) and makes the rest again"


@dataclass(frozen=True)
class Store:
    """Content by digest below `PPM_HOME/store`. Several processes may use it at once; nothing in it ever changes."""

    home: Path

    def put(self, data: bytes) -> str:
        """Keep these bytes and return their hexadecimal SHA-256; a damaged copy is replaced.

        Raises EnvironmentStateError when they can't be written; there is then nothing under their digest.
        """
        digest = hashlib.sha256(data).hexdigest()
        path = self._path(digest)
        with disk_errors("can't be written to", self.home):
            if self._holds(path, data):
                try:
                    with self.exclusive():
                        os.utime(path)  # in use: not to be thrown away now
                except (EnvironmentStateError, OSError) as error:
                    if isinstance(error.__cause__, TimeoutError):
                        raise
                    return digest  # of another user, who shares it to be read alone
                if self._holds(path, data):
                    return digest
            with self.exclusive():
                make_folder(self._staging)
                make_folder(path.parent)
                self._remove_leftovers()
                replace_file(path, data, staging=self._staging)
        return digest

    def _holds(self, path: Path, data: bytes) -> bool:
        return path.is_file() and path.read_bytes() == data

    def exclusive(self) -> AbstractContextManager[object]:
        """Nobody else stores or throws away anything meanwhile. Raises EnvironmentStateError."""
        from ppm.locking import exclusive  # which reading what is deployed has no need of

        return exclusive(self.home / "store" / "lock", str(self.home / "store"))

    def contents(self) -> Iterator[tuple[str, Path]]:
        """Every digest with the file that holds it."""
        folder = self.home / "store" / "sha256"
        with disk_errors("can't be read", folder):
            for path in sorted(folder.glob("??/*")):
                if _DIGEST.fullmatch(path.parent.name + path.name):
                    yield path.parent.name + path.name, path

    def get(self, digest: str) -> bytes:
        """The bytes with this hexadecimal SHA-256.

        Raises EnvironmentStateError when the store lacks them, IntegrityError when they were changed on disk, and
        ValueError when it is not a SHA-256.
        """
        path = self._path(digest)
        with disk_errors("can't be read", path):
            try:
                data = path.read_bytes()
            except FileNotFoundError as error:
                raise EnvironmentStateError(
                    f"the store lacks {digest[:12]}...",
                    context=str(self.home),
                    hint=_COMES_BACK,
                ) from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise IntegrityError(
                "was changed or damaged after it was stored",
                context=str(path),
                hint=_COMES_BACK,
            )
        return data

    def has(self, digest: str) -> bool:
        """Whether something is stored under this digest; only `get` verifies it. Raises ValueError as `get` does."""
        path = self._path(digest)
        with disk_errors("can't be read", path):
            return path.is_file()

    @property
    def _staging(self) -> Path:
        return self.home / "store" / "staging"

    def _path(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise ValueError(f"{digest!r} is not a hexadecimal SHA-256")
        return self.home / "store" / "sha256" / digest[:2] / digest[2:]

    def _remove_leftovers(self) -> None:
        """What killed processes began to write; nobody else writes now."""
        for path in self._staging.glob(f"{PARTIAL}*"):
            path.unlink(missing_ok=True)
