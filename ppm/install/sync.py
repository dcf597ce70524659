"""Bringing an environment to the exact state of a ppm.lock: the same files, and the very same composition."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ppm.base import BaseModel, weights_digest
from ppm.disk import disk_errors, make_folder, replace_file
from ppm.environment.deployment import Deployment, Environment
from ppm.environment.holds import refuse_held
from ppm.environment.store import Store
from ppm.environment.transaction import writer
from ppm.errors import EnvironmentStateError, IntegrityError, ModelError, PackageError, RequestError
from ppm.install.current import is_whole
from ppm.install.fetch import PackageSource, is_path, releases_of, sources_of
from ppm.install.install import InstallResult, deploy_composition, gates_digest, install
from ppm.install.lock import ProjectFolder, asks_nothing
from ppm.install.plan import Plan, rules_for
from ppm.install.request import Options
from ppm.lock import LOCK_FILE, Lock, LockedBase
from ppm.names import exact_pin, expand
from ppm.package import Package, read_bounded, read_package, sha256
from ppm.progress import Events
from ppm.project import PROJECT_FILE
from ppm.resolve import Pin, Rules, faults, parse_requirement
from ppm.sources import DirectorySource, Joined

if TYPE_CHECKING:
    from ppm.audit.model import Audit

__all__ = ["AUDIT_SUFFIX", "Synced", "export", "sync"]

AUDIT_SUFFIX = ".audit.json"
"""What a composition's audit is called beside its package file: the file's name and this."""


@dataclass(frozen=True)
class Synced:
    """What a sync did. `composed` is the result of composing anew, where that was needed."""

    deployment: Deployment
    packages: tuple[Package, ...]
    changed: bool
    composed: InstallResult | None = None


def sync(
    folder: ProjectFolder,
    base: BaseModel,
    environment: Environment,
    *,
    command: str,
    find_links: Sequence[Path] = (),
    recompose: bool = False,
    seed: int | None = None,
    accept: Sequence[str] = (),
    reason: str = "",
    events: Events = Events(),  # noqa: B008 - frozen, and does nothing
) -> Synced:
    """Deploy exactly what is locked. A lock without a composition gets one: it is made, tested and written into it.

    Every file comes from the store or a source and is checked against the lock. Raises IntegrityError when one is not
    to be had as locked, RequestError when the lock does not answer the project any more or a hold is in the way, and
    GateFailed or GateInconclusive as `install` does.
    """
    lock = _current_lock(folder)
    if base.fingerprint != lock.base.fingerprint:
        raise ModelError(
            f"is not the base model that was locked ({lock.base.model}, {lock.base.fingerprint[:19]}...)",
            context=base.name,
            hint="get the locked model, or run `ppm lock` for this one",
        )
    sources = _sources(folder, lock, find_links)
    packages = _packages(lock, environment.store, sources)
    _check_rules(folder, lock, packages)
    if lock.composition is None or recompose:
        return _compose(folder, lock, packages, base, environment, command, events, recompose, seed, accept, reason)
    made = lock.composition
    with writer(environment, command=command, tell=events.tell) as held:
        previous = _whole(environment)
        refuse_held(environment, lock, LOCK_FILE)
        plan = _plan(folder, lock, packages, base, environment, previous)
        _check_still_tested(lock, plan)
        for package in packages:
            environment.store.put(package.data)
        target = _as_deployed(folder, lock, packages, base)
        if previous is not None and previous.lock == target:
            return Synced(previous, packages, changed=False)
        data = _take(made.sha256, made.file, environment.store, sources, made=True)
        audit_name = f"{made.file}{AUDIT_SUFFIX}" if made.file else None
        audit_data = _take(made.audit, audit_name, environment.store, sources, made=True)
        composition = read_package(data, origin=made.file or "the composition", expected_sha256=made.sha256)
        audit = _check_composition(composition, audit_data, packages, plan)
        for content in (data, audit_data):
            environment.store.put(content)
        deployment = deploy_composition(held, plan, target, composition, audit)
    return Synced(deployment, packages, changed=True)


def _whole(environment: Environment) -> Deployment | None:
    """What is in force; None when it is damaged: what is locked then takes its place as on the first day."""
    try:
        current = environment.current()
        return current if current is not None and is_whole(current, environment.store) else None
    except (IntegrityError, EnvironmentStateError):
        return None


def export(folder: ProjectFolder, store: Store, target: Path, find_links: Sequence[Path] = ()) -> list[Path]:
    """Write every file that a lock names into a folder, from which another machine can sync. Raises PpmError."""
    lock = _current_lock(folder)
    sources = _sources(folder, lock, find_links)
    packages = _packages(lock, store, sources)
    _check_rules(folder, lock, packages)
    contents = {package.file_name: package.data for package in packages}
    made = lock.composition
    if made is not None and made.file is not None:
        contents[made.file] = _take(made.sha256, made.file, store, sources, made=True)
        audit_name = f"{made.file}{AUDIT_SUFFIX}"
        contents[audit_name] = _take(made.audit, audit_name, store, sources, made=True)
    with disk_errors("can't be written to", target):
        make_folder(target)
        for name, data in contents.items():
            replace_file(target / name, data)
    return [target / name for name in contents]


def _current_lock(folder: ProjectFolder) -> Lock:
    if not folder.project.patches:
        raise asks_nothing()
    lock = folder.lock()
    if lock is None:
        raise RequestError(f"there is no {LOCK_FILE}", context=str(folder.path), hint="run `ppm lock` first")
    stale = folder.stale(lock)
    if stale:
        raise RequestError(f"is out of date: {stale}", context=str(folder.lock_path), hint="run `ppm lock`")
    return lock


def _sources(folder: ProjectFolder, lock: Lock, find_links: Sequence[Path]) -> list[DirectorySource]:
    """Those of an install, and the folders of package files that the project names by their paths."""
    files = [folder.path / expand(text) for text in folder.project.patches if is_path(text)]
    own = [DirectorySource(path.parent) for path in files if path.parent.is_dir()]
    for path in find_links:
        DirectorySource(path).names(None)  # which says so when it can't be read
    return [*sources_of(lock.base.model, folder.project, find_links), *own]


def _as_deployed(folder: ProjectFolder, lock: Lock, packages: tuple[Package, ...], base: BaseModel) -> Lock:
    """The lock as an environment keeps it, which knows nothing of the project's folder."""
    locked = tuple(replace(package, source=folder.meant(package.source)) for package in lock.packages)
    strategy = folder.meant(lock.strategy) if lock.strategy else None
    return replace(
        lock,
        base=LockedBase(base.name, base.fingerprint, base.revision),
        requirements=_pinned(lock, packages),
        packages=locked,
        strategy=strategy,
    )


