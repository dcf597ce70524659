"""From requirements and candidates to pins in dependency order; the way in to this package."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from ppm.errors import PpmError, ResolutionError
from ppm.resolve.requirement import Requirement, parse_specifier, phrase
from ppm.resolve.universe import Universe, conflict, provided_names
from ppm.sources.candidate import Candidate

if TYPE_CHECKING:
    from ppm.resolve.explanation import Request

__all__ = ["Pin", "Resolution", "resolve"]


@dataclass(frozen=True)
class Pin:
    """A candidate that was chosen, whether the request asks for it, and the names of the pins that depend on it."""

    candidate: Candidate
    requested: bool
    required_by: tuple[str, ...]


@dataclass(frozen=True)
class Resolution:
    """Pins in dependency order: what a patch depends on comes before it; inside a cycle, by name."""

    pins: tuple[Pin, ...]


def resolve(
    requirements: Sequence[Requirement],
    candidates: Sequence[Candidate],
    *,
    fingerprint: str,
    base_name: str,
    preferred: Mapping[str, Version] | None = None,
    problems: Sequence[tuple[str, str]] = (),
) -> Resolution:
    """A set of patches that satisfies the requirements: the newest that fit, `preferred` versions before newer ones.

    Only candidates for the base model with this fingerprint are used. `problems` are the sources' files that
    can't be read, as (name, message), for the explanation. Raises ResolutionError when no set fits, and
    IntegrityError when two sources hold different files for one version that is looked at.
    """
    universe = Universe(candidates, fingerprint, preferred or {})
    from ppm.resolve.solver import Contradiction, solve

    try:
        chosen = solve(requirements, universe)
    except Contradiction as contradiction:
        from ppm.resolve.explanation import explain

        request = _request(requirements, universe, base_name, problems)
        message, hint = explain(contradiction.facts, request)
        raise ResolutionError(message, hint=hint) from None
    _check(chosen, requirements, fingerprint)
    return Resolution(_pins(chosen, requirements))


def _request(
    requirements: Sequence[Requirement], universe: Universe, base_name: str, problems: Sequence[tuple[str, str]]
) -> "Request":
    from ppm.resolve.explanation import Request
    from ppm.resolve.solver import Contradiction, solve

    def attempt(changed: Sequence[Requirement]) -> dict[str, Candidate] | None:
        try:
            return solve(changed, universe)
        except (Contradiction, PpmError):
            return None
        finally:
            universe.admit(requirements)

    return Request(tuple(requirements), universe, base_name, tuple(problems), attempt)


def _answering(chosen: Mapping[str, Candidate], name: str, specifier: SpecifierSet) -> tuple[str, ...]:
    """The names of the chosen patches that satisfy a requirement: the real one, else all that stand for it."""
    real = chosen.get(name)
    if real is not None:
        return (name,) if specifier.contains(real.version, prereleases=True) else ()
    if str(specifier):
        return ()
    return tuple(sorted(other for other, candidate in chosen.items() if name in provided_names(candidate)))


def _check(chosen: Mapping[str, Candidate], requirements: Sequence[Requirement], fingerprint: str) -> None:
    """The rules once more, without the search's own data. Raises PpmError when the search was wrong."""
    faults = [f"nothing satisfies {r.text}" for r in requirements if not _answering(chosen, r.name, r.specifier)]
    for name, candidate in chosen.items():
        if candidate.name != name or candidate.fingerprint != fingerprint:
            faults.append(f"{candidate.pin} does not belong here")
        for needed, specifier in candidate.manifest.dependencies.items():
            if not _answering(chosen, needed, parse_specifier(specifier)):
                faults.append(f"nothing satisfies {phrase(needed, specifier)}, which {candidate.pin} needs")
        for other in chosen.values():
            reason = conflict(candidate, other)
            if reason:
                faults.append(f"{candidate.pin} {reason}")
    if faults:
        raise PpmError(
            f"the resolver chose a set of patches that breaks its own rules: {'; '.join(faults)}",
            hint="this is a fault of ppm: report it, with the command and the sources",
        )


def _pins(chosen: Mapping[str, Candidate], requirements: Sequence[Requirement]) -> tuple[Pin, ...]:
    requested = {name for r in requirements for name in _answering(chosen, r.name, r.specifier)}
    required_by: dict[str, set[str]] = {name: set() for name in chosen}
    for name, candidate in chosen.items():
        for needed, specifier in candidate.manifest.dependencies.items():
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
