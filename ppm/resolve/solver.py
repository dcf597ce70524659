"""The search: PubGrub over a universe, by way of nab_resolver, which nothing else in ppm knows of.

A virtual name is a node of its own whose "versions" are the patches that can stand for it. A conflict is an
extra clause, added when one of the two patches is first considered.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, NamedTuple

from nab_resolver.errors import ResolutionError as Unsolvable
from nab_resolver.errors import ResolutionTerminatedError
from nab_resolver.resolver import BaseProvider, Resolver
from nab_resolver.types import Incompatibility, IncompatibilityCause, RootRequirement, Term

from ppm.errors import PpmError
from ppm.requirement import Requirement, parse_specifier
from ppm.resolve.universe import Universe, conflict
from ppm.sources.base import Release

__all__ = ["Asked", "Clashes", "Contradiction", "Fact", "Needs", "solve"]


@dataclass(frozen=True)
class Asked:
    """The request holds this requirement."""

    requirement: Requirement


@dataclass(frozen=True)
class Needs:
    """These versions of a patch depend on a name."""

    name: str
    mask: int
    needed: str


@dataclass(frozen=True)
class Clashes:
    """These versions of a patch rule out those of another."""

    name: str
    mask: int
    other: str
    other_mask: int


Fact = Asked | Needs | Clashes


class Contradiction(Exception):
    """No set of patches satisfies the requirements; `facts` alone suffice to prove it."""

    def __init__(self, facts: tuple[Fact, ...]) -> None:
        super().__init__("no solution")
        self.facts = facts


def solve(
    requirements: Sequence[Requirement],
    universe: Universe,
    raised: Set[str] = frozenset(),
    present: Sequence[Requirement] = (),
) -> dict[str, Release]:
    """One release for each name that is needed: the newest, or what is deployed unless its name is `raised`.

    What is to be `present` is required too, without what a wish of the request's own lets in.

    Raises Contradiction, or PpmError when the search gives up.
    """
    universe.admit(requirements)
    provider = _Provider(universe, raised)
    roots = [RootRequirement(*provider.target(r.name, r.specifier), origin=r) for r in (*requirements, *present)]
    try:
        pins = Resolver(provider, range_type=_Versions).resolve(roots)
    except ResolutionTerminatedError as error:
        raise PpmError(
            "the search for a set of patches that fit together was given up",
            hint="narrow the request: ask for exact versions of some of the patches",
        ) from error
    except Unsolvable as error:
        raise Contradiction(_facts(error)) from error
    return {node.name: universe.versions(node.name)[version] for node, version in pins.items() if not node.virtual}


class _Node(NamedTuple):
    """What the search decides on: a patch, or which patch stands for a virtual name."""

    name: str
    virtual: bool = False


@dataclass(frozen=True)
class _Relation:
    is_subset: bool
    is_disjoint: bool


class _Versions:
    """A set of version numbers as a bit mask. Python's integers extend the sign for ever, so complements are exact."""

    __slots__ = ("bits",)

    def __init__(self, bits: int) -> None:
        self.bits = bits

    @classmethod
    def empty(cls) -> "_Versions":
        return cls(0)

    @classmethod
    def full(cls) -> "_Versions":
        return cls(-1)

    @classmethod
    def singleton(cls, version: int) -> "_Versions":
        return cls(1 << version)

    @property
    def is_empty(self) -> bool:
        return self.bits == 0

    def __contains__(self, version: int) -> bool:
        return bool(self.bits >> version & 1)

    def __and__(self, other: Any) -> "_Versions":
        return _Versions(self.bits & other.bits)

    def __or__(self, other: Any) -> "_Versions":
        return _Versions(self.bits | other.bits)

    def __invert__(self) -> "_Versions":
        return _Versions(~self.bits)

    def __sub__(self, other: Any) -> "_Versions":
        return _Versions(self.bits & ~other.bits)

    def is_subset(self, other: "_Versions") -> bool:
        return self.bits & ~other.bits == 0

    def is_superset(self, other: "_Versions") -> bool:
        return other.bits & ~self.bits == 0

    def is_disjoint(self, other: "_Versions") -> bool:
        return self.bits & other.bits == 0

    def relation(self, other: "_Versions") -> _Relation:
        return _Relation(self.is_subset(other), self.is_disjoint(other))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Versions) and self.bits == other.bits

    def __hash__(self) -> int:
        return hash(self.bits)

    def __str__(self) -> str:
        return bin(self.bits)


