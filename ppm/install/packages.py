"""Where the package files of an install come from, and how they are taken: listed, read, verified, stored."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from ppm.base import BaseModel
from ppm.environment.deployments import Deployment, Environment
from ppm.environment.home import ppm_home
from ppm.environment.store import Store
from ppm.errors import IntegrityError, PackageError
from ppm.lock import Project
from ppm.package import Package, read_package
from ppm.resolve import Pin
from ppm.resources import lab_data
from ppm.sources import Candidate, DirectorySource, Listing, Source

__all__ = ["DEPLOYED_SOURCE", "PackageSource", "fetch", "sources_of", "stored_packages"]

DEPLOYED_SOURCE = "the deployed patches"


class PackageSource(Listing):
    """Packages that are at hand: one that the user gave by its path, or those that are deployed."""

    def __init__(self, location: str, packages: Sequence[Package]) -> None:
        self.location = location
        self._data = {package.sha256: package.data for package in packages}
        super().__init__(
            Candidate.of(p.manifest, file_name=p.file_name, sha256=p.sha256, source=location) for p in packages
        )

    def fetch(self, candidate: Candidate) -> bytes:
        return self._data[candidate.sha256]


def sources_of(base: BaseModel | None, project: Project, find_links: Sequence[Path]) -> list[DirectorySource]:
    """The folders that the user names, those of the project, and what comes with the lab."""
    cache = ppm_home() / "cache" / "sources"
    folders = [*find_links, *(Path(folder) for folder in project.sources)]
    found = [DirectorySource(folder, cache) for folder in folders]
    if base is not None and base.name == "lab":
        found.append(DirectorySource(lab_data() / "packages", cache, "lab"))
    return found


def stored_packages(deployment: Deployment | None, environment: Environment) -> tuple[Package, ...]:
    """The packages of a deployment, from the store. Raises IntegrityError or EnvironmentStateError."""
    if deployment is None:
        return ()
    return tuple(
        read_package(environment.store.get(p.sha256), origin=p.file, expected_sha256=p.sha256)
        for p in deployment.lock.packages
    )


def fetch(pins: Sequence[Pin], sources: Sequence[Source], store: Store | None = None) -> tuple[Package, ...]:
    """The packages of some pins, each read from its source and verified against its pin, and kept in a store if given.

    Raises IntegrityError, SourceError or PackageError.
    """
    packages = []
    for pin in pins:
        candidate = pin.candidate
        source = next((s for s in sources if s.location == candidate.source), None)
        if source is None:
            raise PackageError(f"its source {candidate.source} is gone", context=candidate.pin)
        data = source.fetch(candidate)
        package = read_package(data, origin=candidate.file_name, expected_sha256=candidate.sha256)
        _check_listing(candidate, package)
        if store is not None:
            store.put(data)
        packages.append(package)
    return tuple(packages)


def _check_listing(candidate: Candidate, package: Package) -> None:
    """Raises IntegrityError when a package is not what its source said: the choice was then made on false grounds."""
    listed = replace(candidate, yanked=None, published=None)
    known = {"file_name": candidate.file_name, "sha256": package.sha256, "source": candidate.source}
    if asdict(listed) != asdict(Candidate.of(package.manifest, **known)):
        raise IntegrityError(
            f"{candidate.source} lists it with other metadata than the file itself has",
            context=candidate.pin,
            hint="clear the cache of metadata (`ppm cache prune`), or ask who runs the source",
        )
