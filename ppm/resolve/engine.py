"""From requirements and releases to pins in dependency order; the way in to this package."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.version import Version

from ppm.errors import IntegrityError, ResolutionError, ResolutionTimeout
from ppm.requirement import Requirement, parse_specifier
from ppm.resolve.check import answering, check
from ppm.resolve.contradiction import Contradiction
from ppm.resolve.explanation import explain
from ppm.resolve.hint import advise
from ppm.resolve.story import Search, Story
from ppm.resolve.universe import ANY, Rules, Universe
from ppm.sources.base import Offer, Release

if TYPE_CHECKING:
    from ppm.resolve.solver import Deadline

__all__ = ["Pin", "Resolution", "resolve"]


@dataclass(frozen=True)
class Pin:
    """A release that was chosen, whether the request asks for it, and the names of the pins that depend on it."""

    release: Release
    requested: bool
    required_by: tuple[str, ...]


@dataclass(frozen=True)
class Resolution:
    """Pins in dependency order: what a patch depends on comes before it; inside a cycle, by name.

    `overrides` are those without which the manifests of the pins would be broken. `timed_out` says that the search for
    better versions ended with its time: the pins fit together, and newer ones may too.
    """

    pins: tuple[Pin, ...]
    overrides: tuple[Requirement, ...] = ()
    timed_out: bool = False


def resolve(
    requirements: Sequence[Requirement],
    offer: Offer,
    *,
    fingerprint: str,
    base_name: str,
    rules: Rules = Rules(),  # noqa: B008 - frozen
    raised: Sequence[str] = (),
    kept: Sequence[str] = (),
    clock: Callable[[], float] = time.monotonic,
) -> Resolution:
    """A set of patches for the base model with this fingerprint that satisfies the requirements.

    Of the sets that do, one with the newest versions of the `raised` names, the first before the others; then one in
    which the other deployed patches stay, in the order of their names, where they can; then one with the newest
    versions of what else is asked for. Patches that are `kept` stay where they can, though nothing needs them: those
    that are raised, at the newest version that lets them.

    Raises ResolutionError when no set fits, ResolutionTimeout when the search takes longer than the rules allow, and
    IntegrityError for different files of one version that is looked at.
    """
    universe = Universe(offer, fingerprint, rules)
    for requirement in requirements:
        universe.versions(requirement.name)  # a source that is slow to list does not take from the search's time
    from ppm.resolve.solver import Deadline, solve

    deadline = Deadline.of(rules.seconds, clock)
    try:
        chosen = solve(requirements, universe, deadline, frozenset(raised))
    except Contradiction as contradiction:
        raise _no_solution(contradiction, requirements, universe, base_name, clock) from None
    improvement = _Improvement(requirements, universe, deadline, frozenset(raised), chosen)
    chosen = improvement.best(raised, kept)
    check(chosen, requirements, universe)
    return Resolution(_pins(chosen, requirements, universe), _in_use(chosen, rules), improvement.timed_out)


class _Improvement:
    """Makes a solution better goal by goal, in the order of what matters; what was won is not given up again.

    A goal is a version of a name: present where the request names it, otherwise that version or none.
    """

    def __init__(
        self,
        requirements: Sequence[Requirement],
        universe: Universe,
        deadline: "Deadline",
        raised: frozenset[str],
        chosen: dict[str, Release],
    ) -> None:
        self.requirements, self.universe, self.deadline = requirements, universe, deadline
        self.raised, self.chosen = raised, chosen
        self.asked = {requirement.name for requirement in requirements} | universe.rules.stays.keys()
        self.fixed: dict[str, Version] = {}
        self.timed_out = False

    def best(self, raised: Sequence[str], wanted: Sequence[str]) -> dict[str, Release]:
        """The best solution that is found before the deadline."""
        try:
            self._reach_goals(raised, wanted)
        except ResolutionTimeout:
            self.timed_out = True
        self.universe.fix({})
        return self.chosen

    def _reach_goals(self, raised: Sequence[str], wanted: Sequence[str]) -> None:
        for name in raised:
            self._raise(name, stays=name in wanted)
        deployed = dict(sorted(self.universe.rules.deployed.items()))
        for name in wanted:
            if name in deployed and name not in self.asked and name not in self.raised:
                self._stay(name, deployed[name])
        kept = {name: version for name, version in deployed.items() if name not in self.raised}
        if not self._try(kept):
            for name, version in kept.items():
                self._try({name: version})
        for requirement in self.requirements:
            if requirement.name not in self.fixed:
                self._newest(requirement.name)

    def _raise(self, name: str, *, stays: bool) -> None:
        if name not in self.asked and stays:
            self.asked.add(name)
            if not self._newest(name):
                self.asked.remove(name)
        else:
            self._newest(name)

    def _stay(self, name: str, version: Version) -> None:
        """Let a patch that nothing needs stay, at its version or else the newest, if there is a solution then."""
        self.asked.add(name)
        if not (self._try({name: version}) or self._newest(name)):
            self.asked.remove(name)

    def _newest(self, name: str) -> bool:
        self.universe.fix(self.fixed)
        usable = self.universe.select(name, self.universe.matching(name, ANY))
        return any(self._try({name: release.version}) for release in reversed(usable))

    def _try(self, more: Mapping[str, Version]) -> bool:
        """Fix these versions too, if there is a solution then."""
        from ppm.resolve.solver import solve

        fixed = {**self.fixed, **more}
        if not all(self._has(name, version) for name, version in more.items()):
            self.universe.fix(fixed)
            present = [
                Requirement(name, parse_specifier(f"=={version}"), name)
                for name, version in fixed.items()
                if name in self.asked
            ]
            try:
                self.chosen = solve(self.requirements, self.universe, self.deadline, self.raised, present)
            except Contradiction:
                return False
        self.fixed = fixed
        return True

    def _has(self, name: str, version: Version) -> bool:
        found = self.chosen.get(name)
        return name not in self.asked if found is None else found.version == version


def _no_solution(
    contradiction: Contradiction,
    requirements: Sequence[Requirement],
    universe: Universe,
    base_name: str,
    clock: Callable[[], float],
) -> ResolutionError:
    """The explanation. Looking for a way out may take as long again as the search; what is found by then is said."""
    from ppm.resolve.solver import Deadline, solve

    deadline = Deadline.of(universe.rules.seconds, clock)

    def attempt(changed: Sequence[Requirement], rules: Rules) -> dict[str, Release] | None:
        other = universe if rules is universe.rules else Universe(universe.offer, universe.fingerprint, rules)
        try:
            return solve(changed, other, deadline)
        except (Contradiction, ResolutionTimeout, IntegrityError):
            return None
        finally:
            universe.admit(requirements)

    search = Search(tuple(requirements), universe, base_name, attempt, lambda: not deadline.has_passed)
    story = Story(contradiction.facts, search)
    return ResolutionError(explain(story), hint=advise(story))


def _in_use(chosen: Mapping[str, Release], rules: Rules) -> tuple[Requirement, ...]:
    """The overrides of what some chosen patch asks in vain."""
    found = {
        needed: rules.overrides_of(release)[needed]
        for release in chosen.values()
        for needed, declared in release.dependencies.items()
        if not answering(chosen, declared)
    }
    return tuple(found[name] for name in sorted(found))


def _pins(chosen: Mapping[str, Release], requirements: Sequence[Requirement], universe: Universe) -> tuple[Pin, ...]:
    requested = {name for requirement in requirements for name in answering(chosen, requirement)}
    required_by: dict[str, set[str]] = {name: set() for name in chosen}
    for name, release in chosen.items():
        for wish in universe.needs(release).values():
            for dependency in answering(chosen, wish):
                if dependency != name:
                    required_by[dependency].add(name)
    return tuple(
        Pin(chosen[name], name in requested, tuple(sorted(required_by[name]))) for name in _ordered(required_by)
    )


def _ordered(required_by: Mapping[str, set[str]]) -> list[str]:
    """Names with dependencies before dependents; ties, and the members of a cycle, by name."""
    if not any(required_by.values()):
        return sorted(required_by)
    import networkx

    graph = networkx.DiGraph((name, user) for name, users in required_by.items() for user in users)
    graph.add_nodes_from(required_by)
    cycles = networkx.condensation(graph)
    members = {cycle: sorted(cycles.nodes[cycle]["members"]) for cycle in cycles}
    order = networkx.lexicographical_topological_sort(cycles, key=lambda cycle: members[cycle][0])
    return [name for cycle in order for name in members[cycle]]