def _pinned(lock: Lock, packages: tuple[Package, ...]) -> tuple[str, ...]:
    """The requirements as an environment keeps them: a package file that was named by its path as its pin."""
    pins = {package.file_name: exact_pin(package.manifest.name, package.manifest.version) for package in packages}
    return tuple(pins.get(Path(text).name, text) if is_path(text) else text for text in lock.requirements)


def _take(
    digest: str, name: str | None, store: Store, sources: Sequence[DirectorySource], *, made: bool = False
) -> bytes:
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
        path = source.path / str(name)
        if path.is_file():
            with suppress(PackageError, IntegrityError):  # it can't be read, or is too large to be it
                data = read_bounded(path, str(path))
                if sha256(data) == digest:
                    return data
            other.append(source.location)
    where = f"{' and '.join(other)} has another file of that name" if other else "neither the store nor a source has it"
    if damaged:
        where = "what the store has is damaged" + (f", and {where}" if other else "")
    hint = "name the folder that has it with --find-links DIR: `ppm download --locked` fills one where the files are"
    if other:
        mend = "restore ppm.lock" + ("" if made else ", or run `ppm lock` if the file that is there is the right one")
        hint = f"{mend}; else {hint}"
    raise IntegrityError(
        f"is locked with the SHA-256 {digest[:12]}..., and {where}",
        context=name or digest,
        hint=f"{hint}; `ppm sync --recompose` makes it anew" if made else hint,
    )


def _packages(lock: Lock, store: Store, sources: Sequence[DirectorySource]) -> tuple[Package, ...]:
    found = []
    for locked in lock.packages:
        data = _take(locked.sha256, locked.file, store, sources)
        package = read_package(data, origin=locked.file, expected_sha256=locked.sha256)
        if (package.manifest.pin, package.file_name) != (locked.pin, locked.file):
            raise IntegrityError(
                f"is {package.manifest.pin}, and locked as {locked.pin}",
                context=locked.file,
                hint="the lock was changed by hand: run `ppm lock`",
            )
        found.append(package)
    return tuple(found)


def _check_rules(folder: ProjectFolder, lock: Lock, packages: tuple[Package, ...]) -> None:
    """Whether the locked patches go together.

    Raises RequestError when ppm.toml limits them otherwise by now, IntegrityError for a lock that ppm did not write.
    """
    requirements = [parse_requirement(text) for text in lock.requirements if not is_path(text)]
    # When a file came into its source was settled when it was locked.
    rules = rules_for(replace(folder.project, exclude_newer=None), Options(), {}, ())
    wrong = faults(releases_of(packages), requirements, lock.base.fingerprint, rules)
    bare = Rules(overrides=[parse_requirement(text) for text in lock.overrides])
    if wrong and not faults(releases_of(packages), requirements, lock.base.fingerprint, bare):
        raise RequestError(
            f"is out of date: by {PROJECT_FILE}, {'; '.join(wrong)}",
            context=str(folder.lock_path),
            hint="run `ppm lock`",
        )
    if wrong:
        raise IntegrityError(
            f"locks patches that do not go together: {'; '.join(wrong)}",
            context=LOCK_FILE,
            hint="it was changed by hand: run `ppm lock`",
        )


