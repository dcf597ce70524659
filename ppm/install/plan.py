"""What an install or uninstall will do: the selected patches, before anything is fetched or trained. Needs no torch."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.version import Version

from ppm.base import BaseModel
from ppm.composition.strategy import AUTOMATIC, Strategy, builtin_strategies, preferring, read_strategy
from ppm.environment.deployment import Deployment, Environment
from ppm.errors import IntegrityError, RequestError, ResolutionError, ResolutionTimeout, did_you_mean
from ppm.install.advisories import NONE_FOUND, Found
from ppm.install.derived import accept_for
from ppm.install.fetch import PackageSource, readable_packages, refuse_damaged, take_given
from ppm.install.pinned import check_publishers, locked_packages
from ppm.install.request import check_hashes
from ppm.install.start import Start, newest_as_asked, rules_for
from ppm.lock import Lock, Selection
from ppm.names import expand
from ppm.package import Package
from ppm.project import Gates
from ppm.requirement import Requirement, parse_name
from ppm.resolve import Pin, Resolution, resolve
from ppm.running import UNSAID, Running
from ppm.sources import DEPLOYED_SOURCE, Joined, Release, Source

__all__ = [
    "DEFAULT_STRATEGY",
    "OUT_OF_TIME",
    "Plan",
    "plan_autoremove",
    "plan_install",
    "plan_uninstall",
    "plan_upgrade",
    "upgrade_order",
    "yanked_note",
]

DEFAULT_STRATEGY = AUTOMATIC
OUT_OF_TIME = (
    "newer versions may also fit together: there was no time to try them all (allow more with PPM_SEARCH_SECONDS)"
)


@dataclass(frozen=True)
class Plan:
    """What is to be deployed: a selection for a base, and what it is fetched from.

    `order` are the names of the selected patches in the order of the specialists in the composition. `pins` are what
    was resolved, in that order, to be fetched from the `sources`; or all `packages` are at hand. `passed_over` says
    what is wrong with damaged package files of a selected patch; `notes` say what else to know. `lost` are the deployed
    patches whose package files the store no longer has. `limits` are devices and memory, `project` a lock to carry out.
    `advised` are the advisories in force on the selected patches, once they were looked up.
    """

    base: BaseModel
    environment: Environment
    selection: Selection
    order: tuple[str, ...]
    previous: Deployment | None
    policy: Gates
    pins: tuple[Pin, ...] = ()
    sources: tuple[Source, ...] = ()
    packages: tuple[Package, ...] = ()
    passed_over: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    limits: Running = UNSAID
    project: Lock | None = None
    advised: Found = NONE_FOUND

    @property
    def strategy(self) -> str:
        """The strategy's name, or the path of its file."""
        return self.selection.strategy or DEFAULT_STRATEGY

    @property
    def added(self) -> tuple[str, ...]:
        """Selected patches that are not deployed now, as pins."""
        return tuple(pin for pin in self._selected if pin not in self._deployed)

    @property
    def removed(self) -> tuple[str, ...]:
        """Deployed patches that are not selected, as pins."""
        return tuple(pin for pin in self._deployed if pin not in self._selected)

    @property
    def parent(self) -> str:
        """`sha256:` and the digest of the deployed composition, or "" when there is none to go on from."""
        return _parent(self.previous, self.order)

    @property
    def _selected(self) -> tuple[str, ...]:
        return tuple(package.pin for package in self.selection.packages)

    @property
    def _deployed(self) -> tuple[str, ...]:
        return tuple(package.pin for package in self.previous.lock.packages) if self.previous else ()


def _parent(previous: Deployment | None, names: Sequence[str]) -> str:
    """The digest of a deployed composition to go on from, or "".

    A composition with a patch that is no longer wanted is none: what the patch did might stay in force unseen.
    """
    made = previous.lock.composition if previous else None
    if previous is None or made is None or any(p.name not in names for p in previous.lock.packages):
        return ""
    return f"sha256:{made.sha256}"


def plan_install(start: Start) -> Plan:
    """Resolve what the user asks for, together with what is deployed already.

    A requirement may also be the path of a package file. Raises RequestError, SourceError or ResolutionError.
    """
    given, requirements = take_given(start.request.requirements, start.workspace.folder, start.workspace.access)
    asked: dict[str, list[Requirement]] = {}
    for requirement in requirements:
        asked.setdefault(requirement.name, []).append(requirement)
    if not asked and not start.requirements:
        raise RequestError("which patches?", hint="for example: ppm install toxicity --base lab")
    wanted: list[Requirement] = []
    for requirement in start.requirements:
        wanted += asked.pop(requirement.name, [requirement])
    wanted += [requirement for found in asked.values() for requirement in found]
    return _plan(start, tuple(wanted), given=given)


