"""The files that a lock names: taken from the store or a source, and checked against it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ppm.base import BaseModel
from ppm.disk import disk_errors, make_folder, replace_file
from ppm.environment.store import Store
from ppm.errors import IntegrityError, ModelError, RequestError
from ppm.install.fetch import releases_of
from ppm.install.folder import ProjectFolder, asks_nothing
from ppm.install.request import Request
from ppm.install.start import rules_for
from ppm.lock import LOCK_FILE, Lock, LockedPackage
from ppm.names import expand
from ppm.package import Package, read_package
from ppm.project import PROJECT_FILE
from ppm.resolve import Rules, faults
from ppm.sources import Source, open_source

__all__ = ["AUDIT_SUFFIX", "LockedFiles", "export", "open_locked"]

AUDIT_SUFFIX = ".audit.json"
"""What a composition's audit is called beside its package file: the file's name and this."""


@dataclass(frozen=True)
class LockedFiles:
    """A lock that answers its project, its packages, and where its other files may be."""

    lock: Lock
    packages: tuple[Package, ...]
    store: Store
    sources: tuple[Source, ...]

    def composition(self) -> tuple[bytes, bytes]:
        """The package file of the locked composition, and its audit. Raises IntegrityError when nobody has them."""
        made = self.lock.composition
        assert made is not None
        audit_name = f"{made.file}{AUDIT_SUFFIX}" if made.file else None
        return (
            _take(made.sha256, made.file, self.store, self.sources, made=True),
            _take(made.audit, audit_name, self.store, self.sources, made=True),
        )


def open_locked(
    folder: ProjectFolder, find_links: Sequence[Path] = (), *, base: BaseModel | None = None
) -> LockedFiles:
    """What a project has locked, for this `base` if one is given, every package checked.

    Raises RequestError when the lock does not answer the project any more, ModelError for another base, and
    IntegrityError when a file can't be found as it was locked or the lock was changed by hand.
    """
    if not folder.project.patches:
        raise asks_nothing()
    lock = folder.lock()
    if lock is None:
        raise RequestError(f"there is no {LOCK_FILE}", context=str(folder.path), hint="run `ppm lock` first")
    stale = folder.stale(lock)
    if stale:
        raise RequestError(f"is out of date: {stale}", context=str(folder.lock_path), hint="run `ppm lock`")
    if base is not None and base.fingerprint != lock.base.fingerprint:
        raise ModelError(
            f"is not the locked base model ({lock.base.model}, {lock.base.fingerprint[:19]}...)",
            context=base.name,
            hint="restore the locked model, or run `ppm lock` for this one",
        )
    store, sources = folder.workspace.store, _sources(folder, lock, find_links)
    packages = tuple(_package(locked, store, sources) for locked in lock.packages)
    _check_rules(folder, lock, packages)
    return LockedFiles(lock, packages, store, tuple(sources))


def export(files: LockedFiles, target: Path) -> list[Path]:
    """Write every file that a lock names into a folder, from which another machine can sync. Raises PpmError."""
    contents = {package.file_name: package.data for package in files.packages}
    made = files.lock.composition
    if made is not None and made.file is not None:
        contents[made.file], contents[f"{made.file}{AUDIT_SUFFIX}"] = files.composition()
    with disk_errors("can't be written to", target):
        make_folder(target)
        for name, data in contents.items():
            replace_file(target / name, data)
    return [target / name for name in contents]


def _sources(folder: ProjectFolder, lock: Lock, find_links: Sequence[Path]) -> list[Source]:
    """Those of an install, and the folders of package files that the project names by their paths."""
    files = [folder.path / expand(asked.text) for asked in folder.project.patches if asked.is_file]
    own = [open_source(path.parent) for path in files if path.parent.is_dir()]
    found = folder.workspace.sources(lock.base.model, (*find_links, *folder.project.sources))
    for source in found[: len(find_links)]:
        source.names(None)  # which says so when it can't be read
    return [*found, *own]


def _package(locked: LockedPackage, store: Store, sources: Sequence[Source]) -> Package:
    data = _take(locked.sha256, locked.file, store, sources)
    package = read_package(data, origin=locked.file, expected_sha256=locked.sha256)
    if (package.manifest.pin, package.file_name) != (locked.pin, locked.file):
        raise IntegrityError(
            f"is {package.manifest.pin}, but is locked as {locked.pin}",
            context=locked.file,
            hint="the lock was edited by hand: run `ppm lock`",
        )
    return package


def _take(digest: str, name: str | None, store: Store, sources: Sequence[Source], *, made: bool = False) -> bytes:
    """The content with a digest, from the store or from a file of a source; `made` is one that can be made anew.

    Raises IntegrityError when nobody has it.
    """
    damaged = False
    if store.has(digest):
        try:
            return store.get(digest)
        except IntegrityError:
            damaged = True
    other = []
    for source in sources if name else ():
        data = source.find(str(name), digest)
        if data is not None:
            return data
        if source.has_file(str(name)):
            other.append(source.location)
    where = (
        f"{' and '.join(other)} has a different file of that name"
        if other
        else "neither the store nor any source has it"
    )
    if damaged:
        where = "the stored copy is damaged" + (f", and {where}" if other else "")
    hint = "name a folder that has it with --find-links DIR; where the files are, `ppm download --locked` makes one"
    if other:
        mend = "restore ppm.lock" + ("" if made else ", or run `ppm lock` if the file found there is the right one")
        hint = f"{mend}; otherwise {hint}"
    raise IntegrityError(
        f"is locked with the SHA-256 {digest[:12]}..., and {where}",
        context=name or digest,
        hint=f"{hint}; `ppm sync --recompose` makes it again" if made else hint,
    )


def _check_rules(folder: ProjectFolder, lock: Lock, packages: Sequence[Package]) -> None:
    """Whether the locked patches go together.

    Raises RequestError when ppm.toml limits them otherwise by now, IntegrityError for a lock that ppm did not write.
    """
    requirements = [requirement for requirement in lock.requirements if not requirement.is_file]
    # When a file came into its source was settled when it was locked.
    rules = rules_for(replace(folder.project, exclude_newer=None, exclude_newer_package={}), Request())
    wrong = faults(releases_of(packages, lock.base), requirements, lock.base.fingerprint, rules)
    bare = Rules(overrides=lock.overrides)
    if wrong and not faults(releases_of(packages, lock.base), requirements, lock.base.fingerprint, bare):
        raise RequestError(
            f"is out of date with {PROJECT_FILE}: {'; '.join(wrong)}",
            context=str(folder.lock_path),
            hint="run `ppm lock`",
        )
    if wrong:
        raise IntegrityError(
            f"locks patches that don't fit together: {'; '.join(wrong)}",
            context=LOCK_FILE,
            hint="it was edited by hand: run `ppm lock`",
        )