def _plan(
    folder: ProjectFolder,
    lock: Lock,
    packages: tuple[Package, ...],
    base: BaseModel,
    environment: Environment,
    previous: Deployment | None,
) -> Plan:
    """The lock as what an install would do."""
    target = _as_deployed(folder, lock, packages, base)
    by_source: dict[str, list[Package]] = {}
    for locked, package in zip(target.packages, packages, strict=True):
        by_source.setdefault(locked.source, []).append(package)
    sources = [PackageSource(location, found) for location, found in by_source.items()]
    offer = Joined(sources)
    order = {parse_requirement(text).name: i for i, text in enumerate(target.requirements)}
    pins = [
        Pin(
            offer.named(locked.name)[0],
            locked.requested,
            tuple(sorted(other.name for other in lock.packages if locked.name in other.dependencies)),
        )
        for locked in lock.packages
    ]
    pins.sort(key=lambda pin: order.get(pin.release.name, len(order)))
    return Plan(
        base,
        environment,
        target.requirements,
        tuple(pins),
        tuple(sources),
        str(target.strategy),
        previous,
        folder.project,
        overrides=lock.overrides,
    )


def _check_still_tested(lock: Lock, plan: Plan) -> None:
    """Raises RequestError when the composition was tested under another policy, or on other weights."""
    made = lock.composition
    assert made is not None
    what = None
    if made.gates != gates_digest(plan):
        what = "another policy ([gates] or the base's suites)"
    elif made.weights_digest != weights_digest(plan.base.folder):
        what = "other weights of the base model"
    if what:
        raise RequestError(
            f"the locked composition was tested under {what}",
            context=LOCK_FILE,
            hint="make and test it anew with --recompose",
        )


def _check_composition(composition: Package, audit_data: bytes, packages: tuple[Package, ...], plan: Plan) -> "Audit":
    """Its audit. Raises IntegrityError when it is not made of the locked patches, or did not pass.

    The audit must be of this very prefix, and of every suite that an install would run.
    """
    from ppm.audit.model import Audit
    from ppm.evaluation.suites import base_suites, package_suites, policy_suites

    made = composition.manifest.composition
    origin = composition.file_name
    if (
        made is None
        or {c.sha256 for c in made.components} != {p.sha256 for p in packages}
        or composition.manifest.base.fingerprint != plan.base.fingerprint
    ):
        raise IntegrityError("is not made of the locked patches", context=origin, hint="run `ppm sync --recompose`")
    audit = Audit.parse(audit_data, f"{origin}{AUDIT_SUFFIX}")
    if not audit.may_deploy:
        raise IntegrityError(f"did not pass its tests: {audit.verdict}", context=origin)
    own = [suite for path in plan.project.gates.suites for suite in policy_suites(Path(path))]
    tested = {suite.digest for suite in audit.suites.values()}
    untested = [
        s.label for s in (*package_suites(packages), *base_suites(plan.base.folder), *own) if s.digest not in tested
    ]
    if audit.prefix != f"sha256:{composition.bank.digest}" or untested:
        what = f"says nothing of {', '.join(untested)}" if untested else "is of another composition"
        raise IntegrityError(f"{what}", context=f"{origin}{AUDIT_SUFFIX}", hint="run `ppm sync --recompose`")
    return audit


def _compose(
    folder: ProjectFolder,
    lock: Lock,
    packages: tuple[Package, ...],
    base: BaseModel,
    environment: Environment,
    command: str,
    events: Events,
    recompose: bool,
    seed: int | None,
    accept: Sequence[str],
    reason: str,
) -> Synced:
    """Compose, test and deploy the locked patches, unless they are deployed already; the lock notes the composition."""

    def make_plan() -> Plan:
        previous = environment.current()
        refuse_held(environment, lock, LOCK_FILE)
        return _plan(folder, lock, packages, base, environment, previous)

    result = install(
        make_plan,
        environment,
        command=command,
        seed=seed,
        accept=accept,
        reason=reason,
        force=recompose,
        events=events,
    )
    locked = replace(lock, composition=result.deployment.lock.composition)
    with folder.alone(command, events.tell):
        now = folder.lock()
        if now not in (lock, locked):  # another sync of the same lock may have been faster
            raise RequestError(
                f"changed while its patches were composed; deployment {result.deployment.number} is in force",
                context=str(folder.lock_path),
                hint="run `ppm sync` again for what it names now",
            )
        if now != locked:
            folder.write_lock(locked)
    return Synced(result.deployment, packages, result.changed, result)