def plan_upgrade(start: Start, names: Sequence[str] = (), *, eager: bool = False) -> Plan:
    """The newest versions that the requirements allow of some deployed patches, or of all when none is named.

    What they depend on changes only if it must, unless the upgrade is `eager`. Raises RequestError for a patch that is
    not deployed or that is held, ManifestError, SourceError or ResolutionError.
    """
    packages = start.packages
    if not packages:
        raise RequestError("nothing is deployed to upgrade", hint="start with `ppm install PATCH --base MODEL`")
    wanted = [parse_name(name) for name in names]
    held = {hold.name for hold in start.holds}
    for name in wanted:
        if name not in packages:
            hint = did_you_mean(name, packages, f"deployed patches are {', '.join(packages)}")
            raise RequestError(f"{name} is not deployed", hint=hint)
        if name in held:
            raise RequestError(f"{name} is held", hint=f"let it change first: ppm unhold {name}")
    for name in wanted if eager else ():
        wanted += [needed for needed in packages[name].dependencies if needed not in wanted]
    return _plan(start, start.requirements, raised=wanted or upgrade_order(start.requirements, packages))


def upgrade_order(requirements: Sequence[Requirement], names: Iterable[str]) -> list[str]:
    """The order in which an upgrade of everything raises some patches: what is asked for before what that needs."""
    known = list(names)
    asked = (requirement.name for requirement in requirements)
    return [name for name in dict.fromkeys((*asked, *known)) if name in known]


def plan_uninstall(start: Start, names: Sequence[str]) -> Plan:
    """What remains without some patches; what only they needed stays.

    Raises RequestError for a patch that is not deployed, that is held, or that is still needed.
    """
    packages = start.packages
    gone = [parse_name(name) for name in names]
    held = {hold.name for hold in start.holds}
    asked = [requirement.name for requirement in start.requirements]
    for name in gone:
        if name not in (*packages, *asked):
            nothing = "nothing is deployed; start with `ppm install PATCH --base MODEL`"
            otherwise = f"deployed patches are {', '.join(packages)}" if packages else nothing
            raise RequestError(f"{name} is not deployed", hint=did_you_mean(name, packages, otherwise))
        if name in held:
            raise RequestError(f"{name} is held", hint=f"let it change first: ppm unhold {name}")
    kept = tuple(requirement for requirement in start.requirements if requirement.name not in gone)
    standing = {
        p.manifest.name: Release.of(p.manifest, file_name="", sha256="", source="").stands_for
        for p in readable_packages(start.previous, start.environment)[0]
    }
    answering = [name for name, known in standing.items() if set(known) & (set(gone) - set(packages))]
    plan = _plan(start, kept, dropped=[*gone, *answering])
    for pin in plan.pins:
        if pin.release.name in gone:
            wishes = [requirement.name for requirement in kept if requirement.name in pin.release.stands_for]
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


def plan_autoremove(start: Start) -> Plan:
    """What remains without the patches that nobody asked for and that nothing needs any more."""
    if start.previous is None:
        raise RequestError("nothing is deployed", hint="start with `ppm install PATCH --base MODEL`")
    held = [hold.name for hold in start.holds]
    return _plan(start, start.requirements, dropped=[name for name in start.packages if name not in held])


@dataclass(frozen=True)
class _Market:
    """What there is to choose from: sources together, what is lost of what is deployed, and who offers what."""

    sources: tuple[Source, ...]
    lost: Mapping[str, Sequence[str]]
    offer: Joined

    @staticmethod
    def of(start: Start, given: Sequence[Source], *, only_deployed: bool) -> "_Market":
        """What is deployed, and unless that is all that is wanted (and is whole) what the sources have."""
        stored, lost = readable_packages(start.previous, start.environment)
        sources = list(given)
        if not only_deployed or lost:
            locations: tuple[str | Path, ...] = (*start.request.find_links, *start.workspace.project.sources)
            sources += start.workspace.sources(start.base.name, locations)
        if start.previous is not None:
            sources.append(PackageSource(DEPLOYED_SOURCE, stored, lost))
        return _Market(tuple(sources), lost, Joined(sources))

    def refuse_lost(self, names: Iterable[str], previous: Deployment | None) -> None:
        """Raises IntegrityError when one of these patches is deployed, and its file is nowhere any more."""
        wanted = set(names) & set(self.lost)
        for locked in previous.lock.packages if previous else ():
            offered = (release for source in self.sources for release in source.named(locked.name))
            if locked.name in wanted and not any(release.sha256 == locked.sha256 for release in offered):
                raise IntegrityError(
                    self.lost[locked.name][0],
                    context=locked.pin,
                    hint="`ppm install --find-links DIR` puts this exact file back from a folder; "
                    "otherwise uninstall the patch",
                )


