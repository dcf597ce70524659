"""From requirements and releases to pins in dependency order; the way in to this package."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from ppm.errors import PpmError, ResolutionError
from ppm.requirement import Requirement, parse_specifier, phrase
from ppm.resolve.universe import Rules, Universe, conflict
from ppm.sources.base import Offer, Release

if TYPE_CHECKING:
    from ppm.resolve.explanation import Request

__all__ = ["Pin", "Resolution", "faults", "resolve"]


@dataclass(frozen=True)
class Pin:
    """A release that was chosen, whether the request asks for it, and the names of the pins that depend on it."""

    release: Release
    requested: bool
    required_by: tuple[str, ...]


@dataclass(frozen=True)
class Resolution:
    """Pins in dependency order: what a patch depends on comes before it; inside a cycle, by name.

    `overrides` are those without which the manifests of the pins would be broken.
    """

    pins: tuple[Pin, ...]
    overrides: tuple[Requirement, ...] = ()


def resolve(
    requirements: Sequence[Requirement],
    offer: Offer,
    *,
    fingerprint: str,
    base_name: str,
    rules: Rules = Rules(),  # noqa: B008 - frozen
    raised: Sequence[str] = (),
    kept: Sequence[str] = (),
) -> Resolution:
    """A set of patches for the base model with this fingerprint that satisfies the requirements.

    Of the sets that do, one with the newest versions of the `raised` names, the first before the others; then one in
    which the other deployed patches stay, in the order of their names, where they can; then one with the newest
    versions of what else is asked for. Patches that are `kept` stay where they can, though nothing needs them: those
    that are raised, at the newest version that lets them.

    Raises ResolutionError when no set fits, and IntegrityError when two sources hold different files for one version
    that is looked at.
    """
    universe = Universe(offer, fingerprint, rules)
    from ppm.resolve.solver import Contradiction, solve

    try:
        chosen = solve(requirements, universe, frozenset(raised))
    except Contradiction as contradiction:
        from ppm.resolve.explanation import explain

        message, hint = explain(contradiction.facts, _request(requirements, universe, base_name))
        raise ResolutionError(message, hint=hint) from None
    chosen = _Improvement(requirements, universe, frozenset(raised), chosen).best(raised, kept)
    _check(chosen, requirements, universe)
    return Resolution(_pins(chosen, requirements, universe), _in_use(chosen, rules))


class _Improvement:
    """Makes a solution better goal by goal, in the order of what matters; what was won is not given up again.

    A goal is a version of a name: present where the request names it, otherwise that version or none.
    """

    def __init__(
        self,
        requirements: Sequence[Requirement],
        universe: Universe,
        raised: frozenset[str],
        chosen: dict[str, Release],
    ) -> None:
        self.requirements, self.universe, self.raised, self.chosen = requirements, universe, raised, chosen
        self.asked = {requirement.name for requirement in requirements}
        self.fixed: dict[str, Version] = {}

    def best(self, raised: Sequence[str], wanted: Sequence[str]) -> dict[str, Release]:
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
        self.universe.fix({})
        return self.chosen

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
        usable = self.universe.select(name, self.universe.matching(name, SpecifierSet()))
        return any(self._try({name: release.version}) for release in reversed(usable))

    def _try(self, more: Mapping[str, Version]) -> bool:
        """Fix these versions too, if there is a solution then."""
        from ppm.resolve.solver import Contradiction, solve

        fixed = {**self.fixed, **more}
        if not all(self._has(name, version) for name, version in more.items()):
            self.universe.fix(fixed)
            present = [
                Requirement(name, parse_specifier(f"=={version}"), name)
                for name, version in fixed.items()
                if name in self.asked
            ]
            try:
                self.chosen = solve(self.requirements, self.universe, self.raised, present)
            except Contradiction:
                return False
        self.fixed = fixed
        return True

    def _has(self, name: str, version: Version) -> bool:
        found = self.chosen.get(name)
        return name not in self.asked if found is None else found.version == version


def _request(requirements: Sequence[Requirement], universe: Universe, base_name: str) -> "Request":
    from ppm.resolve.explanation import Request
    from ppm.resolve.solver import Contradiction, solve

    def attempt(changed: Sequence[Requirement], rules: Rules) -> dict[str, Release] | None:
        other = universe if rules is universe.rules else Universe(universe.offer, universe.fingerprint, rules)
        try:
            return solve(changed, other)
        except (Contradiction, PpmError):
            return None
        finally:
            universe.admit(requirements)

    return Request(tuple(requirements), universe, base_name, attempt)


def _answering(chosen: Mapping[str, Release], name: str, specifier: SpecifierSet) -> tuple[str, ...]:
    """The names of the chosen patches that satisfy a requirement: the real one, else all that stand for it."""
    real = chosen.get(name)
    if real is not None:
        return (name,) if specifier.contains(real.version, prereleases=True) else ()
    if str(specifier):
        return ()
    return tuple(sorted(other for other, release in chosen.items() if name in release.stands_for))


def faults(
    chosen: Mapping[str, Release],
    requirements: Sequence[Requirement],
    fingerprint: str,
    rules: Rules = Rules(),  # noqa: B008 - frozen
) -> list[str]:
    """What is wrong with a set of patches by the plain rules, without anything that the search knows."""
    found = [f"nothing satisfies {r.text}" for r in requirements if not _answering(chosen, r.name, r.specifier)]
    for name, release in chosen.items():
        if release.name != name or release.fingerprint != fingerprint:
            found.append(f"{release.pin} does not belong here")
        found += [f"{release.pin} {reason}" for reason in _unusable(release, requirements, rules)]
        overrides = rules.overrides_of(release)
        for needed, declared in release.dependencies.items():
            specifier = str(overrides[needed].specifier) if needed in overrides else declared
            if not _answering(chosen, needed, parse_specifier(specifier)):
                found.append(f"nothing satisfies {phrase(needed, specifier)}, which {release.pin} needs")
        for other in chosen.values():
            reason = conflict(release, other)
            if reason:
                found.append(f"{release.pin} {reason}")
    return found


def _in_use(chosen: Mapping[str, Release], rules: Rules) -> tuple[Requirement, ...]:
    """The overrides of what some chosen patch asks in vain."""
    found = {
        needed: rules.overrides_of(release)[needed]
        for release in chosen.values()
        for needed, declared in release.dependencies.items()
        if not _answering(chosen, needed, parse_specifier(declared))
    }
    return tuple(found[name] for name in sorted(found))


def _unusable(release: Release, requirements: Sequence[Requirement], rules: Rules) -> list[str]:
    """Why a release may not be taken whatever goes with it; pre-releases are another matter."""

    def lets_in(requirement: Requirement) -> bool:
        return requirement.specifier.contains(release.version, prereleases=True)

    own = [constraint for constraint in rules.constraints if constraint.name == release.name]
    found = [f"is not what {constraint.origin} allows" for constraint in own if not lets_in(constraint)]
    if rules.deployed.get(release.name) == release.version:
        return found
    if release.yanked is not None and not any(
        r.name == release.name and r.pinned is not None and lets_in(r) for r in requirements
    ):
        found.append("was yanked")
    limit = rules.exclude_newer
    if limit is not None and (release.published is None or release.published > limit):
        found.append(f"is not known to be of {limit:%Y-%m-%d} or before")
    return found


def _early(chosen: Mapping[str, Release], requirements: Sequence[Requirement], universe: Universe) -> list[str]:
    """Pre-releases that nobody asked for, and that a final version could have been taken in place of."""
    rules = universe.rules
    wished = {r.name for r in requirements if r.specifier.prereleases}
    return [
        f"{release.pin} is a pre-release"
        for name, release in chosen.items()
        if release.version.is_prerelease and name not in wished and rules.deployed.get(name) != release.version
        for other in universe.versions(name)
        if not other.version.is_prerelease
        if not _unusable(other, requirements, rules)
    ]


def _check(chosen: Mapping[str, Release], requirements: Sequence[Requirement], universe: Universe) -> None:
    """The rules once more. Raises PpmError when the search was wrong."""
    found = faults(chosen, requirements, universe.fingerprint, universe.rules)
    found += _early(chosen, requirements, universe)
    if found:
        raise PpmError(
            f"the resolver chose a set of patches that breaks its own rules: {'; '.join(found)}",
            hint="this is a fault of ppm: report it, with the command and the sources",
        )


def _pins(chosen: Mapping[str, Release], requirements: Sequence[Requirement], universe: Universe) -> tuple[Pin, ...]:
    requested = {name for r in requirements for name in _answering(chosen, r.name, r.specifier)}
    required_by: dict[str, set[str]] = {name: set() for name in chosen}
    for name, release in chosen.items():
        for needed, specifier in universe.needs(release).items():
            for dependency in _answering(chosen, needed, parse_specifier(specifier)):
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
