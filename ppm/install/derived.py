"""Packages for a base that was not the one they were made for: offered where they accept it as a derived one."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from ppm.base import BaseModel, weights_digest
from ppm.environment.deployment import Deployment
from ppm.errors import ModelError, ResolutionError
from ppm.install.fetch import naming_alternatives
from ppm.install.start import Start
from ppm.lock import DerivedFrom, LockedBase
from ppm.package import read_package
from ppm.requirement import Requirement
from ppm.resolve import Pin
from ppm.sources import Accepting, Joined, Release, Source

__all__ = ["Acceptance", "accept", "accept_for"]


@dataclass(frozen=True)
class Acceptance:
    """What is on offer for a base, with what it is derived from, and why other packages do not accept it."""

    offer: Joined
    base: LockedBase
    refused: tuple[str, ...] = ()

    def locked(self, pins: Sequence[Pin]) -> LockedBase:
        """The base, derived from what the chosen packages were made for."""
        made_for = {pin.release.made_for for pin in pins}
        used = tuple(other for other in self.base.derived_from if other.fingerprint in made_for)
        return replace(self.base, derived_from=used)

    def notes(self, pins: Sequence[Pin]) -> list[str]:
        """What to say of the base."""
        used = self.locked(pins).derived_from
        return [f"{self.base.model} is accepted as derived from {other.model}: {other.note}" for other in used]

    @contextmanager
    def saying_why(self, requirements: Sequence[Requirement], sources: Sequence[Source]) -> Iterator[None]:
        """Where no set of patches fits, let the ResolutionError also say why packages for another base do not.

        It says what there is instead, too (`naming_alternatives`).
        """
        try:
            with naming_alternatives(requirements, sources):
                yield
        except ResolutionError as error:
            error.message += "".join(f"\n{reason}." for reason in self.refused)
            raise


def accept_for(
    start: Start, requirements: Sequence[Requirement], offer: Joined, sources: Sequence[Source]
) -> Acceptance:
    """What sources offer of what is asked for and what is deployed, for the base of a plan."""
    base = LockedBase(start.base.name, start.base.fingerprint, start.base.revision, _before(start.previous, start.base))
    names = [*(requirement.name for requirement in requirements), *start.versions]
    return accept(names, offer, sources, base, start.base)


def accept(
    names: Iterable[str], offer: Joined, sources: Sequence[Source], base: LockedBase, at_hand: BaseModel | None
) -> Acceptance:
    """What sources offer of some names for a base, what accepts it as a derived one included.

    That is looked at only for names of which nothing was made for the base itself. What it is known to be derived from
    is taken as it is; where the base is not at hand, nothing else counts.
    """
    candidates: dict[str, Release] = {}
    for name in dict.fromkeys(names):
        found = offer.named(name)
        if any(release.fingerprint == base.fingerprint for release in found):
            continue
        for release in found:
            newest = candidates.get(release.fingerprint, release)
            if "derived" in release.accepts and release.version >= newest.version:
                candidates[release.fingerprint] = release
    before = {other.fingerprint: other for other in base.derived_from}
    accepted: list[DerivedFrom] = []
    refused = []
    for made_for, release in candidates.items():
        if made_for in before:
            accepted.append(before[made_for])
        elif at_hand is not None:
            try:
                accepted.append(_accepted(release, sources, at_hand))
            except ModelError as error:
                refused.append(f"{error.context} {error.message}")
    if accepted:
        offer = Accepting(offer.offers, base.fingerprint, [other.fingerprint for other in accepted])
    return Acceptance(offer, replace(base, derived_from=tuple(accepted)), tuple(refused))


def _before(previous: Deployment | None, base: BaseModel) -> tuple[DerivedFrom, ...]:
    """What a base was accepted as when patches were deployed for it, if its weights are still the same."""
    if previous is None or not previous.lock.base.derived_from:
        return ()
    recorded = previous.lock.base
    same = recorded.fingerprint == base.fingerprint and previous.record.weights_digest == weights_digest(base.folder)
    return recorded.derived_from if same else ()


def _accepted(release: Release, sources: Sequence[Source], base: BaseModel) -> DerivedFrom:
    """What a base is accepted as by a release. Raises ModelError when it is not."""
    from ppm.runtime.derived import accepted_as

    source = next(source for source in sources if source.location == release.source)
    data = source.fetch(release)
    return accepted_as(read_package(data, origin=release.file_name, expected_sha256=release.sha256), base)
