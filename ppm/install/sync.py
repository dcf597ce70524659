"""Deploying what a project has locked: the very patches and the very composition, or a first composition of them."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ppm.base import BaseModel, weights_digest
from ppm.environment.deployment import Deployment, Environment
from ppm.environment.holds import refuse_held
from ppm.environment.transaction import writer
from ppm.errors import EnvironmentStateError, IntegrityError, RequestError
from ppm.install.advisories import NONE_FOUND, Found
from ppm.install.current import is_whole, policy_digest
from ppm.install.deploy import deploy_composition
from ppm.install.folder import ProjectFolder
from ppm.install.install import InstallResult, Terms, install, with_advisories, with_consent
from ppm.install.locked import AUDIT_SUFFIX, LockedFiles, open_locked
from ppm.install.plan import Plan
from ppm.lock import LOCK_FILE, Lock, LockedBase, Selection
from ppm.package import Package, read_package
from ppm.progress import Events
from ppm.requirement import Requirement, exactly
from ppm.running import UNSAID, Running

if TYPE_CHECKING:
    from ppm.audit.model import Audit

__all__ = ["Synced", "sync"]


@dataclass(frozen=True)
class Synced:
    """What a sync did. `composed` is the result of composing anew, where that was needed.

    `removed` are the pins of patches that were deployed, and that the lock names in no version. `advised` are the
    advisories in force on the patches.
    """

    deployment: Deployment
    packages: tuple[Package, ...]
    changed: bool
    composed: InstallResult | None = None
    removed: tuple[str, ...] = ()
    advised: Found = NONE_FOUND


@dataclass(frozen=True)
class _Target:
    """What is to be synced to where."""

    folder: ProjectFolder
    files: LockedFiles
    base: BaseModel
    environment: Environment
    selection: Selection
    """As an environment keeps it, which knows nothing of the project's folder."""
    limits: Running = UNSAID

    def plan(self, previous: Deployment | None) -> Plan:
        """The lock as what an install would do."""
        asked = [requirement.name for requirement in self.selection.requirements]
        names = [package.manifest.name for package in self.files.packages]
        order = tuple(sorted(names, key=lambda name: asked.index(name) if name in asked else len(asked)))
        gates = self.folder.project.gates
        return Plan(
            self.base,
            self.environment,
            self.selection,
            order,
            previous,
            gates,
            sources=self.files.sources,
            packages=self.files.packages,
            limits=self.limits,
            project=self.files.lock,
        )


def sync(
    folder: ProjectFolder,
    base: BaseModel,
    environment: Environment,
    terms: Terms = Terms(),  # noqa: B008 - frozen
    *,
    command: str,
    find_links: Sequence[Path] = (),
    limits: Running = UNSAID,
    events: Events = Events(),  # noqa: B008 - frozen, and does nothing
) -> Synced:
    """Deploy exactly what is locked. A lock without a composition gets one: it is made, tested and written into it.

    Every file comes from the store or a source and is checked against the lock. With `force` in the terms the
    composition is made anew. Raises IntegrityError when a file can't be found as it was locked, RequestError when the
    lock does not answer the project any more or a hold is in the way, and GateFailed or GateInconclusive as `install`
    does.
    """
    files = open_locked(folder, find_links, base=base)
    target = _Target(folder, files, base, environment, _as_deployed(folder, files, base), limits)
    if files.lock.composition is None or terms.force:
        return _compose(target, terms, command, events)
    return _deploy_locked(target, terms, command, events)


def _deploy_locked(target: _Target, terms: Terms, command: str, events: Events) -> Synced:
    """Put the locked composition in force, if it was tested under the policy and on the weights that are there now."""
    files, environment = target.files, target.environment
    lock = Lock.of(target.selection, files.lock.composition, files.lock.attempts)
    timeout = target.folder.workspace.lock_timeout
    with writer(environment, command=command, timeout=timeout, tell=events.tell) as held:
        previous = _whole(environment)
        refuse_held(environment, files.lock, LOCK_FILE)
        plan = target.plan(previous)
        _check_still_tested(files.lock, plan)
        plan = with_consent(with_advisories(plan), terms, events)
        for package in files.packages:
            environment.store.put(package.data)
        if previous is not None and previous.lock == lock:
            return Synced(previous, files.packages, changed=False, advised=plan.advised)
        data, audit_data = files.composition()
        assert lock.composition is not None
        origin = lock.composition.file or "the composition"
        composition = read_package(data, origin=origin, expected_sha256=lock.composition.sha256)
        audit = _check_composition(composition, audit_data, files.packages, plan)
        for content in (data, audit_data):
            environment.store.put(content)
        removed = _dropped(environment, lock)
        if removed:
            events.tell(f"Removes {', '.join(removed)}, which {LOCK_FILE} doesn't name")
        deployment = deploy_composition(held, plan, lock, composition, audit)
    return Synced(deployment, files.packages, changed=True, removed=removed, advised=plan.advised)


