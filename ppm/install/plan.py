"""What an install or uninstall will do: the pinned patches, before anything is fetched or trained. Needs no torch."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.version import Version

from ppm.base import BaseModel
from ppm.composition.strategy import builtin_strategies, read_strategy
from ppm.environment.deployment import Deployment, Environment
from ppm.environment.holds import Hold, read_holds
from ppm.errors import IntegrityError, RequestError, ResolutionError, ResolutionTimeout, did_you_mean
from ppm.install.fetch import (
    PackageSource,
    readable_packages,
    refuse_damaged,
    sources_of,
    take_given,
)
from ppm.install.request import Options, check_hashes, parse_date, read_requirements
from ppm.names import expand
from ppm.project import PROJECT_FILE, Project
from ppm.resolve import Pin, Requirement, Resolution, Rules, parse_name, parse_requirement, resolve
from ppm.sources import DEPLOYED_SOURCE, Joined, Release, Source

__all__ = [
    "OUT_OF_TIME",
    "Plan",
    "plan_autoremove",
    "plan_install",
    "plan_uninstall",
    "plan_upgrade",
    "rules_for",
    "upgrade_order",
    "yanked_note",
]

DEFAULT_STRATEGY = "auto"
OUT_OF_TIME = "newer versions may fit together too: there was no time to try all (PPM_SEARCH_SECONDS gives more)"


@dataclass(frozen=True)
class Plan:
    """What is to be deployed.

    `requirements` are as the user typed them, those of the last deployment included; `pins` are in their order, what
    they depend on last. The order is that of the specialists in the composition. `passed_over` says what is
    wrong with each damaged package file of a pinned patch; `notes` say what else to know of the choice: which pins
    were yanked, which are held, what an override took the place of, and which strategy file is gone. `lost` are the
    deployed patches whose package files the store has no more.
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
    notes: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()

    @property
    def added(self) -> tuple[str, ...]:
        """Pins that are not deployed now."""
        return tuple(pin.release.pin for pin in self.pins if pin.release.pin not in self._deployed)

    @property
    def removed(self) -> tuple[str, ...]:
        """Deployed patches that are not planned."""
        planned = {pin.release.pin for pin in self.pins}
        return tuple(pin for pin in self._deployed if pin not in planned)

    @property
    def parent(self) -> str:
        """`sha256:` and the digest of the deployed composition, or "" when there is none to go on from.

        A composition with a patch that is no longer wanted is none: what the patch did might stay in force unseen.
        """
        made = self.previous.lock.composition if self.previous else None
        planned = {pin.release.name for pin in self.pins}
        if self.previous is None or made is None or any(p.name not in planned for p in self.previous.lock.packages):
            return ""
        return f"sha256:{made.sha256}"

    @property
    def _deployed(self) -> tuple[str, ...]:
        return tuple(package.pin for package in self.previous.lock.packages) if self.previous else ()


def plan_install(
    requirements: Sequence[str],
    base: BaseModel,
    environment: Environment,
    options: Options = Options(),  # noqa: B008 - frozen
    *,
    deployed: bool = True,
) -> Plan:
    """Resolve what the user asks for, together with what is `deployed` already unless that is not wanted.

    A requirement may also be the path of a package file. Raises RequestError, SourceError or ResolutionError.
    """
    previous = environment.current() if deployed else None
    given, texts = take_given(requirements, Path())
    asked: dict[str, list[str]] = {}
    for text in texts:
        asked.setdefault(parse_requirement(text).name, []).append(text)
    if not asked and not (previous and previous.lock.requirements):
        raise RequestError("no patch was named", hint="for example: ppm install toxicity --base lab")
    wanted: list[str] = []
    for text in previous.lock.requirements if previous else ():
        wanted += asked.pop(parse_requirement(text).name, [text])
    wanted += [text for texts in asked.values() for text in texts]
    return _plan(tuple(wanted), base, environment, previous, options, given=given)


