"""What there is that is newer than what is deployed."""

from dataclasses import dataclass

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from ppm.base import BaseModel
from ppm.environment.deployment import Environment
from ppm.environment.holds import read_holds
from ppm.errors import ResolutionError
from ppm.install.fetch import sources_of
from ppm.install.plan import plan_upgrade, rules_for
from ppm.install.request import Options
from ppm.project import Project
from ppm.resolve.universe import Universe
from ppm.sources import Joined

__all__ = [
    "Newer",
    "newer",
]


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


def newer(base: BaseModel, environment: Environment, options: Options, project: Project) -> list[Newer]:
    """Every deployed patch with its newest versions. Raises PpmError."""
    deployment = environment.current()
    if deployment is None or not deployment.lock.packages:
        return []
    deployed = {p.name: Version(p.version) for p in deployment.lock.packages}
    holds = read_holds(environment)
    offer = Joined(sources_of(base.name, project, options.find_links))
    rules = rules_for(project, options, deployed, holds, deployment.lock.overrides)
    universe = Universe(offer, base.fingerprint, rules)
    try:
        pins = plan_upgrade((), base, environment, options).pins
        wanted = {pin.release.name: str(pin.release.version) for pin in pins}
    except ResolutionError:
        wanted = {}
    held = {hold.name for hold in holds}
    found = []
    for package in deployment.lock.packages:
        latest = universe.select(package.name, universe.matching(package.name, SpecifierSet()))
        own = next((c for c in universe.versions(package.name) if str(c.version) == package.version), None)
        notes = ["held"] if package.name in held else []
        if own is not None and own.yanked is not None:
            notes.append("deployed version was yanked" + (f": {own.yanked}" if own.yanked else ""))
        shown = str(latest[-1].version) if latest else None
        if package.name in held:  # the hold itself keeps the newer ones out of sight
            newest = [c for c in universe.versions(package.name) if c.yanked is None and not c.version.is_prerelease]
            shown = str(newest[-1].version) if newest else shown
        found.append(
            Newer(package.name, package.version, wanted.get(package.name, package.version), shown, ", ".join(notes))
        )
    return found
