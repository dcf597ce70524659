"""ppm.toml and ppm.lock: what a project asks for, and the exact files that answer it. Needs no model in memory."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tomlkit
from packaging.version import Version

from ppm import document
from ppm.base import LAB_BASES
from ppm.composition.strategy import read_strategy
from ppm.disk import disk_errors, replace_file
from ppm.errors import ManifestError, RequestError, did_you_mean
from ppm.home import ppm_home
from ppm.install.bases import look_up_base, split_model
from ppm.install.fetch import is_path, sources_of, take_given
from ppm.install.plan import DEFAULT_STRATEGY, OUT_OF_TIME, rules_for, upgrade_order, yanked_note
from ppm.install.request import Options
from ppm.lock import LOCK_FILE, Lock, LockedPackage
from ppm.locking import alone
from ppm.names import expand
from ppm.package import parse_file_name
from ppm.project import PROJECT_FILE, Project
from ppm.resolve import Pin, parse_name, parse_requirement, resolve
from ppm.sources import Joined, Source

__all__ = [
    "Locked",
    "ProjectFolder",
    "add_to_project",
    "asks_nothing",
    "changes",
    "lock_project",
    "remove_from_project",
    "update_lock",
]


@dataclass(frozen=True)
class Locked:
    """A project's lock, the one before, and what to know of the choice; None where there is no lock."""

    lock: Lock | None
    before: Lock | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ProjectFolder:
    """A folder with a ppm.toml: the project as read, and its base model as the file names it."""

    path: Path
    project: Project
    base: str | None

    @staticmethod
    def find(start: Path) -> "ProjectFolder":
        """The nearest one. Raises RequestError when there is none, ManifestError when its file is malformed."""
        path = Project.locate(start)
        if path is None:
            raise RequestError(
                f"there is no {PROJECT_FILE} here or above",
                hint="`ppm add PATCH --base MODEL` makes one",
            )
        return ProjectFolder.of(document.read_file(path), path)

    @staticmethod
    def of(table: Mapping[str, Any], path: Path) -> "ProjectFolder":
        """From the data of the file at `path`. Raises ManifestError."""
        project = Project.of(table, path)
        return ProjectFolder(path.parent, project, table.get("base"))

    @property
    def lock_path(self) -> Path:
        return self.path / LOCK_FILE

    def alone(self, command: str, tell: Callable[[str], None]) -> AbstractContextManager[object]:
        """Nobody else changes the project's files meanwhile. Raises EnvironmentStateError."""
        return _alone(self.path, command, tell)

    def lock(self) -> Lock | None:
        """What was locked; None when nothing was yet. Raises ManifestError."""
        if not self.lock_path.is_file():
            return None
        try:
            return Lock.read(self.lock_path)
        except ManifestError as error:
            mend = "restore it, or delete it and run `ppm lock`, which then keeps nothing of it"
            raise ManifestError(error.message, context=error.context, hint=mend) from error

    def write_lock(self, lock: Lock) -> None:
        """Replace the lock. Raises EnvironmentStateError."""
        with disk_errors("can't be written", self.lock_path):
            replace_file(self.lock_path.resolve(), lock.render().encode(), alone=True)

    def stale(self, lock: Lock) -> str:
        """Why a lock does not answer the project any more, or ""."""
        if lock.requirements != self.project.patches:
            asked, locked = (", ".join(texts) or "nothing" for texts in (self.project.patches, lock.requirements))
            return f"{PROJECT_FILE} asks for {asked}, the lock for {locked}"
        overrides = {(r.name, r.specifier) for r in map(parse_requirement, self.project.overrides)}
        for text in lock.overrides:
            override = parse_requirement(text)
            if (override.name, override.specifier) not in overrides:
                return f"{PROJECT_FILE} has no override {text}, which the locked patches need"
        strategy = self.project.strategy or DEFAULT_STRATEGY
        if (lock.strategy, lock.strategy_digest) != (self.shown(strategy), read_strategy(strategy).digest):
            return f"the strategy {strategy} is another than the locked one"
        if self.base is not None and (lock.base.model, lock.base.revision) != self._base():
            locked = f"{lock.base.model}@{lock.base.revision}" if lock.base.revision else lock.base.model
            return f"{PROJECT_FILE} names the base model {self.base}, the lock {locked}"
        return ""

    def _base(self) -> tuple[str | None, str | None]:
        """The base model as the file names it, and its commit."""
        found = self.project.base
        return split_model(self.base or "") if found is None or found == self.base else (self.base, None)

    def shown(self, location: str) -> str:
        """A path as the lock has it: relative to the project where it is inside."""
        path = Path(location)
        if path.is_absolute() and path.is_relative_to(self.path.resolve()):
            return os.path.relpath(path, self.path.resolve())
        return location

    def meant(self, shown: str) -> str:
        """The path that the lock has as `shown`."""
        project = self.project
        own = [str((self.path / expand(t)).resolve()) for t in project.patches if is_path(t)]
        known = [project.strategy or "", *project.sources, *own]
        return next((location for location in known if location and self.shown(location) == shown), shown)


