"""What this machine has left: memory and disk, asked before work that needs much of either; and sizes as people write
them."""

import os
import re
import shutil
import sys
from contextlib import suppress
from pathlib import Path

from ppm.errors import DiskError, ModelError, RequestError
from ppm.names import exists

__all__ = ["check_disk", "check_memory", "free_memory", "parse_size", "shown_size"]

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)(?:i?B)?\s*", re.IGNORECASE)
_GROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat", "inactive_file"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        "/sys/fs/cgroup/memory/memory.stat",
        "total_inactive_file",
    ),
)
"""Where Linux says what a container may use, what it uses, and how much of that it gives back when asked."""


def free_memory() -> int | None:
    """Bytes that this process can still take: of the machine, its container and its own limit, the least.

    None where the machine does not say.
    """
    known = [found for found in (_of_machine(), *map(_of_group, _GROUPS), _of_process()) if found is not None]
    return min(known, default=None)


def check_memory(needed: int, what: str, *, hint: str) -> None:
    """Raises ModelError when less than `needed` bytes of memory are free, with how many they are."""
    free = free_memory()
    if free is not None and free < needed:
        raise ModelError(
            f"takes about {shown_size(needed)} of memory, and {shown_size(max(free, 0))} are free",
            context=what,
            hint=hint,
        )


def check_disk(folder: Path, needed: int, what: str) -> None:
    """Raises DiskError when a folder's disk has less than `needed` bytes free; the folder need not exist yet.

    `what` is what needs them, with its verb.
    """
    nearest = next((path for path in (folder, *folder.absolute().parents) if exists(path)), None)
    if nearest is None:
        return
    try:
        free = shutil.disk_usage(nearest).free
    except OSError:
        return
    if free < needed:
        raise DiskError(
            f"has too little space: {what} {shown_size(needed)}, and {shown_size(free)} are free",
            folder,
            "full",
            hint="free some space on this disk",
        )


def parse_size(text: str, *, origin: str = "--memory") -> int:
    """Bytes, from a size such as 4G, 800M or 1.5GiB, in powers of 1024. Raises RequestError."""
    found = _SIZE.fullmatch(text)
    size = int(float(found[1]) * _UNITS[found[2].upper()]) if found else 0
    if size < 1:
        raise RequestError(f"{text!r} is not a size", context=origin, hint="write, for example, 4G or 800M")
    return size


def shown_size(size: float) -> str:
    """Bytes as people read them, in powers of 1024."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def _of_machine() -> int | None:
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    with suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _of_group(places: tuple[str, str, str, str]) -> int | None:
    limit, used, statistics, given_back = places
    with suppress(OSError, ValueError, IndexError):
        allowed = int(Path(limit).read_text(encoding="ascii"))
        taken = int(Path(used).read_text(encoding="ascii"))
        for line in Path(statistics).read_text(encoding="ascii").splitlines():
            if line.startswith(f"{given_back} "):
                taken -= int(line.split()[1])
        return allowed - taken
    return None


def _of_process() -> int | None:
    if sys.platform == "win32":
        return None
    import resource

    allowed = resource.getrlimit(resource.RLIMIT_AS)[0]
    if allowed == resource.RLIM_INFINITY:
        return None
    with suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        return allowed - pages * resource.getpagesize()
    return None
