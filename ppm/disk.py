"""Durable writes: what these functions have written is whole after a crash, or is not there at all.

Knows nothing of environments; every failure of the disk becomes an EnvironmentStateError here.
"""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ppm.errors import EnvironmentStateError

__all__ = ["PARTIAL", "disk_errors", "flush_folder", "make_folder", "replace_file", "write_file"]

PARTIAL = ".partial-"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
_WRONG_KIND = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP)
# Some network file systems can't flush a folder; their server keeps the order of renames by itself.
_UNFLUSHABLE = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)


@contextmanager
def disk_errors(message: str, path: Path) -> Iterator[None]:
    """Turn an OSError into an EnvironmentStateError about `path` that says what to do."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise EnvironmentStateError(f"{message}: {reason}", context=str(path), hint=_hint(error)) from error


def _hint(error: OSError) -> str:
    if error.errno in _FULL:
        return "free space on this disk; what was deployed before still is"
    if error.errno in _DENIED:
        return "check the folder's owner and rights"
    if error.errno in _WRONG_KIND:
        return "a file stands where a folder should, or the other way round: move it away"
    return "check the disk"


def write_file(path: Path, data: bytes) -> None:
    """Write a new file and flush it to disk. Raises OSError; an existing file is never overwritten."""
    with path.open("xb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def replace_file(path: Path, data: bytes, *, staging: Path | None = None, alone: bool = False) -> None:
    """Put a file with this content at `path` in one step, replacing what is there. Raises OSError.

    A killed process may leave a file whose name starts with PARTIAL in `staging` (by default the same folder). Where
    the caller is `alone` in writing this file, the next call takes that away.
    """
    partial = (staging or path.parent) / f"{PARTIAL}{path.name if alone else secrets.token_hex(8)}"
    try:
        if alone:
            partial.unlink(missing_ok=True)
        write_file(partial, data)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)


def make_folder(path: Path) -> None:
    """Make a folder and its parents so that they outlast a crash. Raises OSError."""
    if path.is_dir():
        return
    if path.parent != path:
        make_folder(path.parent)
    path.mkdir(exist_ok=True)
    flush_folder(path.parent)


def flush_folder(path: Path) -> None:
    """Flush to disk which files a folder holds. Raises OSError."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNFLUSHABLE:
            raise
    finally:
        os.close(descriptor)
