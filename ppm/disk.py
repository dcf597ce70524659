"""Durable writes: what these functions have written is whole after a crash, or is not there at all.

Knows nothing of what the files are for; every failure of the disk becomes a DiskError here.
"""

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ppm.errors import DiskError, DiskFault

__all__ = [
    "PARTIAL",
    "append_file",
    "disk_errors",
    "flush_folder",
    "make_folder",
    "replace_file",
    "write_file",
    "write_output",
]

PARTIAL = ".partial-"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
_WRONG_KIND = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP)
# Some network file systems can't flush a folder; their server keeps the order of renames by itself.
_UNFLUSHABLE = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)
_HINTS: dict[DiskFault, str] = {
    "full": "free some space on this disk",
    "denied": "check the folder's owner and permissions",
    "missing": "check the spelling of this path, and that the folder it is in exists",
    "wrong kind": "there is a file where a folder should be, or the other way round: move it away",
    "other": "check the disk",
}
_READ_AND_WRITE = 0o666
_OWNER_ONLY = 0o600


@contextmanager
def disk_errors(message: str, path: Path) -> Iterator[None]:
    """Turn an OSError into a DiskError about `path` that says what to do."""
    try:
        yield
    except OSError as error:
        reason, fault = error.strerror or type(error).__name__, _fault(error)
        raise DiskError(f"{message}: {reason}", path, fault, hint=_HINTS[fault]) from error


def _fault(error: OSError) -> DiskFault:
    if error.errno in _FULL:
        return "full"
    if error.errno in _DENIED:
        return "denied"
    if error.errno == errno.ENOENT:
        return "missing"
    return "wrong kind" if error.errno in _WRONG_KIND else "other"


def write_file(path: Path, data: bytes, *, like: os.stat_result | None = None, private: bool = False) -> None:
    """Write a new file and flush it to disk. Raises OSError; an existing file is never overwritten.

    Its mode follows the umask, or is that of a file that it is to be `like`, as far as this user may say so. A
    `private` one is for its owner alone.
    """
    mode = _OWNER_ONLY if private or like is not None else _READ_AND_WRITE
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as stream:
        if like is not None:
            _make_alike(stream.fileno(), like)
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _make_alike(descriptor: int, like: os.stat_result) -> None:
    """Give an open file the owner, group and mode of another, never more rights to anybody."""
    if os.name != "posix":
        return
    mode = stat.S_IMODE(like.st_mode) & 0o777
    with suppress(OSError):  # only the superuser may give a file away
        os.fchown(descriptor, like.st_uid, -1)
    try:
        os.fchown(descriptor, -1, like.st_gid)
    except OSError:
        # Of another group than this user's: its members are then among the others.
        others = mode & 0o007
        mode = mode & 0o700 | mode & 0o070 & others << 3 | others
    os.fchmod(descriptor, mode)


def replace_file(
    path: Path, data: bytes, *, staging: Path | None = None, sole_writer: bool = False, private: bool = False
) -> None:
    """Put a file with this content at `path` in one step, replacing what is there. Raises OSError.

    The mode, the group and a symbolic link that are there stay; a `private` file is for its owner alone. A killed
    process may leave a file whose name starts with PARTIAL in `staging` (by default the same folder). Where the caller
    is the `sole_writer` of this file, the next call takes that away.
    """
    path = _behind_links(path)
    partial = (staging or path.parent) / f"{PARTIAL}{path.name if sole_writer else secrets.token_hex(8)}"
    like = None
    if not private:
        with suppress(FileNotFoundError):
            like = path.stat()
    try:
        if sole_writer:
            partial.unlink(missing_ok=True)
        write_file(partial, data, like=like, private=private)
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)


def write_output(path: Path, data: bytes) -> None:
    """Write a file that a user asked for whole or not at all; a pipe is written into. Raises DiskError."""
    with disk_errors("can't be written", path):
        if path.exists() and not path.is_file():  # a pipe, or /dev/stdout
            path.write_bytes(data)
        else:
            replace_file(path, data)


def append_file(path: Path, data: bytes) -> None:
    """Add to the end of a file and flush it to disk; a file that is not there is made. Raises OSError.

    When the disk refuses, the file is as long as before. A killed process may leave a part of the data.
    """
    is_new = not path.exists()
    with path.open("ab", buffering=0) as stream:
        before = stream.tell()
        try:
            written = 0
            while written < len(data):
                written += stream.write(data[written:])
            os.fsync(stream.fileno())
        except BaseException:
            with suppress(OSError):
                stream.truncate(before)
            raise
    if is_new:
        flush_folder(path.parent)


def _behind_links(path: Path) -> Path:
    if not path.is_symlink():
        return path
    try:
        return path.resolve()
    except RuntimeError as error:  # how older Pythons say it
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path)) from error


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
