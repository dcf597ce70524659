"""Memory: sizes as people write them, and how much of it is at hand. Needs no torch."""

import re
from contextlib import suppress
from pathlib import Path

from ppm.errors import RequestError

__all__ = ["at_hand", "parse_size", "shown_size"]

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)(?:i?B)?\s*", re.IGNORECASE)
_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")


def parse_size(text: str, *, origin: str = "--memory") -> int:
    """Bytes, from a size such as 4G, 800M or 1.5GiB, in powers of 1024. Raises RequestError."""
    found = _SIZE.fullmatch(text)
    size = int(float(found[1]) * _UNITS[found[2].upper()]) if found else 0
    if size < 1:
        raise RequestError(f"{text!r} is not a size", context=origin, hint="write, for example, 4G or 800M")
    return size


def shown_size(size: float) -> str:
    """Bytes as people read them."""
    for unit in ("G", "M"):
        if size >= _UNITS[unit]:
            return f"{size / _UNITS[unit]:.1f}{unit}"
    return f"{size / 1024:.0f}K"


def at_hand() -> int | None:
    """How many bytes of main memory a process may still take here, a container's limit included; None if unknown."""
    known = [size for size in (_available(), _within_limit()) if size is not None]
    return min(known, default=None)


def _available() -> int | None:
    with suppress(OSError, ValueError):
        for line in _MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def _within_limit() -> int | None:
    with suppress(OSError, ValueError):
        return int((_CGROUP / "memory.max").read_text()) - int((_CGROUP / "memory.current").read_text())
    return None
