"""ppm.lock from ppm.toml: the exact files that answer what a project asks for. Needs no model in memory."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.version import Version

from ppm.base import BaseModel
from ppm.composition.strategy import read_strategy
from ppm.errors import ModelError, RequestError, did_you_mean
from ppm.install.derived import accept
from ppm.install.fetch import take_given
from ppm.install.folder import ProjectFolder, asks_nothing
from ppm.install.pinned import check_publishers, locked_packages
from ppm.install.plan import DEFAULT_STRATEGY, OUT_OF_TIME, upgrade_order, yanked_note
from ppm.install.request import Request
from ppm.install.start import newest_as_asked, rules_for
from ppm.lock import Lock, LockedBase, Selection
from ppm.project import PROJECT_FILE
from ppm.requirement import Requirement, parse_name
from ppm.resolve import Resolution, resolve
from ppm.running import Dtype
from ppm.sources import Joined, Source
from ppm.workspace import Workspace, look_up_base, open_base

__all__ = ["Locked", "changes", "lock_project", "update_lock"]


@dataclass(frozen=True)
class Locked:
    """A project's lock, the one before, and what to know of the choice; None where there is no lock."""

    lock: Lock | None
    before: Lock | None
    notes: tuple[str, ...] = ()


def update_lock(
    workspace: Workspace,
    request: Request,
    *,
    base: str | None,
    upgrade: Sequence[str] | None,
    command: str,
    tell: Callable[[str], None],
) -> Locked:
    """Lock the project that the workspace is in. See `lock_project`."""
    with ProjectFolder.find(workspace).exclusive(command, tell):
        folder = ProjectFolder.find(workspace)  # as whoever had it before left it
        found = lock_project(folder, request, base=base, upgrade=upgrade)
        if found.lock is not None and found.lock != found.before:
            folder.write_lock(found.lock)
    return found


def lock_project(
    folder: ProjectFolder, request: Request, *, base: str | None = None, upgrade: Sequence[str] | None = ()
) -> Locked:
    """The lock that answers a project. What is locked stays, but for the names to `upgrade`.

    `upgrade` None raises everything. Nothing is written. Raises PpmError.
    """
    project, previous = folder.project, folder.lock()
    if not project.patches:
        raise asks_nothing()
    named = _named_base(folder, base)
    given, requirements = take_given(project.patches, folder.path, folder.workspace.access)
    for source, asked in zip(given, (r for r in project.patches if r.is_file), strict=True):
        _refuse_other_name(source, asked.text)
    sources = [*given, *folder.workspace.sources(named, (*request.find_links, *project.sources))]
    offer = Joined(sources)
    here = project.base if project.base is not None and Path(project.base).is_dir() else None
    names = [requirement.name for requirement in requirements]
    locked = look_up_base(named, offer, names, folder=here, known=previous.base if previous else None)
    kept = {p.name: Version(p.version) for p in previous.packages} if previous else {}
    if previous is None or previous.base.fingerprint != locked.fingerprint:
        kept = {}
    raised = _raised(upgrade, requirements, kept)
    known = previous.base.derived_from if previous is not None and kept else ()
    accepted = accept(names, offer, sources, replace(locked, derived_from=known), _at_hand(here or named))
    with accepted.saying_why(requirements, sources):
        resolution = resolve(
            requirements,
            accepted.offer,
            fingerprint=locked.fingerprint,
            base_name=named,
            # What is raised is chosen as if it had never been locked: a version that was yanked since is let go.
            rules=rules_for(project, request, {name: kept[name] for name in kept if name not in raised}),
            raised=raised,
        )
    before = previous.packages if previous is not None else ()
    check_publishers(folder.workspace.home, before, resolution.pins)
    strategy = request.strategy or project.strategy or DEFAULT_STRATEGY
    newest, newest_of = newest_as_asked(project, request)
    selection = Selection(
        base=accepted.locked(resolution.pins),
        requirements=project.patches,
        strategy=folder.shown(strategy),
        strategy_digest=read_strategy(strategy).digest,
        packages=locked_packages(resolution.pins, lambda release: folder.shown(release.source), before),
        overrides=tuple(resolution.overrides),
        dtype=_dtype(request, previous, locked),
        exclude_newer=newest,
        exclude_newer_package=newest_of,
    )
    same = previous is not None and _same_inputs(previous, selection)  # however they are asked for
    # On another base, answers are others, and so are the attempts.
    counted = previous.attempts if previous and previous.base.fingerprint == locked.fingerprint else {}
    lock = Lock.of(selection, previous.composition if previous is not None and same else None, counted)
    return Locked(lock, previous, tuple(_notes(folder, request, resolution)))


