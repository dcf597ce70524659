"""Where the package files of an install come from, and how they are taken: listed, read, verified, stored."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from ppm.environment.deployment import Deployment, Environment
from ppm.environment.store import Store
from ppm.errors import IntegrityError, PackageError, PpmError, RequestError, ResolutionError
from ppm.index.trust import Access, shown_url
from ppm.install.address import fetch_address
from ppm.lock import LockedBase
from ppm.names import expand
from ppm.package import Package, read_package
from ppm.requirement import Requirement, exactly
from ppm.resolve import Pin
from ppm.resources import bases_of_shipped
from ppm.sources import Joined, Listing, Offer, Release, Source

__all__ = [
    "PackageSource",
    "fetch",
    "naming_alternatives",
    "put_back",
    "readable_packages",
    "refuse_damaged",
    "releases_of",
    "stored_packages",
    "take_given",
]

NAMED_FILES = 3
"""How many of the files that can't be used an error names; `ppm search` names them all."""

EPOCH = datetime.fromtimestamp(0, UTC)


class PackageSource(Listing):
    """Packages that are at hand: one that the user gave by its path, or those that are deployed.

    `problems` says of each name that is not what is wrong with it.
    """

    def __init__(
        self, location: str, packages: Sequence[Package], problems: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self.location = location
        self._data = {package.sha256: package.data for package in packages}
        self._files = {package.file_name: package.sha256 for package in packages}
        known = (Release.of(p.manifest, file_name=p.file_name, sha256=p.sha256, source=location) for p in packages)
        # No date shuts out what is named by its path, or here already.
        super().__init__((replace(release, published=EPOCH) for release in known), problems)

    def fetch(self, release: Release) -> bytes:
        return self._data[release.sha256]

    def find(self, file_name: str, sha256: str) -> bytes | None:
        return self._data[sha256] if self._files.get(file_name) == sha256 else None

    def has_file(self, file_name: str) -> bool:
        return file_name in self._files


def take_given(
    requirements: Sequence[Requirement], folder: Path, access: Access
) -> tuple[list[Source], list[Requirement]]:
    """The package files among some requirements as sources, and the requirements with their exact pins in place.

    Paths are as seen from `folder`, addresses are reached by `access`. Raises PackageError, SourceError or
    RequestError.
    """
    sources: list[Source] = []
    found = []
    for requirement in requirements:
        if requirement.is_file:
            path = folder / expand(requirement.text)
            where, package = str(path.resolve()), read_package(path)
        elif requirement.address is not None:
            where, package = shown_url(requirement.address.url), fetch_address(requirement, access)
        if requirement.is_file or requirement.address is not None:
            _refuse_composition(package)
            sources.append(PackageSource(where, (package,)))
            requirement = exactly(package.manifest.name, package.manifest.version)
        found.append(requirement)
    return sources, found


def _refuse_composition(package: Package) -> None:
    """Raises RequestError: as a patch of its own a composition would be tested against nothing but itself."""
    made = package.manifest.composition
    if made is not None:
        pins = " ".join(f"{component.name}=={component.version}" for component in made.components)
        raise RequestError(
            f"{package.manifest.pin} is a composition, which has to be tested against its patches",
            hint=f"install the patches: ppm install {pins} --strategy {shlex.quote(made.strategy)}",
        )


def refuse_damaged(requirements: Sequence[Requirement], offer: Offer) -> None:
    """Raises IntegrityError when all that is on offer of a requested patch is damaged."""
    for requirement in requirements:
        damaged = offer.problems(requirement.name)
        if damaged and not offer.named(requirement.name):
            hint = "get the package file again from its source: `ppm install --find-links DIR` puts it back"
            raise IntegrityError(damaged[0], context=requirement.name, hint=hint)


@contextmanager
def naming_alternatives(requirements: Sequence[Requirement], sources: Sequence[Source]) -> Iterator[None]:
    """Where no source has a requested patch, let the ResolutionError also say what there is instead.

    That is a patch of this name that comes with ppm for other bases, and the files that can't be used: one of them may
    be that patch under another name.
    """
    try:
        yield
    except ResolutionError as error:
        offer = Joined(sources)
        for requirement in requirements:
            elsewhere = [] if offer.named(requirement.name) else bases_of_shipped(requirement.name)
            if elsewhere:
                error.message += f"\n{requirement.name} comes with ppm for another base model: {', '.join(elsewhere)}."
                move = f"ppm rebase {requirement.name} --from {elsewhere[0]} --onto MODEL --output DIR"
                error.hint = f"name that base with --base, or move the patch to yours: {move}"
        if not all(offer.named(requirement.name) for requirement in requirements):
            damaged = [message for source in sources for message in source.damaged()]
            error.message += "".join(f"\nA file can't be used: {message}." for message in damaged[:NAMED_FILES])
            if len(damaged) > NAMED_FILES:
                error.message += f"\n{len(damaged) - NAMED_FILES} more can't be used either."
        raise


def stored_packages(deployment: Deployment | None, environment: Environment) -> tuple[Package, ...]:
    """The packages of a deployment, from the store. Raises IntegrityError or EnvironmentStateError."""
    if deployment is None:
        return ()
    return tuple(
        read_package(environment.store.get(p.sha256), origin=p.file, expected_sha256=p.sha256)
        for p in deployment.lock.packages
    )


def readable_packages(
    deployment: Deployment | None, environment: Environment
) -> tuple[tuple[Package, ...], dict[str, list[str]]]:
    """The packages of a deployment that are whole in the store; and what is wrong with each other one, by its name."""
    found: list[Package] = []
    problems: dict[str, list[str]] = {}
    for locked in deployment.lock.packages if deployment else ():
        try:
            data = environment.store.get(locked.sha256)
            found.append(read_package(data, origin=locked.file, expected_sha256=locked.sha256))
        except PpmError as error:
            problems[locked.name] = [f"{error.context}: {error.message}" if error.context else error.message]
    return tuple(found), problems


def put_back(deployment: Deployment, environment: Environment, sources: Sequence[Source]) -> list[str]:
    """Store the damaged or lost packages of a deployment again where a source has the very file: their pins."""
    _, lost = readable_packages(deployment, environment)
    found = []
    for locked in deployment.lock.packages:
        having = ((s, c) for s in sources for c in s.named(locked.name) if c.sha256 == locked.sha256)
        source, release = next(having, (None, None)) if locked.name in lost else (None, None)
        if source is not None and release is not None:
            environment.store.put(source.fetch(release))
            found.append(locked.pin)
    return found


def fetch(pins: Sequence[Pin], sources: Sequence[Source], store: Store | None = None) -> tuple[Package, ...]:
    """The packages of some pins, each read from its source and verified against its pin, and kept in a store if given.

    Raises IntegrityError, SourceError or PackageError.
    """
    packages = []
    for pin in pins:
        release = pin.release
        source = next((s for s in sources if s.location == release.source), None)
        if source is None:
            raise PackageError(f"its source {release.source} no longer exists", context=release.pin)
        data = source.fetch(release)
        package = read_package(data, origin=release.file_name, expected_sha256=release.sha256)
        _check_listing(release, package)
        if store is not None:
            store.put(data)
        packages.append(package)
    return tuple(packages)


def _check_listing(release: Release, package: Package) -> None:
    """Raises IntegrityError when a package is not what its source said: the choice was then made on false grounds."""
    listed = replace(
        release,
        fingerprint=release.made_for or release.fingerprint,
        made_for=None,
        yanked=None,
        published=None,
        publisher="",
    )
    found = Release.of(package.manifest, file_name=release.file_name, sha256=package.sha256, source=release.source)
    if vars(listed) != vars(found):
        raise IntegrityError(
            f"{release.source} lists metadata that differs from the file's own",
            context=release.pin,
            hint="clear the metadata cache (`ppm cache prune`), or ask whoever runs the source",
        )


def releases_of(packages: Sequence[Package], base: LockedBase) -> dict[str, Release]:
    """Deployed packages as releases, by name; those for what the base is derived from count as made for it."""
    found = {
        p.manifest.name: Release.of(p.manifest, file_name=p.file_name, sha256=p.sha256, source="") for p in packages
    }
    return {
        name: release.on(base.fingerprint) if release.fingerprint in base.accepted_as else release
        for name, release in found.items()
    }