def plan_upgrade(
    names: Sequence[str],
    base: BaseModel,
    environment: Environment,
    options: Options = Options(),  # noqa: B008 - frozen
    *,
    eager: bool = False,
) -> Plan:
    """The newest versions that the requirements allow of some deployed patches, or of all when none is named.

    What they depend on changes only if it must, unless the upgrade is `eager`. Raises RequestError for a patch that is
    not deployed or that is held, ManifestError, SourceError or ResolutionError.
    """
    previous = environment.current()
    packages = {package.name: package for package in previous.lock.packages} if previous else {}
    if previous is None or not packages:
        raise RequestError("nothing is deployed to upgrade", hint="start with `ppm install PATCH --base MODEL`")
    wanted = [parse_name(name) for name in names]
    held = {hold.name for hold in read_holds(environment)}
    for name in wanted:
        if name not in packages:
            hint = did_you_mean(name, packages, f"deployed are {', '.join(packages)}")
            raise RequestError(f"{name} is not deployed", hint=hint)
        if name in held:
            raise RequestError(f"{name} is held", hint=f"let it change first: ppm unhold {name}")
    for name in wanted if eager else ():
        wanted += [needed for needed in packages[name].dependencies if needed not in wanted]
    raised = wanted or upgrade_order(previous.lock.requirements, packages)
    return _plan(previous.lock.requirements, base, environment, previous, options, raised=raised)


def upgrade_order(requirements: Sequence[str], names: Iterable[str]) -> list[str]:
    """The order in which an upgrade of everything raises some patches: what is asked for before what that needs."""
    asked = [parse_requirement(text).name for text in requirements]
    known = list(names)
    return [name for name in dict.fromkeys((*asked, *known)) if name in known]


def plan_uninstall(
    names: Sequence[str],
    base: BaseModel,
    environment: Environment,
    options: Options = Options(),  # noqa: B008 - frozen
) -> Plan:
    """What remains without some patches; what only they needed stays.

    Raises RequestError for a patch that is not deployed, that is held, or that is still needed.
    """
    previous = environment.current()
    packages = {p.name: p for p in previous.lock.packages} if previous else {}
    gone = [parse_name(name) for name in names]
    held = {hold.name for hold in read_holds(environment)}
    asked = [parse_requirement(text).name for text in previous.lock.requirements] if previous else []
    for name in gone:
        if previous is None or name not in (*packages, *asked):
            otherwise = f"deployed are {', '.join(packages)}" if packages else "nothing is deployed"
            raise RequestError(f"{name} is not deployed", hint=did_you_mean(name, packages, otherwise))
        if name in held:
            raise RequestError(f"{name} is held", hint=f"let it go first: ppm unhold {name}")
    assert previous is not None
    kept = tuple(t for t in previous.lock.requirements if parse_requirement(t).name not in gone)
    standing = {
        p.manifest.name: Release.of(p.manifest, file_name="", sha256="", source="").stands_for
        for p in readable_packages(previous, environment)[0]
    }
    answering = [name for name, names in standing.items() if set(names) & (set(gone) - set(packages))]
    plan = _plan(kept, base, environment, previous, options, dropped=[*gone, *answering])
    for pin in plan.pins:
        if pin.release.name in gone:
            wishes = [parse_requirement(t).name for t in kept if parse_requirement(t).name in pin.release.stands_for]
            needing = [*pin.required_by, *wishes]
            further = " ".join(dict.fromkeys((*_still_needing(plan.pins, gone), *wishes)))
            verb = "needs" if len(needing) == 1 else "need"
            raise RequestError(f"{', '.join(needing)} {verb} {pin.release.pin}", hint=f"uninstall {further} too")
    return plan


def _still_needing(pins: Sequence[Pin], gone: Sequence[str]) -> list[str]:
    """The patches that are to stay and that need some of those that are to go, be it through others."""
    users = {pin.release.name: pin.required_by for pin in pins}
    found = dict.fromkeys(name for name in gone if name in users)
    for name in (queue := list(found)):
        queue += [user for user in users[name] if user not in found]
        found.update(dict.fromkeys(users[name]))
    return sorted(set(found) - set(gone))


