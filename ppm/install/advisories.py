"""The advisories in force on what is to be deployed: looked up before anything is composed, told, and accepted."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from packaging.version import Version

from ppm.environment.deployment import Environment
from ppm.environment.trail import Acceptance, Noted, in_force
from ppm.errors import RequestError, SourceError
from ppm.index.advisory import Listed
from ppm.lock import LockedBase, LockedPackage, Selection
from ppm.names import cut
from ppm.progress import Events
from ppm.sources import SignedSource, Source

__all__ = ["NONE_FOUND", "Found", "InForce", "listed_on", "look_up", "settled", "tell_of", "unaffected_version"]

MOST_NAMED = 5
"""How many advisories, or versions, a message names."""


@dataclass(frozen=True)
class InForce:
    """An advisory in force on a patch that is to be deployed.

    `versions` are those of the patch that it is about, `unaffected` is one that no advisory is about, where the index
    has one. `deployed` tells a patch that is in force already, as the same file.
    """

    noted: Noted
    versions: tuple[str, ...]
    unaffected: str | None
    deployed: bool

    def accepted(self, acceptance: Acceptance) -> "InForce":
        """The same as accepted now, if it was not before."""
        return replace(self, noted=replace(self.noted, accepted=self.noted.accepted or acceptance))

    @property
    def about(self) -> str:
        """What it says, and of which versions, in a sentence of bounded length."""
        one = self.noted
        return f"{one.pin} has an advisory in force, {one.id}: {cut(one.summary)} (it is about {_some(self.versions)})"


@dataclass(frozen=True)
class Found:
    """The advisories in force on a selection; `unread` says why some could not be looked up, a line for each source."""

    in_force: tuple[InForce, ...] = ()
    unread: tuple[str, ...] = ()

    @property
    def noted(self) -> tuple[Noted, ...]:
        """The same for the records."""
        return tuple(one.noted for one in self.in_force)


NONE_FOUND = Found()


def look_up(selection: Selection, sources: Sequence[Source], environment: Environment) -> Found:
    """The advisories in force on the files of a selection, as the signed indexes among some sources have them.

    What was accepted for a file that is deployed in the environment stays accepted. Raises IntegrityError for an
    advisory that its publisher did not sign.
    """
    files, trail = in_force(environment)
    accepted = {(one.advisory, one.pin): one.accepted for one in trail.advisories}
    found: list[InForce] = []
    unread: dict[str, str] = {}

    def note(source: SignedSource, error: SourceError) -> None:
        why = cut(" ".join(error.message.split()))
        unread.setdefault(source.location, f"the advisories in {source.location} can't be looked up: it {why}")

    for package in selection.packages:
        deployed, listed = package.sha256 in files, listed_on(sources, package, note)
        unaffected = None
        with suppress(SourceError):
            unaffected = unaffected_version(sources, package, selection.base) if listed else None
        for one in listed:
            advisory = one.advisory
            noted = Noted(advisory.id, one.sha256, package.name, package.version, advisory.summary)
            before = accepted.get((noted.advisory, noted.pin)) if deployed else None
            versions = advisory.versions(package.name)
            found.append(InForce(replace(noted, accepted=before), versions, unaffected, deployed))
    return Found(tuple(found), tuple(unread.values()))


def _insist(source: SignedSource, error: SourceError) -> None:
    raise error


def listed_on(
    sources: Sequence[Source],
    package: LockedPackage,
    failed: Callable[[SignedSource, SourceError], None] = _insist,
) -> list[Listed]:
    """The advisories in force on a file, each once.

    `failed` is told of a source that can't be read; by default that raises the SourceError. Raises IntegrityError.
    """
    found: dict[str, Listed] = {}
    for source in sources:
        if isinstance(source, SignedSource):
            try:
                for one in source.advisories(package.name, package.sha256):
                    found.setdefault(one.sha256, one)
            except SourceError as error:
                failed(source, error)
    return list(found.values())


def unaffected_version(sources: Sequence[Source], package: LockedPackage, base: LockedBase) -> str | None:
    """The newest other version for a base that no advisory is about, of those that the first source of it lists."""
    for source in sources:
        releases = [
            release
            for release in source.named(package.name)
            if release.fingerprint in (base.fingerprint, *base.accepted_as)
            and release.yanked is None
            and not release.version.is_prerelease
        ]
        if releases and isinstance(source, SignedSource):
            known = [one.advisory for one in source.advisories(package.name)]
            free = [r.version for r in releases if not any(a.is_about(package.name, str(r.version)) for a in known)]
            others = [version for version in free if version != Version(package.version)]
            return str(max(others)) if others else None
    return None


def settled(found: Found, ids: Sequence[str], acceptance: Acceptance, events: Events) -> Found:
    """The same once each advisory on what is not deployed yet is accepted: as one of some `ids`, or by who is asked.

    What else there is to know of is told. Raises RequestError where one is not accepted: nothing may be deployed.
    """

    def accept(some: Sequence[InForce]) -> Found:
        return replace(
            found, in_force=tuple(one.accepted(acceptance) if one in some else one for one in found.in_force)
        )

    for id_ in sorted(set(ids) - {one.noted.id for one in found.in_force}):
        events.tell(f"note: no advisory {id_} is in force on these patches")
    named = [one for one in found.in_force if one.noted.id in ids]
    open_ = [one for one in found.in_force if not one.deployed and one not in named]
    found = accept(named)
    tell_of(replace(found, in_force=tuple(one for one in found.in_force if one not in open_)), events)
    if open_:
        _ask(open_, events)
    return accept(open_)


def tell_of(found: Found, events: Events) -> None:
    """Warn of the advisories in force, and of those that can't be looked up; of many, some are named."""
    for one in found.in_force[:MOST_NAMED]:
        events.warn(f"warning: {one.about}; {_next(one)}")
    if len(found.in_force) > MOST_NAMED:
        events.warn(f"warning: {len(found.in_force) - MOST_NAMED} more advisories are in force; --json lists them all")
    for line in found.unread:
        events.warn(f"warning: {line}")


def _next(one: InForce) -> str:
    if one.noted.accepted is not None:
        return f"{one.noted.accepted.by} accepted that on {one.noted.accepted.at[:10]}"
    if one.deployed:
        return "it is deployed already: `ppm advisories` measures whether it is affected"
    return _better([one])


def _better(found: Sequence[InForce]) -> str:
    """The versions to take instead, in words."""
    free = dict.fromkeys(f"{one.noted.name}=={one.unaffected}" for one in found if one.unaffected is not None)
    if not free:
        return "no version without one is known"
    return f"no advisory is about {_some(list(free))}"


def _some(words: Sequence[str], and_: str = ", ") -> str:
    """The first of some words, and how many more there are."""
    further = len(words) - MOST_NAMED
    return and_.join(words[:MOST_NAMED]) + (f" and {further} more" if further > 0 else "")


def _ask(found: Sequence[InForce], events: Events) -> None:
    """Raises RequestError unless somebody can be asked and says yes."""
    if events.ask is None:
        lines = [one.about for one in found]
        message = lines[0] if len(lines) == 1 else f"{len(lines)} advisories are in force: {_some(lines, '; ')}"
        options = _some([f"--accept-advisory {id_}" for id_ in dict.fromkeys(one.noted.id for one in found)], " ")
        raise RequestError(
            f"{message}; nothing was changed", hint=f"{_better(found)}; to deploy it all the same: {options}"
        )
    tell_of(Found(tuple(found)), events)
    if not events.ask(f"Install {'it' if len({one.noted.name for one in found}) == 1 else 'them'} all the same?"):
        raise RequestError("nothing was changed", hint=_better(found))
