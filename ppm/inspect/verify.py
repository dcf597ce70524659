"""Whether what is deployed is whole, and still keeps the rules that an install keeps."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from packaging.version import Version

from ppm.audit.model import Audit
from ppm.environment.attempts import check_ledger, ledger_of, ledgers
from ppm.environment.deployment import HOLDS_FILE, Deployment, Environment
from ppm.environment.evidence import witness_fault
from ppm.environment.holds import COMMENT, read_holds
from ppm.environment.store import Store
from ppm.environment.trail import Check, Noted, Trail, trail_of
from ppm.errors import PpmError
from ppm.evaluation.results import damaged_entries
from ppm.install.current import missing_attempts
from ppm.install.fetch import releases_of, stored_packages
from ppm.resolve import Rules, faults

__all__ = [
    "Finding",
    "broken",
    "damaged_history",
    "examine",
]


def broken(deployment: Deployment, environment: Environment) -> list[str]:
    """What is wrong with what is deployed, by the rules that an install keeps. Raises PpmError for damaged files."""
    packages = stored_packages(deployment, environment)
    requirements = deployment.lock.requirements
    rules = Rules(
        {p.manifest.name: Version(p.manifest.version) for p in packages},
        recorded=deployment.lock.overrides,
    )
    found = faults(releases_of(packages, deployment.lock.base), requirements, deployment.record.fingerprint, rules)
    made = deployment.manifest.composition if deployment.manifest else None
    if made is not None and {c.sha256 for c in made.components} != {p.sha256 for p in packages}:
        found.append("the composition was not made of the patches that the lock names")
    return found


@dataclass(frozen=True)
class Finding:
    """Something that was looked at, and what is wrong with it, or None.

    `in_force` tells what decides what runs now, or what may be deployed next, from history and caches. Of a deployed
    patch, `patch` is its pin, `checked` how it was checked before it was deployed, as far as that was recorded, and
    `advisories` are those that were in force on it then. Of a deployment, `unread` says why some were not looked up.
    """

    what: str
    fault: str | None
    in_force: bool
    patch: str | None = None
    checked: Check | None = None
    advisories: tuple[Noted, ...] = ()
    unread: tuple[str, ...] = ()


def examine(environment: Environment) -> Iterator[Finding]:
    """Every deployment's files, every package and audit it needs, the holds, the ledgers and the kept results."""
    try:
        environment.current()
        current = environment.current_number()
    except PpmError as error:
        yield Finding("what is in force", _said(error), True)
        current = 0
    else:
        yield Finding("what is in force", None, True)
    stored = _Stored(environment.store)
    for number in environment.numbers():
        yield from _deployment(environment, number, stored, in_force=number == current)
    yield from _evidence(environment)
    for path, fault in damaged_entries(environment.home / "cache" / "results"):
        yield Finding(f"kept result {path.name}", f"{fault}; it is ignored", False)


def damaged_history(environment: Environment) -> list[int]:
    """The numbers of the deployments that are not in force, and are damaged or lack what they need.

    Raises EnvironmentStateError when it is unknown which one is in force.
    """
    current, stored = environment.current_number(), _Stored(environment.store)
    old = [number for number in environment.numbers() if number != current]
    return [n for n in old if any(found.fault for found in _deployment(environment, n, stored, in_force=False))]


class _Stored:
    """The store, each of whose files is read once however many deployments need it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._faults: dict[tuple[str, bool], str | None] = {}

    def fault(self, digest: str, *, audit: bool = False) -> str | None:
        """What is wrong with a stored file."""
        if (digest, audit) not in self._faults:
            self._faults[digest, audit] = self._look(digest, audit)
        return self._faults[digest, audit]

    def _look(self, digest: str, audit: bool) -> str | None:
        try:
            data = self._store.get(digest)
            if audit:
                Audit.parse(data, digest)
        except PpmError as error:
            return error.message
        return None


def _deployment(environment: Environment, number: int, stored: _Stored, *, in_force: bool) -> Iterator[Finding]:
    label = f"deployment {number}"
    try:
        deployment = environment.stored(number)
        deployment.files()
        lock, trail = deployment.lock, trail_of(deployment) or Trail()
    except PpmError as error:
        yield Finding(label, _said(error), in_force)
        return
    yield Finding(label, None, in_force, unread=trail.unread)
    for package in lock.packages:
        yield Finding(
            f"{label}, {package.pin}",
            stored.fault(package.sha256),
            in_force,
            package.pin,
            trail.check(package.sha256),
            trail.advisories_on(package.name),
        )
    if lock.composition is not None:
        yield Finding(f"{label}, its composition", stored.fault(lock.composition.sha256), in_force)
        yield Finding(f"{label}, its audit", stored.fault(lock.composition.audit, audit=True), in_force)


def _evidence(environment: Environment) -> Iterator[Finding]:
    """What earlier commands left that decides what later ones may do."""
    holds = environment.path / HOLDS_FILE
    yield from _evidence_in(holds, COMMENT, "the holds", partial(read_holds, environment))
    try:
        found = ledgers(environment.home)
    except PpmError as error:
        yield Finding("the attempts", _said(error), True)
        return
    for path in found:
        yield from _evidence_in(path, b"", "a ledger of attempts", partial(check_ledger, path))
    for fingerprint in _bases(environment):
        try:
            missing = missing_attempts(environment, fingerprint, ledger_of(environment.home, fingerprint))
        except PpmError:  # which is said above
            continue
        if missing:
            yield Finding("the attempts", f"{missing}: what a pass guarantees is void", False)


def _bases(environment: Environment) -> Iterator[str]:
    """The fingerprints that sound deployments name."""
    found = set()
    for number in environment.numbers():
        with suppress(PpmError):
            found.add(environment.deployment(number).record.fingerprint)
    yield from sorted(found)


def _evidence_in(path: Path, comment: bytes, what: str, read: Callable[[], object]) -> Iterator[Finding]:
    try:
        read()
        weak = witness_fault(path, comment=comment)
    except PpmError as error:
        yield Finding(what, _said(error), True)
        return
    if path.exists():
        yield Finding(what, None, True)
    if weak is not None:
        yield Finding(f"{what} ({path.name})", f"{weak}, so if it were lost nobody would notice", False)


def _said(error: PpmError) -> str:
    return f"{error.context}: {error.message}" if error.context else error.message