class _Provider(BaseProvider[_Node, int]):
    """Answers the resolver's questions out of a universe."""

    def __init__(self, universe: Universe, raised: Set[str]) -> None:
        self.universe = universe
        self._raised = raised
        self._answers: dict[str, list[tuple[str, int]]] = {}
        self._needs: dict[tuple[_Node, int], dict[_Node, _Versions]] = {}
        self._clauses: list[Incompatibility[_Node, int]] = []
        self._considered: set[tuple[_Node, int]] = set()
        self._decided: Mapping[_Node, int] = {}

    def target(self, name: str, specifier: Any) -> tuple[_Node, _Versions]:
        """The node that a requirement is about, and which of its versions will do."""
        answers = self._options(name)
        if answers and not str(specifier):
            return _Node(name, virtual=True), _Versions((1 << len(answers)) - 1)
        mask = self.universe.matching(name, specifier)
        # A version number that no version has: a set that is empty from the start would be no requirement at all.
        return _Node(name), _Versions(mask or 1 << len(self.universe.versions(name)))

    def _options(self, name: str) -> list[tuple[str, int]]:
        if name not in self._answers:
            self._answers[name] = list(self.universe.answers(name).items())
        return self._answers[name]

    def receive_partial_solution_hint(self, positive_ranges: Any, decisions: Mapping[_Node, int]) -> None:
        self._decided = decisions

    def choose_version(self, package: _Node, version_range: Any) -> int | None:
        allowed = version_range.bits
        if package.virtual:
            return self._choose_answer(package.name, allowed)
        versions = self.universe.versions(package.name)
        allowed &= (1 << len(versions)) - 1
        if not allowed:
            return None
        kept = None if package.name in self._raised else self.universe.rules.deployed.get(package.name)
        chosen = next((i for i, c in enumerate(versions) if c.version == kept and allowed >> i & 1), None)
        if chosen is None:
            chosen = allowed.bit_length() - 1
        self._consider(package, chosen)
        return chosen

    def _choose_answer(self, name: str, allowed: int) -> int | None:
        options = [(i, *option) for i, option in enumerate(self._answers[name]) if allowed >> i & 1]
        for index, provider, mask in options:
            decided = self._decided.get(_Node(provider))
            if decided is not None and mask >> decided & 1:
                return index
        return options[0][0] if options else None

    def has_satisfying_version(self, package: _Node, version_range: Any) -> bool:
        count = len(self._answers[package.name] if package.virtual else self.universe.versions(package.name))
        return bool(version_range.bits & ((1 << count) - 1))

    def get_dependencies(self, package: _Node, version: int) -> dict[_Node, Any]:
        key = (package, version)
        if key not in self._needs:
            if package.virtual:
                provider, mask = self._answers[package.name][version]
                self._needs[key] = {_Node(provider): _Versions(mask)}
            else:
                needs = self.universe.needs(self.universe.versions(package.name)[version])
                self._needs[key] = dict(self.target(name, parse_specifier(text)) for name, text in needs.items())
        return self._needs[key]

    def prioritize(self, package: _Node, version_range: Any, conflict_counts: Any, culprit_counts: Any = None) -> Any:
        # Virtual names last: by then a patch that is needed anyway may stand for them.
        return package.virtual, -conflict_counts.get(package, 0)

    def widen_decision(self, package: _Node, version: int) -> Any:
        if package.virtual:
            return None
        versions = self.universe.versions(package.name)
        same = self.universe.needs(versions[version])
        return _Versions(sum(1 << i for i, c in enumerate(versions) if self.universe.needs(c) == same))

    def consume_pending_clauses(self) -> list[Incompatibility[_Node, int]]:
        clauses, self._clauses = self._clauses, []
        return clauses

    def _consider(self, package: _Node, version: int) -> None:
        """Queue what this version rules out; a clause binds both sides, so only the one that declares it adds it."""
        if (package, version) in self._considered:
            return
        self._considered.add((package, version))
        release = self.universe.versions(package.name)[version]
        for name in sorted({*release.conflicts, *release.replaces}):
            for other in {name: 0, **dict(self._options(name))}:
                ruled_out = sum(1 << i for i, c in enumerate(self.universe.versions(other)) if conflict(release, c))
                if ruled_out:
                    terms = [Term(package, _Versions(1 << version)), Term(_Node(other), _Versions(ruled_out))]
                    self._clauses.append(Incompatibility(terms, IncompatibilityCause.DEPENDENCY))


def _facts(error: Unsolvable) -> tuple[Fact, ...]:
    """The facts that the proof starts from, in its order, each once."""
    facts: dict[Fact, None] = {}
    clauses: Iterable[Incompatibility[Any, Any]] = error.incompatibility.walk() if error.incompatibility else ()
    for clause in clauses:
        if clause.cause is IncompatibilityCause.ROOT:
            facts[Asked(clause.origin)] = None
        elif clause.cause is IncompatibilityCause.DEPENDENCY and not clause.terms[0].package.virtual:
            subject, needed = clause.terms[0], clause.terms[-1]
            name, mask = subject.package.name, _bits(subject)
            if len(clause.terms) > 1 and needed.is_positive():
                facts[Clashes(name, mask, needed.package.name, _bits(needed))] = None
            else:
                facts[Needs(name, mask, needed.package.name)] = None
    return tuple(facts)


def _bits(term: Term[Any, Any]) -> int:
    versions = term.constraint
    assert isinstance(versions, _Versions)
    return versions.bits
