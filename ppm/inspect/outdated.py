"""What there is that is newer than what is deployed."""

from dataclasses import dataclass

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from ppm.errors import ResolutionError, ResolutionTimeout
from ppm.install.plan import plan_upgrade
from ppm.install.start import Start, rules_for
from ppm.lock import LockedPackage
from ppm.resolve.universe import Universe
from ppm.sources import Accepting, Joined

__all__ = ["Newer", "newer"]


@dataclass(frozen=True)
class Newer:
    """A deployed patch and what there is of it: what an upgrade would take, the newest of all, and what is in the way.

    `latest` is None when no source has the patch.
    """

    name: str
    version: str
    wanted: str
    latest: str | None
    note: str = ""

    @property
    def outdated(self) -> bool:
        return self.wanted != self.version or (self.latest is not None and Version(self.latest) > Version(self.version))


def newer(start: Start) -> list[Newer]:
    """Every deployed patch with its newest versions. Raises PpmError, ResolutionTimeout too."""
    if start.previous is None or not start.packages:
        return []
    project, request = start.workspace.project, start.request
    offer = Joined(start.workspace.sources(start.base.name, (*request.find_links, *project.sources)))
    if start.previous.lock.base.derived_from:
        offer = Accepting(offer.offers, start.base.fingerprint, start.previous.lock.base.accepted_as)
    rules = rules_for(project, request, start.versions, start.holds, start.previous.lock.overrides)
    universe = Universe(offer, start.base.fingerprint, rules)
    try:
        wanted = {pin.release.name: str(pin.release.version) for pin in plan_upgrade(start).pins}
    except ResolutionTimeout:  # nobody knows whether there is something newer
        raise
    except ResolutionError:
        wanted = {}
    held = {hold.name for hold in start.holds}
    return [
        _newer(package, universe, wanted.get(name, package.version), held=name in held)
        for name, package in start.packages.items()
    ]


def _newer(package: LockedPackage, universe: Universe, wanted: str, *, held: bool) -> Newer:
    versions = universe.versions(package.name)
    usable = universe.select(package.name, universe.matching(package.name, SpecifierSet()))
    if held:  # the hold itself keeps the newer ones out of sight
        usable = [r for r in versions if r.yanked is None and not r.version.is_prerelease] or usable
    notes = ["held"] if held else []
    own = next((release for release in versions if str(release.version) == package.version), None)
    if own is not None and own.yanked is not None:
        notes.append("deployed version was yanked" + (f": {own.yanked}" if own.yanked else ""))
    latest = str(usable[-1].version) if usable else None
    return Newer(package.name, package.version, wanted, latest, ", ".join(notes))