def _dropped(environment: Environment, lock: Lock) -> tuple[str, ...]:
    """The pins of patches that are deployed, and that a lock names in no version; none where damage hides them."""
    kept = {package.name for package in lock.packages}
    with suppress(IntegrityError, EnvironmentStateError):
        current = environment.current()
        if current is not None:
            return tuple(package.pin for package in current.lock.packages if package.name not in kept)
    return ()


def _whole(environment: Environment) -> Deployment | None:
    """What is in force; None when it is damaged: what is locked then takes its place as on the first day."""
    try:
        current = environment.current()
        return current if current is not None and is_whole(current, environment.store) else None
    except (IntegrityError, EnvironmentStateError):
        return None


def _as_deployed(folder: ProjectFolder, files: LockedFiles, base: BaseModel) -> Selection:
    """The selection as an environment keeps it, which knows nothing of the project's folder."""
    lock = files.lock
    return Selection(
        base=LockedBase(base.name, base.fingerprint, base.revision, lock.base.derived_from),
        requirements=tuple(_pinned(requirement, files.packages) for requirement in lock.requirements),
        strategy=folder.meant(lock.strategy) if lock.strategy else None,
        strategy_digest=lock.strategy_digest,
        packages=tuple(replace(package, source=folder.meant(package.source)) for package in lock.packages),
        overrides=lock.overrides,
        dtype=lock.dtype,
        exclude_newer=lock.exclude_newer,
        exclude_newer_package=lock.exclude_newer_package,
    )


def _pinned(requirement: Requirement, packages: Sequence[Package]) -> Requirement:
    """A package file that was asked for by its path as its exact pin; else the requirement itself."""
    named = Path(requirement.text).name if requirement.is_file else ""
    found = next((package.manifest for package in packages if package.file_name == named), None)
    return exactly(found.name, found.version) if found is not None else requirement


def _check_still_tested(lock: Lock, plan: Plan) -> None:
    """Raises RequestError when the composition was tested under another policy, or on other weights."""
    made = lock.composition
    assert made is not None
    what = None
    if made.gates != policy_digest(plan.policy, plan.base):
        what = "a different policy ([gates] or the base's suites)"
    elif made.weights_digest != weights_digest(plan.base.folder):
        what = "different weights of the base model"
    if what:
        raise RequestError(
            f"the locked composition was tested under {what}",
            context=LOCK_FILE,
            hint="compose and test it again with --recompose",
        )


def _check_composition(composition: Package, audit_data: bytes, packages: tuple[Package, ...], plan: Plan) -> "Audit":
    """Its audit. Raises IntegrityError when it is not made of the locked patches, or did not pass.

    The audit must be of this very prefix, and of every suite that an install would run.
    """
    from ppm.audit.model import Audit
    from ppm.evaluation.suites import base_suites, package_suites, policy_suites, with_more
    from ppm.lab.prompts import as_tested

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
    own = [suite for path in plan.policy.suites for suite in policy_suites(Path(path))]
    tested = {suite.digest for suite in audit.suites.values()}
    known = [*package_suites(packages), *base_suites(plan.base.folder), *own]
    then = as_tested(with_more(known, plan.policy.more_prompts), tested)
    untested = [suite.label for suite in then if suite.digest not in tested]
    if audit.prefix != f"sha256:{composition.bank.digest}" or untested:
        what = f"does not cover {', '.join(untested)}" if untested else "belongs to a different composition"
        raise IntegrityError(f"{what}", context=f"{origin}{AUDIT_SUFFIX}", hint="run `ppm sync --recompose`")
    return audit


def _compose(target: _Target, terms: Terms, command: str, events: Events) -> Synced:
    """Compose, test and deploy the locked patches, unless they are deployed already; the lock notes the composition."""
    lock, folder = target.files.lock, target.folder

    def make_plan() -> Plan:
        previous = target.environment.current()
        refuse_held(target.environment, lock, LOCK_FILE)
        return target.plan(previous)

    timeout = folder.workspace.lock_timeout
    removed = list[str]()

    def planned(plan: Plan) -> None:
        removed.extend(_dropped(target.environment, lock))
        if removed:
            events.tell(f"If it passes its tests, this removes {', '.join(removed)}, which {LOCK_FILE} doesn't name")

    result = install(
        make_plan, target.environment, terms, command=command, timeout=timeout, planned=planned, events=events
    )
    assert result.deployment is not None
    deployed = result.deployment.lock
    locked = replace(lock, composition=deployed.composition, attempts=deployed.attempts)
    with folder.exclusive(command, events.tell):
        now = folder.lock()
        if now not in (lock, locked):  # another sync of the same lock may have been faster
            raise RequestError(
                f"changed while its patches were composed; deployment {result.deployment.number} is in force",
                context=str(folder.lock_path),
                hint="run `ppm sync` again to deploy what it names now",
            )
        if now != locked:
            folder.write_lock(locked)
    packages = target.files.packages
    return Synced(result.deployment, packages, result.changed, result, tuple(removed), result.plan.advised)
