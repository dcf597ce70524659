"""What an install or uninstall will do: the pinned patches, before anything is fetched or trained. Needs no torch."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from packaging.version import Version

from ppm.base import BaseModel
from ppm.composition.strategy import builtin_strategies, read_strategy
from ppm.environment.deployments import Deployment, Environment
from ppm.errors import IntegrityError, PackageError, RequestError, did_you_mean
from ppm.lock import Project
from ppm.package import SUFFIX, Package, read_package
from ppm.resolve import Pin, Rules, parse_requirement, resolve
from ppm.resources import lab_data
from ppm.sources import Candidate, DirectorySource, Joined, Listing, Offer, Source

__all__ = ["DEPLOYED_SOURCE", "Plan", "fetch", "plan_install", "plan_uninstall", "plan_upgrade", "stored_packages"]

DEFAULT_STRATEGY = "auto"
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


@dataclass(frozen=True)
class Plan:
    """What is to be deployed.

    `requirements` are as the user typed them, those of the last deployment included; `pins` are in their order, what
    they depend on last. The order is that of the specialists in the composition. `passed_over` says what is
    wrong with each damaged package file of a pinned patch, and which strategy file is gone.
    """

    base: BaseModel
    environment: Environment
    requirements: tuple[str, ...]
    pins: tuple[Pin, ...]
    sources: tuple[Source, ...]
    strategy: str
    previous: Deployment | None
    project: Project
    passed_over: tuple[str, ...] = ()

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
    def parent(self) -> str:
        """`sha256:` and the digest of the deployed composition, or "" when there is none to go on from.

        A composition with a patch that is no longer wanted is none: what the patch did might stay in force unseen.
        """
        made = self.previous.lock.composition if self.previous else None
        planned = {pin.candidate.name for pin in self.pins}
        if self.previous is None or made is None or any(p.name not in planned for p in self.previous.lock.packages):
            return ""
        return f"sha256:{made.sha256}"

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
    environment: Environment,
    *,
    find_links: Sequence[Path] = (),
    strategy: str | None = None,
    deployed: bool = True,
) -> Plan:
    """Resolve what the user asks for, together with what is `deployed` already unless that is not wanted.

    A requirement may also be the path of a package file. Raises RequestError, SourceError or ResolutionError.
    """
    previous = environment.current() if deployed else None
    given: list[Source] = []
    asked: dict[str, list[str]] = {}
    for text in requirements:
        if text.endswith(SUFFIX) or "/" in text:
            package = read_package(Path(text).expanduser())
            _refuse_composition(package)
            given.append(PackageSource(str(Path(text).expanduser().resolve()), (package,)))
            text = package.manifest.pin
        asked.setdefault(parse_requirement(text).name, []).append(text)
    if not asked and not (previous and previous.lock.requirements):
        raise RequestError("no patch was named", hint="for example: ppm install toxicity --base lab")
    wanted: list[str] = []
    for text in previous.lock.requirements if previous else ():
        wanted += asked.pop(parse_requirement(text).name, [text])
    wanted += [text for texts in asked.values() for text in texts]
    given += [DirectorySource(folder) for folder in find_links]
    return _plan(tuple(wanted), base, environment, previous, given, strategy)


def plan_upgrade(
    names: Sequence[str],
    base: BaseModel,
    environment: Environment,
    *,
    find_links: Sequence[Path] = (),
    strategy: str | None = None,
) -> Plan:
    """The newest versions that the requirements allow of some deployed patches, or of all when none is named.

    Raises RequestError for a patch that is not deployed, ManifestError, SourceError or ResolutionError.
    """
    previous = environment.current()
    deployed = [package.name for package in previous.lock.packages] if previous else []
    if previous is None or not deployed:
        raise RequestError("nothing is deployed to upgrade", hint="start with `ppm install PATCH --base MODEL`")
    wanted = [parse_requirement(name).name for name in names]
    for name in wanted:
        if name not in deployed:
            hint = did_you_mean(name, deployed, f"deployed are {', '.join(deployed)}")
            raise RequestError(f"{name} is not deployed", hint=hint)
    given: list[Source] = [DirectorySource(folder) for folder in find_links]
    return _plan(previous.lock.requirements, base, environment, previous, given, strategy, wanted or deployed)


def plan_uninstall(
    names: Sequence[str], base: BaseModel, environment: Environment, *, strategy: str | None = None
) -> Plan:
    """What remains without some patches. Raises RequestError for a patch that is not deployed, or still needed."""
    previous = environment.current()
    packages = {p.name: p for p in previous.lock.packages} if previous else {}
    gone = [parse_requirement(name).name for name in names]
    for name in gone:
        if previous is None or name not in packages:
            otherwise = f"deployed are {', '.join(packages)}" if packages else "nothing is deployed"
            raise RequestError(f"{name} is not deployed", hint=did_you_mean(name, packages, otherwise))
    assert previous is not None
    kept = tuple(t for t in previous.lock.requirements if parse_requirement(t).name not in gone)
    plan = _plan(kept, base, environment, previous, [], strategy)
    for pin in plan.pins:
        if pin.candidate.name in gone:
            needing = ", ".join(pin.required_by) or "what stays"
            raise RequestError(f"{needing} needs {pin.candidate.pin}", hint=f"uninstall {needing} too")
    return plan


def _plan(
    requirements: tuple[str, ...],
    base: BaseModel,
    environment: Environment,
    previous: Deployment | None,
    given: Sequence[Source],
    strategy: str | None,
    upgraded: Sequence[str] = (),
) -> Plan:
    project = Project.find(Path.cwd()) or Project()
    sources: list[Source] = [*given, *(DirectorySource(Path(folder)) for folder in project.sources)]
    if base.name == "lab":
        sources.append(DirectorySource(lab_data() / "packages"))
    stored = stored_packages(previous, environment)
    if stored:
        sources.append(PackageSource(DEPLOYED_SOURCE, stored))
    offer = Joined(sources)
    _refuse_damaged(requirements, offer)
    resolution = resolve(
        [parse_requirement(text) for text in requirements],
        offer,
        fingerprint=base.fingerprint,
        base_name=base.name,
        rules=Rules({p.manifest.name: Version(p.manifest.version) for p in stored}),
        raised=upgraded,
    )
    last = (previous and previous.lock.strategy) or ""
    gone = bool(last) and last not in builtin_strategies() and not Path(last).is_file()
    asked = strategy or project.strategy
    chosen = asked or (not gone and last) or DEFAULT_STRATEGY
    own_file = chosen not in builtin_strategies() and Path(chosen).expanduser().is_file()
    if own_file:  # another command may be given in another folder
        chosen = str(Path(chosen).expanduser().absolute())
    recipe = read_strategy(chosen)
    order = {name: i for i, name in enumerate(dict.fromkeys(parse_requirement(t).name for t in requirements))}
    pins = sorted(resolution.pins, key=lambda pin: order.get(pin.candidate.name, len(order)))
    passed_over = tuple(message for pin in pins for message in offer.problems(pin.candidate.name))
    if gone and not asked:
        passed_over += (f"the strategy {last} is gone: {DEFAULT_STRATEGY} chooses instead",)
    plan = Plan(base, environment, requirements, tuple(pins), tuple(sources), chosen, previous, project, passed_over)
    if len(pins) > 1 and recipe.needs_parent and not plan.parent:
        if asked:
            there = (
                "holds a patch that is no longer wanted" if previous and previous.lock.packages else "is nothing yet"
            )
            raise RequestError(f"{chosen} goes on from what is deployed, which {there}", hint="use auto or distilled")
        return replace(plan, strategy=DEFAULT_STRATEGY)
    return plan


def _refuse_composition(package: Package) -> None:
    """Raises RequestError: as a patch of its own a composition would be tested against nothing but itself."""
    made = package.manifest.composition
    if made is not None:
        pins = " ".join(f"{component.name}=={component.version}" for component in made.components)
        raise RequestError(
            f"{package.manifest.pin} is a composition, which has to be tested against its patches",
            hint=f"install these: ppm install {pins} --strategy {made.strategy}",
        )


def _refuse_damaged(requirements: Sequence[str], offer: Offer) -> None:
    """Raises IntegrityError when all that is on offer of a requested patch is damaged."""
    for text in requirements:
        name = parse_requirement(text).name
        damaged = offer.problems(name)
        if damaged and not offer.named(name):
            raise IntegrityError(damaged[0], context=name, hint="get the package file again from where it came")


def fetch(plan: Plan, *, keep: bool = True) -> tuple[Package, ...]:
    """The planned packages, each read from its source, verified against its pin, and kept in the store if wanted."""
    packages = []
    for pin in plan.pins:
        candidate = pin.candidate
        source = next((s for s in plan.sources if s.location == candidate.source), None)
        if source is None:
            raise PackageError(f"its source {candidate.source} is gone", context=candidate.pin)
        data = source.fetch(candidate)
        package = read_package(data, origin=candidate.file_name, expected_sha256=candidate.sha256)
        _check_listing(candidate, package)
        if keep:
            plan.environment.store.put(data)
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