def _alone(folder: Path, command: str, tell: Callable[[str], None]) -> AbstractContextManager[object]:
    """The lock lies in PPM_HOME, so that nothing is left in the project."""
    digest = hashlib.sha256(str(folder.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return alone(ppm_home() / "projects" / f"{digest}.lock", str(folder), command=command, tell=tell)


def update_lock(
    start: Path,
    options: Options,
    *,
    base: str | None,
    upgrade: Sequence[str] | None,
    command: str,
    tell: Callable[[str], None],
) -> Locked:
    """Lock the project that `start` belongs to. See `lock_project`."""
    with ProjectFolder.find(start).alone(command, tell):
        folder = ProjectFolder.find(start)  # as whoever had it before left it
        found = lock_project(folder, options, base=base, upgrade=upgrade)
        if found.lock is not None and found.lock != found.before:
            folder.write_lock(found.lock)
    return found


def lock_project(
    folder: ProjectFolder, options: Options, *, base: str | None = None, upgrade: Sequence[str] | None = ()
) -> Locked:
    """The lock that answers a project. What is locked stays, but for the names to `upgrade`.

    `upgrade` None raises everything. Nothing is written. Raises PpmError.
    """
    project, previous = folder.project, folder.lock()
    if not project.patches:
        raise asks_nothing()
    if base is not None and folder.base not in (None, base):
        raise RequestError(
            f"{PROJECT_FILE} names the base model {folder.base}, not {base}",
            hint=f"leave --base out, or change base in {folder.path / PROJECT_FILE}",
        )
    named = base or folder.base
    if named is None:
        raise RequestError("which base model?", hint=f'write base = "..." into {PROJECT_FILE}, or say --base MODEL')
    given, texts = take_given(project.patches, folder.path)
    for source, text in zip(given, filter(is_path, project.patches), strict=True):
        _refuse_other_name(source, text)
    requirements = [parse_requirement(text) for text in texts]
    offer = Joined([*given, *sources_of(named, project, options.find_links)])
    names = [requirement.name for requirement in requirements]
    here = project.base if project.base is not None and Path(project.base).is_dir() else None
    locked = look_up_base(named, offer, names, folder=here, known=previous.base if previous else None)
    kept = {p.name: Version(p.version) for p in previous.packages} if previous else {}
    if previous is None or previous.base.fingerprint != locked.fingerprint:
        kept = {}
    raised = upgrade_order(texts, kept) if upgrade is None else [parse_name(name) for name in upgrade]
    for name in raised:
        if name not in kept:
            hint = did_you_mean(name, kept, f"locked are {', '.join(kept)}" if kept else "nothing is locked yet")
            raise RequestError(f"{name} is not locked", hint=hint)
    # What is raised is chosen as if it had never been locked: a version that was yanked since is let go.
    rules = rules_for(project, options, {name: kept[name] for name in kept if name not in raised}, ())
    resolution = resolve(
        requirements,
        offer,
        fingerprint=locked.fingerprint,
        base_name=named,
        rules=rules,
        raised=raised,
    )
    strategy = options.strategy or project.strategy or DEFAULT_STRATEGY
    lock = Lock(
        schema=1,
        base=locked,
        requirements=project.patches,
        strategy=folder.shown(strategy),
        strategy_digest=read_strategy(strategy).digest,
        packages=_packages(resolution.pins, folder),
        overrides=tuple(requirement.text for requirement in resolution.overrides),
    )
    if previous is not None and _same_inputs(previous, lock):  # however they are asked for
        lock = replace(lock, composition=previous.composition)
    notes = [yanked_note(pin.release) for pin in resolution.pins if pin.release.yanked is not None]
    notes += [OUT_OF_TIME] if resolution.timed_out else []
    listed, used = {Path(source).resolve() for source in project.sources}, {p.release.source for p in resolution.pins}
    for link in options.find_links:
        if str(link) in used and link.resolve() not in listed:
            notes.append(f"{link} is none of the sources in {PROJECT_FILE}, and the next lock needs it too")
    return Locked(lock, previous, tuple(notes))


def _refuse_other_name(source: Source, text: str) -> None:
    """Raises RequestError for a package file under a name that is not its own: a lock could not lead to it."""
    [release] = (c for name in source.names(None) for c in source.named(name) if c.name == name)
    if Path(text).name != release.file_name:
        raise RequestError(
            f"is {release.pin}, and has another file name", context=text, hint=f"call it {release.file_name}"
        )


def asks_nothing() -> RequestError:
    """What to say of a project without patches."""
    return RequestError(
        f"{PROJECT_FILE} asks for no patch",
        hint="for example: ppm add toxicity; `ppm uninstall` removes what is deployed",
    )


def _same_inputs(one: Lock, other: Lock) -> bool:
    """Whether a composition of the one is a composition of the other."""
    keys = [(lock.base.fingerprint, lock.strategy_digest, {p.sha256 for p in lock.packages}) for lock in (one, other)]
    return keys[0] == keys[1]


def _packages(pins: Sequence[Pin], folder: ProjectFolder) -> tuple[LockedPackage, ...]:
    return tuple(
        LockedPackage(
            pin.release.name,
            str(pin.release.version),
            pin.release.file_name,
            pin.release.sha256,
            folder.shown(pin.release.source),
            requested=pin.requested,
            dependencies=tuple(p.release.name for p in pins if pin.release.name in p.required_by),
        )
        for pin in pins
    )


def changes(old: Lock | None, new: Lock) -> list[str]:
    """What differs between two locks, one change a line."""
    before, after = ({p.name: p for p in lock.packages} if lock else {} for lock in (old, new))
    lines = [f"+ {after[name].pin}" for name in sorted(set(after) - set(before))]
    lines += [f"- {before[name].pin}" for name in sorted(set(before) - set(after))]
    for name in sorted(set(before) & set(after)):
        if before[name].version != after[name].version:
            lines.append(f"~ {name} {before[name].version} -> {after[name].version}")
        elif before[name].sha256 != after[name].sha256:
            lines.append(f"~ {name} {after[name].version}, another file")
    return lines


def add_to_project(
    start: Path,
    requirements: Sequence[str],
    options: Options,
    base: str | None,
    command: str,
    tell: Callable[[str], None],
) -> Locked:
    """Write requirements into ppm.toml, in place of those on the same names, and lock anew; both files or neither.

    The folders of --find-links become sources of the project: without them it could not be locked again. Makes a
    ppm.toml in `start` when there is none here or above, for which `base` is needed. Raises PpmError.
    """
    path = Project.locate(start)
    if path is None and base is None:
        raise RequestError("which base model?", hint="say --base MODEL: there is no ppm.toml yet")
    target = path or start / PROJECT_FILE
    texts = [os.path.relpath(expand(text), target.parent) if is_path(text) else text for text in requirements]
    wanted = {_name(text) for text in texts}

    def change(table: Any) -> None:
        if base is not None:  # as seen from the file
            near = Path(base).is_dir() and base not in LAB_BASES
            table["base"] = os.path.relpath(base, target.parent) if near else base
        _exchange(table, wanted, texts)
        known = {(target.parent / expand(str(source))).resolve() for source in table.get("sources", ())}
        for folder in options.find_links:
            if folder.resolve() not in known:
                table.setdefault("sources", tomlkit.array()).append(os.path.relpath(folder, target.parent))
                known.add(folder.resolve())

    return _edit(target, change, replace(options, find_links=()), command, tell)


def remove_from_project(
    start: Path, names: Sequence[str], options: Options, command: str, tell: Callable[[str], None]
) -> Locked:
    """Take patches out of ppm.toml, and lock anew; both files or neither. Raises PpmError."""
    folder = ProjectFolder.find(start)
    asked = [_name(text) for text in folder.project.patches]
    gone = [parse_name(name) for name in names]
    for name in gone:
        if name not in asked:
            otherwise = f"it asks for {', '.join(folder.project.patches) or 'nothing'}"
            near = did_you_mean(name, [known for known in asked if known], otherwise)
            raise RequestError(f"{PROJECT_FILE} does not ask for {name}", hint=near)

    def change(table: Any) -> None:
        _exchange(table, {*gone}, ())

    return _edit(folder.path / PROJECT_FILE, change, options, command, tell)


def _name(text: str) -> str | None:
    """The name that a requirement is on; of a package file's path as its file name says, None when that says none."""
    if not is_path(text):
        return parse_requirement(text).name
    parts = parse_file_name(Path(text).name)
    return parts[0] if parts else None


def _exchange(table: Any, names: set[str | None], requirements: Sequence[str]) -> None:
    """In the file's own list, with its comments: each new requirement in the place of the first on its name.

    The order is that of the specialists in the composition. Others on these names go.
    """
    if "patches" not in table:
        table["patches"] = tomlkit.array()
    patches = table["patches"]
    new: dict[str | None, list[str]] = {}
    for text in requirements:
        new.setdefault(_name(text), []).append(text)
    place = {_name(str(text)): index for index, text in reversed(list(enumerate(patches)))}
    for index in reversed(range(len(patches))):
        name = _name(str(patches[index]))
        if name not in names:
            continue
        if place[name] == index and name in new:
            patches[index], *more = new.pop(name)
            for text in reversed(more):
                patches.insert(index + 1, text)
        else:
            del patches[index]
    for texts in new.values():
        for text in texts:
            patches.append(text)


def _edit(
    path: Path, change: Callable[[Any], None], options: Options, command: str, tell: Callable[[str], None]
) -> Locked:
    """Change ppm.toml and lock anew; nothing is written when that fails."""
    with _alone(path.parent, command, tell):
        return _edit_alone(path, change, options)


def _edit_alone(path: Path, change: Callable[[Any], None], options: Options) -> Locked:
    before = path.read_bytes() if path.is_file() else b""
    ProjectFolder.of(document.parse(before, str(path)), path)  # whatever is wrong with it is said before it is changed
    table = tomlkit.parse(before.decode())
    change(table)
    text = tomlkit.dumps(table)
    folder = ProjectFolder.of(document.parse(text, str(path)), path)
    previous = folder.lock()
    found = lock_project(folder, options) if folder.project.patches else Locked(None, previous)
    if found.lock is not None:
        folder.write_lock(found.lock)
    try:
        with disk_errors("can't be written", path):
            replace_file(path.resolve(), text.encode(), alone=True)
    except BaseException:
        if previous is not None:
            folder.write_lock(previous)
        else:
            folder.lock_path.unlink(missing_ok=True)
        raise
    if found.lock is None:
        folder.lock_path.unlink(missing_ok=True)
    return found