def _at_hand(named: str) -> BaseModel | None:
    """A base model, if it is on this machine."""
    try:
        return open_base(named, fetch=False)
    except ModelError:
        return None


def _named_base(folder: ProjectFolder, base: str | None) -> str:
    """The base model that the command or the project names. Raises RequestError: none, or another."""
    if base is not None and folder.base not in (None, base):
        raise RequestError(
            f"{PROJECT_FILE} names the base model {folder.base}, not {base}",
            hint=f"leave --base out, or change base in {folder.path / PROJECT_FILE}",
        )
    named = base or folder.base
    if named is None:
        raise RequestError("which base model?", hint=f'write base = "..." into {PROJECT_FILE}, or use --base MODEL')
    return named


def _dtype(request: Request, previous: Lock | None, base: LockedBase) -> Dtype | None:
    """What was asked for by its name, else what is locked for the same base: no model is at hand to measure."""
    if request.running.named is not None:
        return request.running.recorded
    return previous.dtype if previous is not None and previous.base.fingerprint == base.fingerprint else None


def _raised(
    upgrade: Sequence[str] | None, requirements: Sequence[Requirement], kept: Mapping[str, Version]
) -> list[str]:
    """The names to raise, in order. Raises RequestError for one that is not locked."""
    if upgrade is None:
        return upgrade_order(requirements, kept)
    names = [parse_name(name) for name in upgrade]
    for name in names:
        if name not in kept:
            hint = did_you_mean(
                name, kept, f"locked patches are {', '.join(kept)}" if kept else "nothing is locked yet"
            )
            raise RequestError(f"{name} is not locked", hint=hint)
    return names


def _notes(folder: ProjectFolder, request: Request, resolution: Resolution) -> Iterator[str]:
    """What to know of the choice."""
    yield from (yanked_note(pin.release) for pin in resolution.pins if pin.release.yanked is not None)
    if resolution.timed_out:
        yield OUT_OF_TIME
    listed = {Path(source).resolve() for source in folder.project.sources}
    used = {pin.release.source for pin in resolution.pins}
    for link in request.find_links:
        if str(link) in used and link.resolve() not in listed:
            yield f"{link} is not among the sources in {PROJECT_FILE}, but the next `ppm lock` needs it too"


def _refuse_other_name(source: Source, text: str) -> None:
    """Raises RequestError for a package file under a name that is not its own: a lock could not lead to it."""
    [release] = (c for name in source.names(None) for c in source.named(name) if c.name == name)
    if Path(text).name != release.file_name:
        raise RequestError(
            f"holds {release.pin}, but its file name says otherwise",
            context=text,
            hint=f"rename it to {release.file_name}",
        )


def _same_inputs(one: Selection, other: Selection) -> bool:
    """Whether a composition of the one is a composition of the other."""
    keys = [(chosen.base.fingerprint, chosen.strategy_digest, chosen.dtype, chosen.files) for chosen in (one, other)]
    return keys[0] == keys[1]


def changes(old: Lock | None, new: Lock) -> list[str]:
    """What differs between two locks, one change a line."""
    before, after = ({p.name: p for p in lock.packages} if lock else {} for lock in (old, new))
    lines = [f"+ {after[name].pin}" for name in sorted(set(after) - set(before))]
    lines += [f"- {before[name].pin}" for name in sorted(set(before) - set(after))]
    for name in sorted(set(before) & set(after)):
        if before[name].version != after[name].version:
            lines.append(f"~ {name} {before[name].version} -> {after[name].version}")
        elif before[name].sha256 != after[name].sha256:
            lines.append(f"~ {name} {after[name].version}, a different file")
    if old is not None and old.dtype != new.dtype:
        lines.append(f"~ dtype {old.running().dtype} -> {new.running().dtype}")
    return lines