def plan_autoremove(
    base: BaseModel,
    environment: Environment,
    options: Options = Options(),  # noqa: B008 - frozen
) -> Plan:
    """What remains without the patches that nobody asked for and that nothing needs any more."""
    previous = environment.current()
    if previous is None:
        raise RequestError("nothing is deployed", hint="start with `ppm install PATCH --base MODEL`")
    held = {hold.name for hold in read_holds(environment)}
    names = [package.name for package in previous.lock.packages if package.name not in held]
    return _plan(previous.lock.requirements, base, environment, previous, options, dropped=names)


def rules_for(
    project: Project,
    options: Options,
    deployed: Mapping[str, Version],
    holds: Sequence[Hold],
    recorded: Sequence[str] = (),
) -> Rules:
    """What the project, the options and the holds of an environment keep the choice of versions to.

    `recorded` are the overrides that were recorded with what is deployed; an option's comes before the project's.
    Raises RequestError.
    """
    limit = options.exclude_newer or (
        parse_date(project.exclude_newer, PROJECT_FILE) if project.exclude_newer else None
    )
    given = read_requirements(options.overrides)
    for requirement in given:
        if sum(requirement.name == other.name for other in given) > 1:
            raise RequestError(
                f"there are several overrides on {requirement.name}",
                context=requirement.origin,
                hint="write them as one, such as 'core>=1,<2'",
            )
    overrides = {requirement.name: requirement for requirement in (*_of(project.overrides), *given)}
    return Rules(
        deployed,
        [*_of(project.constraints), *read_requirements(options.constraints)],
        list(overrides.values()),
        limit,
        _of(recorded, "what is deployed"),
        frozenset(hold.name for hold in holds),
        options.search_seconds,
    )


def _of(lines: Sequence[str], origin: str = PROJECT_FILE) -> list[Requirement]:
    return [parse_requirement(line, origin) for line in lines]