def _plan(
    start: Start,
    requirements: tuple[Requirement, ...],
    *,
    given: Sequence[Source] = (),
    raised: Sequence[str] = (),
    dropped: Sequence[str] = (),
) -> Plan:
    market = _Market.of(start, given, only_deployed=bool(dropped))
    refuse_damaged(requirements, market.offer)
    market.refuse_lost((hold.name for hold in start.holds), start.previous)
    accepted = accept_for(start, requirements, market.offer, market.sources)
    with accepted.saying_why(requirements, market.sources):
        resolution = _resolved(start, accepted.offer, requirements, raised, dropped)
    pins = _in_order(resolution.pins, requirements)
    # What is new is compared with what it takes the place of.
    market.refuse_lost((name for pin in pins for name in (pin.release.name, *pin.release.stands_for)), start.previous)
    check_hashes(pins, [p for p in pins if start.versions.get(p.release.name) != p.release.version], start.request)
    check_publishers(start.workspace.home, start.packages.values(), pins)
    order = tuple(pin.release.name for pin in pins)
    chosen, recipe, remark = _strategy(start, order)
    held = {hold.name for hold in start.holds}
    notes = [*accepted.notes(pins), *(yanked_note(p.release) for p in pins if p.release.yanked is not None)]
    notes += [f"{pin.release.pin} is held" for pin in pins if raised and pin.release.name in held]
    notes += [remark] if remark else []
    notes += [OUT_OF_TIME] if resolution.timed_out else []
    notes += [f"{r.text} overrides what a manifest requires of {r.name}" for r in resolution.overrides]
    before = {package.sha256: package.source for package in start.packages.values()}
    newest, newest_of = newest_as_asked(start.workspace.project, start.request)
    selection = Selection(
        base=accepted.locked(pins),
        requirements=requirements,
        strategy=chosen,
        strategy_digest=recipe.digest,
        packages=locked_packages(
            pins,
            lambda r: before.get(r.sha256, "") if r.source == DEPLOYED_SOURCE else r.source,
            start.packages.values(),
        ),
        overrides=tuple(resolution.overrides),
        dtype=start.dtype,
        exclude_newer=newest,
        exclude_newer_package=newest_of,
    )
    return Plan(
        start.base,
        start.environment,
        selection,
        order,
        start.previous,
        start.policy(order),
        pins,
        market.sources,
        passed_over=tuple(message for name in order for message in market.offer.problems(name)),
        notes=tuple(notes),
        lost=tuple(market.lost),
        limits=start.request.running,
    )


def _resolved(
    start: Start,
    offer: Joined,
    requirements: Sequence[Requirement],
    raised: Sequence[str],
    dropped: Sequence[str],
) -> Resolution:
    recorded = start.previous.lock.overrides if start.previous else ()
    rules = rules_for(start.workspace.project, start.request, start.versions, start.holds, recorded)

    def resolved(recorded: Sequence[Requirement]) -> Resolution:
        return resolve(
            requirements,
            offer,
            fingerprint=start.base.fingerprint,
            base_name=start.base.name,
            rules=replace(rules, recorded=recorded),
            raised=raised,
            kept=[name for name in start.versions if name not in dropped],
        )

    return _with_what_was_recorded(resolved, rules.recorded, raised, start.versions)


def _in_order(pins: Sequence[Pin], requirements: Sequence[Requirement]) -> tuple[Pin, ...]:
    """The pins as the requirements name them, what these depend on last; a hold alone makes none a requested one."""
    order = {name: i for i, name in enumerate(dict.fromkeys(requirement.name for requirement in requirements))}
    found = [
        replace(pin, requested=bool({pin.release.name, *pin.release.stands_for} & set(order)) and pin.requested)
        for pin in pins
    ]
    return tuple(sorted(found, key=lambda pin: order.get(pin.release.name, len(order))))


def _strategy(start: Start, names: Sequence[str]) -> tuple[str, Strategy, str]:
    """The strategy that was asked for, else the project's, else the last one: its name, itself, and what to say of it.

    Raises RequestError or ManifestError.
    """
    previous = start.previous
    last = (previous and previous.lock.strategy) or ""
    gone = bool(last) and last not in builtin_strategies() and not Path(last).is_file()
    asked = start.request.strategy or start.workspace.project.strategy
    chosen = preferring(asked or (not gone and last) or DEFAULT_STRATEGY, start.request.objective)
    if chosen not in builtin_strategies() and expand(chosen).is_file():  # another command may be given elsewhere
        chosen = str(expand(chosen).absolute())
    recipe = read_strategy(chosen)
    if len(names) > 1 and recipe.needs_parent and not _parent(previous, names):
        if asked:
            there = "includes a patch that you no longer want" if start.packages else "does not exist yet"
            raise RequestError(
                f"{chosen} continues from the deployed composition, which {there}", hint="use auto or distilled"
            )
        chosen, recipe = DEFAULT_STRATEGY, read_strategy(DEFAULT_STRATEGY)
    remark = f"the strategy {last} no longer exists; using {DEFAULT_STRATEGY} instead" if gone and not asked else ""
    return chosen, recipe, remark


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


def yanked_note(release: Release) -> str:
    """What to say of a yanked version that is taken."""
    return f"{release.pin} was yanked" + (f": {release.yanked}" if release.yanked else "")
