"""One writer at a time: a lock on a file, which ends with its process, and a note of who has it."""

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from ppm.disk import disk_errors, make_folder
from ppm.errors import EnvironmentStateError, RequestError

__all__ = ["SHORT_WAIT", "exclusive", "lock_timeout"]

_POLL_SECONDS = 0.05
_TELL_AFTER = 1.0
SHORT_WAIT = 60.0
"""Seconds that are enough for short work, and what a user waits who says nothing else."""


@contextmanager
def exclusive(
    path: Path,
    what: str,
    *,
    command: str = "",
    timeout: float = SHORT_WAIT,
    tell: Callable[[str], None] = lambda message: None,
) -> Iterator[FileLock]:
    """Hold the lock at `path`, which lets one process change `what`.

    `command` is what the user ran: it is shown to whoever waits, who is told through `tell`; nothing is shown of work
    that has none, because it is short. Raises EnvironmentStateError when another process holds the lock for more than
    `timeout` seconds, or when it can't be written.
    """
    note = path.with_name(f"{path.name}.holder")
    with disk_errors("can't be written to", path.parent):
        make_folder(path.parent)
        # A lock by the mere existence of a file would outlive a killed process, so never fall back to one.
        lock = FileLock(path, fallback_to_soft=False)
        try:
            held = _acquire(lock, note, timeout, tell)
        except Timeout as error:
            raise EnvironmentStateError(
                f"is in use by {_holder(note)}; waited {timeout:g} s",
                context=what,
                hint="wait for it to finish, then run this again; PPM_LOCK_TIMEOUT sets how many seconds ppm waits",
            ) from error
    with held:
        try:
            if command:
                since = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
                with disk_errors("can't be written to", path.parent):
                    note.write_text(json.dumps({"pid": os.getpid(), "command": command, "since": since}), "utf-8")
            yield lock
        finally:
            if command:
                with suppress(OSError):
                    note.unlink()


def _acquire(lock: FileLock, note: Path, timeout: float, tell: Callable[[str], None]) -> AbstractContextManager[object]:
    try:
        return lock.acquire(timeout=min(timeout, _TELL_AFTER), poll_interval=_POLL_SECONDS)
    except Timeout:
        if timeout <= _TELL_AFTER:
            raise
    tell(f"Waiting for {_holder(note)}, at most {timeout:g} s")
    return lock.acquire(timeout=timeout - _TELL_AFTER, poll_interval=_POLL_SECONDS)


def _holder(note: Path) -> str:
    try:
        holder = json.loads(note.read_text(encoding="utf-8"))
        return f"process {holder['pid']} (`{holder['command']}`, since {holder['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def lock_timeout(environ: Mapping[str, str]) -> float:
    """Seconds to wait for another process: `$PPM_LOCK_TIMEOUT`, else 60. Raises RequestError when it is no number."""
    text = environ.get("PPM_LOCK_TIMEOUT") or str(SHORT_WAIT)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if math.isnan(seconds):
        raise RequestError(f"must be a number of seconds, not {text!r}", context="PPM_LOCK_TIMEOUT")
    return max(0.0, seconds)
