"""What an install or uninstall will do: the pinned patches, before anything is fetched or trained. Needs no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.version import Version

from ppm.base import BaseModel
from ppm.environment.deployments import Deployment, Environment
from ppm.errors import IntegrityError, PackageError, RequestError, did_you_mean
from ppm.install.bases import environment_for
from ppm.lock import Project
from ppm.package import Package, read_package
from ppm.resolve import Pin, Resolution, parse_requirement, resolve
from ppm.resources import lab_data
from ppm.sources import Candidate, DirectorySource, Source

__all__ = ["Plan", "fetch", "plan_install", "plan_uninstall", "stored_packages"]

DEFAULT_STRATEGY = "auto"


@dataclass(frozen=True)
class StoredSource:
    """The packages of the current deployment, which stay available when their source is gone."""

    environment: Environment
    packages: tuple[Package, ...]
    location: str = "the deployed patches"

    def candidates(self) -> tuple[Candidate, ...]:
        return tuple(
            Candidate(
                name=p.manifest.name,
                version=Version(p.manifest.version),
                base_tag=p.manifest.base.tag,
                fingerprint=p.manifest.base.fingerprint or "",
                file_name=p.file_name,
                sha256=p.sha256,
                source=self.location,
                manifest=p.manifest,
            )
            for p in self.packages
        )

    def problems(self) -> tuple[tuple[str, str], ...]:
        return ()

    def fetch(self, candidate: Candidate) -> bytes:
        return self.environment.store.get(candidate.sha256)


@dataclass(frozen=True)
class Plan:
    """What is to be deployed. `requirements` are as the user typed them, those of the last deployment included."""

    base: BaseModel
    environment: Environment
    requirements: tuple[str, ...]
    resolution: Resolution
    sources: tuple[Source, ...]
    strategy: str
    previous: Deployment | None
    project: Project

    @property
    def pins(self) -> tuple[Pin, ...]:
        return self.resolution.pins

    @property
    def added(self) -> tuple[str, ...]:
        """Pins that are not deployed now."""
        return tuple(pin.candidate.pin for pin in self.pins if pin.candidate.pin not in self._deployed)

    @property
    def removed(self) -> tuple[str, ...]:
        """Deployed patches that are not planned."""
        planned = {pin.candidate.pin for pin in self.pins}
        return tuple(pin for pin in self._deployed if pin not in planned)

    @property
    def _deployed(self) -> tuple[str, ...]:
        return tuple(package.pin for package in self.previous.lock.packages) if self.previous else ()


def stored_packages(deployment: Deployment | None, environment: Environment) -> tuple[Package, ...]:
    """The packages of a deployment, from the store. Raises IntegrityError or EnvironmentStateError."""
    if deployment is None:
        return ()
    return tuple(
        read_package(environment.store.get(p.sha256), origin=p.file, expected_sha256=p.sha256)
        for p in deployment.lock.packages
    )


def plan_install(
    requirements: Sequence[str],
    base: BaseModel,
    *,
    find_links: Sequence[Path] = (),
    strategy: str | None = None,
    env: str | None = None,
    deployed: bool = True,
) -> Plan:
    """Resolve what the user asks for, together with what is `deployed` already unless that is not wanted.

    A requirement may also be the path of a package file. Raises RequestError, SourceError or ResolutionError.
    """
    project = Project.find(Path.cwd()) or Project()
    environment = environment_for(base, env)
    previous = environment.current() if deployed else None
    folders = [*find_links, *(Path(source) for source in project.sources)]
    texts = []
    for text in requirements:
        if text.endswith(".ppm") or "/" in text:
            package = read_package(Path(text).expanduser())
            folders.append(Path(text).expanduser().resolve().parent)
            texts.append(f"{package.manifest.name}=={package.manifest.version}")
        else:
            texts.append(text)
    if not texts and not (previous and previous.lock.requirements):
        raise RequestError("no patch was named", hint="for example: ppm install toxicity --base lab")
    asked = {parse_requirement(text).name: text for text in texts}
    kept = [t for t in (previous.lock.requirements if previous else ()) if parse_requirement(t).name not in asked]
    return _plan((*kept, *asked.values()), base, environment, previous, folders, strategy, project)


def plan_uninstall(
    names: Sequence[str], base: BaseModel, *, strategy: str | None = None, env: str | None = None
) -> Plan:
    """What remains without some patches. Raises RequestError for a patch that is not deployed, or still needed."""
    project = Project.find(Path.cwd()) or Project()
    environment = environment_for(base, env)
    previous = environment.current()
    packages = {p.name: p for p in previous.lock.packages} if previous else {}
    for name in names:
        wanted = parse_requirement(name).name
        if wanted not in packages:
            otherwise = f"deployed are {', '.join(packages)}" if packages else "nothing is deployed"
            raise RequestError(f"{name} is not deployed", hint=did_you_mean(wanted, packages, otherwise))
    gone = {parse_requirement(name).name for name in names}
    assert previous is not None
    for package in packages.values():
        needed = gone & set(package.dependencies)
        if package.name not in gone and needed and package.requested:
            raise RequestError(
                f"{package.pin} depends on {', '.join(sorted(needed))}", hint=f"uninstall {package.name} too"
            )
    kept = tuple(t for t in previous.lock.requirements if parse_requirement(t).name not in gone)
    return _plan(kept, base, environment, previous, [], strategy, project)


def _plan(
    requirements: tuple[str, ...],
    base: BaseModel,
    environment: Environment,
    previous: Deployment | None,
    folders: Sequence[Path],
    strategy: str | None,
    project: Project,
) -> Plan:
    sources: list[Source] = [DirectorySource(folder) for folder in dict.fromkeys(folders)]
    if base.name == "lab":
        sources.append(DirectorySource(lab_data() / "packages"))
    stored = stored_packages(previous, environment)
    if stored:
        sources.append(StoredSource(environment, stored))
    candidates = [candidate for source in sources for candidate in source.candidates()]
    problems = [problem for source in sources for problem in source.problems()]
    _refuse_damaged(requirements, {candidate.name for candidate in candidates}, problems)
    resolution = resolve(
        [parse_requirement(text) for text in requirements],
        candidates,
        fingerprint=base.fingerprint,
        base_name=base.name,
        preferred={p.manifest.name: Version(p.manifest.version) for p in stored},
        problems=problems,
    )
    chosen = strategy or project.strategy or DEFAULT_STRATEGY
    return Plan(base, environment, requirements, resolution, tuple(sources), chosen, previous, project)


def _refuse_damaged(requirements: Sequence[str], offered: set[str], problems: Sequence[tuple[str, str]]) -> None:
    """Raises IntegrityError when all that is on offer of a requested patch is damaged."""
    for text in requirements:
        name = parse_requirement(text).name
        damaged = [message for problem, message in problems if problem == name]
        if damaged and name not in offered:
            raise IntegrityError(damaged[0], context=name, hint="get the package file again from where it came")


def fetch(plan: Plan) -> tuple[Package, ...]:
    """The planned packages, each read from its source, verified against its pin, and kept in the store."""
    packages = []
    for pin in plan.pins:
        candidate = pin.candidate
        source = next((s for s in plan.sources if s.location == candidate.source), None)
        if source is None:
            raise PackageError(f"its source {candidate.source} is gone", context=candidate.pin)
        data = source.fetch(candidate)
        package = read_package(data, origin=candidate.file_name, expected_sha256=candidate.sha256)
        plan.environment.store.put(data)
        packages.append(package)
    return tuple(packages)
