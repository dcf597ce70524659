"""What has come of a file so far: in memory, and of a large file on disk as well, for the next command to go on with.

Nobody has checked it: whoever goes on with it checks the whole by its digest.
"""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ppm.errors import EnvironmentStateError
from ppm.locking import exclusive

__all__ = ["WORTH_KEEPING", "Partial", "kept_partial"]

WORTH_KEEPING = 256 * 2**10
"""Bytes of a file that are worth a file of their own."""
_SUFFIX = ".partial"
_LONGEST_ETAG = 200
_STRONG = re.compile(rf'"[\x21\x23-\x7e]{{0,{_LONGEST_ETAG - 2}}}"')


class Partial:
    """The first bytes of a file, and the entity tag that its server gave it, "" where it gave no strong one.

    With a `digest` it is known what the whole must be, so it can be gone on with where nothing but that tells whether
    the parts belong together.
    """

    def __init__(self, path: Path | None = None, digest: str = "") -> None:
        self.digest = digest
        self.etag = ""
        self._data = bytearray()
        self._path = path
        self._stack = ExitStack()
        self._written = 0
        self._held = False

    @property
    def size(self) -> int:
        """How many bytes there are."""
        return len(self._data)

    @property
    def can_go_on(self) -> bool:
        """Whether a server may be asked for the rest alone."""
        return self.size > 0 and bool(self.etag or self.digest)

    def content(self) -> bytes:
        """All that there is."""
        return bytes(self._data)

    def restart(self, etag: str = "") -> None:
        """Keep nothing of it; what comes now is of the file with this entity tag."""
        self._data.clear()
        self.etag = _strong(etag)
        self._forget()

    def add(self, piece: bytes) -> None:
        """More of it. A disk that refuses keeps nothing for the next command."""
        self._data += piece
        if self._path is None or self.size < WORTH_KEEPING:
            return
        try:
            self._write(self._path)
        except (OSError, EnvironmentStateError):  # a full disk, or another command that takes the same file
            self._forget()
            self._path = None

    def load(self, most: int) -> None:
        """What an earlier command left of a file that has at most so many bytes."""
        if self._path is None or not self._path.is_file():
            return
        try:
            self._hold(self._path)
            with self._path.open("rb") as stream:
                etag, _, data = stream.read(_LONGEST_ETAG + 1 + most + 1).partition(b"\n")
        except (OSError, EnvironmentStateError):
            self._path = None
            return
        self._written = len(data)
        if len(data) > most:
            self.restart()
            return
        self.etag = _strong(etag.decode("ascii", "replace"))
        self._data += data

    def close(self) -> None:
        """Let other commands have the file."""
        with suppress(OSError):
            self._stack.close()

    def _write(self, path: Path) -> None:
        if not self._written:
            self._hold(path)
            path.write_bytes(f"{self.etag}\n".encode())
        with path.open("ab", buffering=0) as stream:
            while self._written < self.size:
                self._written += stream.write(self._data[self._written :])

    def _hold(self, path: Path) -> None:
        """Be the only one that writes it. Raises EnvironmentStateError when another command does."""
        if self._held:
            return
        lock = path.with_name(f"{path.name}.lock")
        self._stack.enter_context(exclusive(lock, path.name, timeout=0.0))
        self._stack.callback(lock.unlink, missing_ok=True)
        self._held = True

    def _forget(self) -> None:
        """Have no file. Another command's is left alone."""
        if self._path is not None and self._held:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
        self._written = 0


def _strong(etag: str) -> str:
    """The entity tag, or "" for one that does not stand for the very bytes."""
    return etag if _STRONG.fullmatch(etag) else ""


@contextmanager
def kept_partial(folder: Path | None, digest: str, most: int) -> Iterator[Partial]:
    """What there is of a file with a hexadecimal digest and at most so many bytes; kept in a folder, if given."""
    partial = Partial(folder / f"{digest}{_SUFFIX}" if folder is not None else None, digest)
    try:
        partial.load(most)
        yield partial
    finally:
        partial.close()
