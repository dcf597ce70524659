"""Throwing away what is no longer needed: cached results, stored packages that no deployment names, environments.

What a deployment needs is never taken. A command that is at work has its packages in the store before there is a
deployment that names them, so only what lay untouched for a while is taken.
"""

import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ppm.disk import disk_errors, replace_file
from ppm.environment import evidence
from ppm.environment.deployment import HOLDS_FILE, Environment, number_file
from ppm.environment.store import Store
from ppm.environment.transaction import Writer
from ppm.errors import PpmError

__all__ = ["CACHES", "Usage", "prune", "remove_environment", "usage"]

CACHES = {
    "results": "answers of suites",
    "training": "finished stages of builds",
    "sources": "metadata of package files",
    "indexes": "files of signed indexes",
    "self-test": "models that a prefix is exact on",
}
UNTOUCHED_FOR = 24 * 3600.0
"""Seconds after which a stored package that no deployment names may be thrown away."""


@dataclass(frozen=True)
class Usage:
    """Files and bytes of one part of PPM_HOME."""

    name: str
    what: str
    files: int
    size: int


def usage(home: Path) -> list[Usage]:
    """What each cache and the store hold. Raises EnvironmentStateError."""
    parts = [(name, what, home / "cache" / name) for name, what in CACHES.items()]
    parts.append(("store", "package files and compositions", home / "store"))
    return [Usage(name, what, *_measured(folder)) for name, what, folder in parts]


def prune(home: Path, caches: tuple[str, ...], *, older_than: float = 0.0) -> tuple[list[Usage], list[str]]:
    """Empty some caches of files older than so many seconds, and the store of what no deployment needs.

    Returns what was removed, and what is wrong with each deployment that can't be read: the store is then left alone,
    for what it needs is not known. Raises EnvironmentStateError.
    """
    now = time.time()
    removed = []
    for name in caches:
        files = [p for p in _files(home / "cache" / name) if now - _changed(p) >= older_than]
        removed.append(Usage(name, CACHES[name], *_delete(files)))
    store = Store(home)
    with store.exclusive():
        needed, unknown = _needed(home)
        files = []
        if not unknown:
            limit = max(older_than, UNTOUCHED_FOR)
            files = [
                path for digest, path in store.contents() if digest not in needed and now - _changed(path) >= limit
            ]
        removed.append(Usage("store", "package files and compositions", *_delete(files)))
    return removed, unknown


def _needed(home: Path) -> tuple[set[str], list[str]]:
    """The digests that some deployment names, one that is not in force yet included; and what can't be read."""
    needed: set[str] = set()
    unknown = []
    for environment in Environment.everywhere(home):
        for number in environment.stored_numbers():
            try:
                deployment = environment.stored(number)
                lock, audit = deployment.lock, deployment.audit or {}
            except PpmError as error:
                unknown.append(f"{error.context}: {error.message}")
                continue
            needed |= {package.sha256 for package in lock.packages}
            suites = audit.get("suites")
            for suite in suites.values() if isinstance(suites, dict) else ():
                if isinstance(suite, dict) and isinstance(suite.get("anchor"), str):
                    needed.add(suite["anchor"].removeprefix("sha256:"))
            if lock.composition is not None:
                needed |= {lock.composition.sha256, lock.composition.audit}
    return needed, unknown


def remove_environment(writer: Writer) -> None:
    """Remove an environment with its history; from one moment to the next nothing is deployed in it.

    Raises EnvironmentStateError when the disk refuses; what is left is then cleaned by the next writer.
    """
    environment = writer.environment
    with disk_errors("can't be removed", environment.path):
        replace_file(environment.path / "current", number_file(0))
        evidence.remove(environment.path / HOLDS_FILE)
        for number in environment.stored_numbers():
            shutil.rmtree(environment.deployment_path(number))


def _files(folder: Path) -> Iterator[Path]:
    with disk_errors("can't be read", folder):
        for path in folder.rglob("*") if folder.is_dir() else ():
            if path.is_file() and not path.is_symlink():
                yield path


def _measured(folder: Path) -> tuple[int, int]:
    sizes = []
    for path in _files(folder):
        with suppress(FileNotFoundError):
            sizes.append(path.stat().st_size)
    return len(sizes), sum(sizes)


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()


def _delete(files: list[Path]) -> tuple[int, int]:
    sizes = []
    for path in files:
        with disk_errors("can't be removed", path), suppress(FileNotFoundError):
            size = path.stat().st_size
            path.unlink()
            sizes.append(size)
            with suppress(OSError):
                path.parent.rmdir()  # when it was the last one there
    return len(sizes), sum(sizes)