def _plan(
    requirements: tuple[str, ...],
    base: BaseModel,
    environment: Environment,
    previous: Deployment | None,
    options: Options,
    *,
    given: Sequence[Source] = (),
    raised: Sequence[str] = (),
    dropped: Sequence[str] = (),
) -> Plan:
    project = Project.find(Path.cwd()) or Project()
    stored, lost = readable_packages(previous, environment)
    sources: list[Source] = list(given)
    if not dropped or lost:  # what remains without some patches is here
        sources += sources_of(base.name, project, options.find_links)
    if previous is not None:
        sources.append(PackageSource(DEPLOYED_SOURCE, stored, lost))
    offer = Joined(sources)
    refuse_damaged(requirements, offer)
    deployed = {p.name: Version(p.version) for p in previous.lock.packages} if previous else {}
    holds = read_holds(environment)
    _refuse_lost((hold.name for hold in holds), lost, sources, previous)
    rules = rules_for(project, options, deployed, holds, previous.lock.overrides if previous else ())

    def resolved(recorded: Sequence[Requirement]) -> Resolution:
        return resolve(
            [parse_requirement(text) for text in requirements],
            offer,
            fingerprint=base.fingerprint,
            base_name=base.name,
            rules=replace(rules, recorded=recorded),
            raised=raised,
            kept=[name for name in deployed if name not in dropped],
        )

    resolution = _with_what_was_recorded(resolved, rules.recorded, raised, deployed)
    asked_names = {parse_requirement(text).name for text in requirements}
    found = [
        replace(pin, requested=bool({pin.release.name, *pin.release.stands_for} & asked_names) and pin.requested)
        for pin in resolution.pins
    ]
    # What is new is compared with what it takes the place of.
    compared = (name for pin in found for name in (pin.release.name, *pin.release.stands_for))
    _refuse_lost(compared, lost, sources, previous)
    new = [pin for pin in found if deployed.get(pin.release.name) != pin.release.version]
    check_hashes(found, new, options)
    strategy = options.strategy
    last = (previous and previous.lock.strategy) or ""
    gone = bool(last) and last not in builtin_strategies() and not Path(last).is_file()
    asked = strategy or project.strategy
    chosen = asked or (not gone and last) or DEFAULT_STRATEGY
    own_file = chosen not in builtin_strategies() and expand(chosen).is_file()
    if own_file:  # another command may be given in another folder
        chosen = str(expand(chosen).absolute())
    recipe = read_strategy(chosen)
    order = {name: i for i, name in enumerate(dict.fromkeys(parse_requirement(t).name for t in requirements))}
    pins = sorted(found, key=lambda pin: order.get(pin.release.name, len(order)))
    passed_over = tuple(message for pin in pins for message in offer.problems(pin.release.name))
    notes = [yanked_note(pin.release) for pin in pins if pin.release.yanked is not None]
    held = {hold.name for hold in holds}
    notes += [f"{pin.release.pin} is held" for pin in pins if raised and pin.release.name in held]
    if gone and not asked:
        notes.append(f"the strategy {last} is gone: {DEFAULT_STRATEGY} chooses instead")
    overrides = tuple(requirement.text for requirement in resolution.overrides)
    notes += [f"{r.text} is in place of what a manifest needs of {r.name}" for r in resolution.overrides]
    notes += [OUT_OF_TIME] if resolution.timed_out else []
    plan = Plan(
        base,
        environment,
        requirements,
        tuple(pins),
        tuple(sources),
        chosen,
        previous,
        project,
        passed_over,
        tuple(notes),
        overrides,
        tuple(lost),
    )
    if len(pins) > 1 and recipe.needs_parent and not plan.parent:
        if asked:
            there = (
                "holds a patch that is no longer wanted" if previous and previous.lock.packages else "is nothing yet"
            )
            raise RequestError(f"{chosen} goes on from what is deployed, which {there}", hint="use auto or distilled")
        return replace(plan, strategy=DEFAULT_STRATEGY)
    return plan


def _with_what_was_recorded(
    resolved: Callable[[Sequence[Requirement]], Resolution],
    recorded: Sequence[Requirement],
    raised: Sequence[str],
    deployed: Mapping[str, Version],
) -> Resolution:
    """Recorded overrides hold on, with two exceptions, where there is a solution so.

    One on a name that is raised is let go, if nothing raised ends up older than it is; then one by one those that leave
    no solution. Raises ResolutionError, of the first way that was tried.
    """
    free = tuple(r for r in recorded if r.name not in raised)
    ways = [free, tuple(recorded), *(tuple(r for r in recorded if r is not one) for one in recorded), ()]
    first: ResolutionError | None = None
    for way in dict.fromkeys(ways):
        try:
            found = resolved(way)
        except ResolutionTimeout:
            raise
        except ResolutionError as error:
            first = first or error
            continue
        versions = {pin.release.name: pin.release.version for pin in found.pins}
        older = any(name in raised and versions.get(name, was) < was for name, was in deployed.items())
        if way == tuple(recorded) or way != free or not older:
            return found
    assert first is not None
    raise first


def _refuse_lost(
    names: Iterable[str], lost: Mapping[str, Sequence[str]], sources: Sequence[Source], previous: Deployment | None
) -> None:
    """Raises IntegrityError when one of these patches is deployed, and its file is nowhere any more."""
    wanted = set(names) & set(lost)
    for locked in previous.lock.packages if previous else ():
        if locked.name in wanted and not any(
            c.sha256 == locked.sha256 for source in sources for c in source.named(locked.name)
        ):
            raise IntegrityError(
                lost[locked.name][0],
                context=locked.pin,
                hint="`ppm install --find-links DIR` puts this very file back from a folder; else uninstall the patch",
            )


def yanked_note(release: Release) -> str:
    """What to say of a yanked version that is taken."""
    return f"{release.pin} was yanked" + (f": {release.yanked}" if release.yanked else "")
