"""Folders that are written whole: worked on beside their place, then put there in one step.

Knows nothing of what is in them.
"""

import ctypes
import errno
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ppm.disk import PARTIAL, disk_errors, flush_folder, make_folder

__all__ = ["put_folder", "stage", "sweep"]

_OLD = "old"
_HERE = -100
"""What stands for the working directory where a system call takes a folder (AT_FDCWD)."""
_EXCHANGE = 2
"""The flag of renameat2 on Linux, and of renamex_np on macOS, that lets two paths change places."""
_UNABLE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)


@contextmanager
def stage(target: Path) -> Iterator[Path]:
    """A new folder beside `target` to work in; it is gone afterwards, whatever happens.

    A killed process may leave it, with a name that starts with PARTIAL. Raises DiskError.
    """
    with disk_errors("can't be written to", target.parent):
        make_folder(target.parent)
        folder = target.parent / f"{PARTIAL}{target.name}-{secrets.token_hex(4)}"
        folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(target: Path) -> None:
    """Take away what killed processes have left of `target`, and put back what one had moved away.

    Only for whoever holds its lock. Raises DiskError.
    """
    old = _moved(target)
    with disk_errors("can't be put back", target):
        if old.exists() and not target.exists():
            old.rename(target)
    left = re.compile(rf"{re.escape(PARTIAL + target.name)}-([0-9a-f]{{8}}|{_OLD})")
    with suppress(FileNotFoundError):
        for path in target.parent.iterdir():
            if left.fullmatch(path.name):
                shutil.rmtree(path, ignore_errors=True)


def put_folder(made: Path, target: Path) -> None:
    """Give a finished folder its place, and then take away what was there. Raises OSError, and then that stays.

    One step where the system lets two folders change places; elsewhere two, and `sweep` undoes the first one.
    """
    if not target.exists():
        made.rename(target)
        flush_folder(target.parent)
        return
    shutil.copymode(target, made)
    old = made
    if not _exchange(made, target):
        old = _moved(target)
        target.rename(old)
        try:
            made.rename(target)
        except BaseException:
            with suppress(OSError):
                old.rename(target)
            raise
    flush_folder(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def _moved(target: Path) -> Path:
    return target.with_name(f"{PARTIAL}{target.name}-{_OLD}")


def _exchange(first: Path, second: Path) -> bool:
    """Let two folders change places in one step; False where there is no such step. Raises OSError."""
    paths = os.fsencode(first), os.fsencode(second)
    if sys.platform == "linux":
        call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
        arguments = (_HERE, paths[0], _HERE, paths[1], _EXCHANGE)
    elif sys.platform == "darwin":
        call = getattr(ctypes.CDLL(None, use_errno=True), "renamex_np", None)
        arguments = (*paths, _EXCHANGE)
    else:
        return False
    if call is None:
        return False
    if call(*arguments) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNABLE:
        return False
    raise OSError(number, os.strerror(number), str(second))
