"""The search: PubGrub over a universe, by way of nab_resolver, which nothing else in ppm knows of.

A virtual name is a node of its own whose "versions" are the patches that can stand for it. A conflict is an
extra clause, added when one of the two patches is first considered.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import NamedTuple, NoReturn

from nab_resolver.errors import ResolutionError as Unsolvable
from nab_resolver.errors import ResolutionTerminatedError
from nab_resolver.resolver import BaseProvider, Resolver, ResolverObserver
from nab_resolver.types import Incompatibility, IncompatibilityCause, RangeProtocol, RootRequirement, Term
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from ppm.errors import PpmError, ResolutionTimeout
from ppm.requirement import Requirement
from ppm.resolve.contradiction import Asked, Clashes, Contradiction, Fact, Needs, Stays
from ppm.resolve.crowding import crowded
from ppm.resolve.exclusion import clash
from ppm.resolve.universe import ANY, Universe
from ppm.sources.base import Release

__all__ = ["Deadline", "solve"]

COUNT_AFTER = 30
"""Conflicts after which a search stops to count: see `crowding`."""
MAX_ROUNDS = 2**62
"""Time alone limits a search."""
MAX_NAMES_SHOWN = 9


@dataclass(frozen=True)
class Deadline:
    """When a search is given up: after so many `seconds`, by `clock`."""

    seconds: float
    clock: Callable[[], float]
    until: float

    @staticmethod
    def of(seconds: float, clock: Callable[[], float]) -> "Deadline":
        """One that starts now. Raises ValueError when it leaves no time."""
        if not seconds > 0:
            raise ValueError(f"a search needs more than {seconds} seconds")
        return Deadline(seconds, clock, clock() + seconds)

    @property
    def has_passed(self) -> bool:
        return self.clock() >= self.until


def solve(
    requirements: Sequence[Requirement],
    universe: Universe,
    deadline: Deadline,
    raised: Set[str] = frozenset(),
    present: Sequence[Requirement] = (),
) -> dict[str, Release]:
    """One release for each name that is needed: the newest, or what is deployed unless its name is `raised`.

    What is to be `present` is required too, without what a wish of the request's own lets in. Raises Contradiction,
    ResolutionTimeout after the deadline, or PpmError when the search is at fault.
    """
    universe.admit(requirements)
    try:
        return _search(requirements, universe, _Watch(deadline, COUNT_AFTER), raised, present)
    except _Stuck:
        facts = crowded((*requirements, *present), universe)
        universe.admit(requirements)
    if facts:
        raise Contradiction(facts)
    return _search(requirements, universe, _Watch(deadline), raised, present)


def _search(
    requirements: Sequence[Requirement],
    universe: Universe,
    watch: "_Watch",
    raised: Set[str],
    present: Sequence[Requirement],
) -> dict[str, Release]:
    provider = _Provider(universe, raised)
    roots = [RootRequirement(*provider.target(r.name, r.specifier), origin=Asked(r)) for r in (*requirements, *present)]
    for name, version in universe.rules.stays.items():
        roots.append(RootRequirement(*provider.exactly(name, version), origin=Stays(name, version)))
    resolver = Resolver(provider, range_type=_Versions, observer=watch, max_iterations=MAX_ROUNDS)
    try:
        pins = resolver.resolve(roots)
    except ResolutionTerminatedError as error:
        raise PpmError(
            "the search for a set of patches that fit together failed",
            hint="this is a bug in ppm: please report it, with the command and the sources",
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

    def __and__(self, other: object) -> "_Versions":
        return _Versions(self.bits & _bits(other))

    def __or__(self, other: object) -> "_Versions":
        return _Versions(self.bits | _bits(other))

    def __invert__(self) -> "_Versions":
        return _Versions(~self.bits)

    def __sub__(self, other: object) -> "_Versions":
        return _Versions(self.bits & ~_bits(other))

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


class _Stuck(Exception):
    """A search has had many conflicts."""


class _Watch(ResolverObserver[_Node, int]):
    """Counts what a search does, and ends it after its deadline, or after `patience` conflicts."""

    def __init__(self, deadline: Deadline, patience: int | None = None) -> None:
        self._deadline = deadline
        self._patience = patience
        self._conflicts: Counter[str] = Counter()
        self._decisions = self._count = 0

    def on_decision(self, package: _Node, version: int, level: int) -> None:
        self._decisions += 1
        self._check()

    def on_conflict(self, incompatibility: Incompatibility[_Node, int]) -> None:
        self._count += 1
        self._conflicts.update(term.package.name for term in incompatibility.terms if isinstance(term.package, _Node))
        if self._patience is not None and self._count >= self._patience:
            raise _Stuck
        self._check()

    def on_learned(self, incompatibility: Incompatibility[_Node, int]) -> None:
        self._check()

    def _check(self) -> None:
        if self._deadline.has_passed:
            self._give_up()

    def _give_up(self) -> NoReturn:
        names = sorted(name for name, _ in self._conflicts.most_common(MAX_NAMES_SHOWN))
        more = len(self._conflicts) - len(names)
        shown = f"{', '.join(names)}{f' and {more:,} more' if more > 0 else ''}"
        between = f" The patches that kept excluding each other are {shown}." if names else ""
        raise ResolutionTimeout(
            f"no set of patches was found in {self._deadline.seconds:g} seconds, and none was ruled out. "
            f"{self._decisions:,} version choices were tried, and {self._count:,} led to a conflict.{between}",
            hint=f"ask for exact versions of some{' of them' if names else ''}, or for fewer patches at once; "
            f"or give the search more time: PPM_SEARCH_SECONDS={10 * self._deadline.seconds:g}",
        )


class _Provider(BaseProvider[_Node, int]):
    """Answers the resolver's questions out of a universe."""

    def __init__(self, universe: Universe, raised: Set[str]) -> None:
        self.universe = universe
        self._raised = raised
        self._answers: dict[str, list[tuple[str, int]]] = {}
        self._needs: dict[tuple[_Node, int], dict[_Node, _Versions]] = {}
        self._alike: dict[str, list[_Versions]] = {}
        self._clauses: list[Incompatibility[_Node, int]] = []
        self._considered: set[tuple[_Node, int]] = set()
        self._decided: Mapping[_Node, int] = {}

    def exactly(self, name: str, version: Version) -> tuple[_Node, _Versions]:
        """The node of a patch, and one of its versions."""
        versions = self.universe.versions(name)
        mask = self.universe.mask_of(c for c in versions if c.version == version) & self.universe.matching(name, ANY)
        return _Node(name), _Versions(mask or 1 << len(versions))

    def target(self, name: str, specifier: SpecifierSet) -> tuple[_Node, _Versions]:
        """The node that a requirement is about, and which of its versions will do."""
        answers = self._options(name)
        if answers and not len(specifier):
            return _Node(name, virtual=True), _Versions((1 << len(answers)) - 1)
        mask = self.universe.matching(name, specifier)
        # A version number that no version has: a set that is empty from the start would be no requirement at all.
        return _Node(name), _Versions(mask or 1 << len(self.universe.versions(name)))

    def _options(self, name: str) -> list[tuple[str, int]]:
        if name not in self._answers:
            self._answers[name] = list(self.universe.answers(name).items())
        return self._answers[name]

    def receive_partial_solution_hint(
        self, positive_ranges: Mapping[_Node, RangeProtocol[int]], decisions: Mapping[_Node, int]
    ) -> None:
        self._decided = decisions

    def choose_version(self, package: _Node, version_range: RangeProtocol[int]) -> int | None:
        allowed = _bits(version_range)
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

    def has_satisfying_version(self, package: _Node, version_range: RangeProtocol[int]) -> bool:
        count = len(self._answers[package.name] if package.virtual else self.universe.versions(package.name))
        return bool(_bits(version_range) & ((1 << count) - 1))

    def get_dependencies(self, package: _Node, version: int) -> dict[_Node, _Versions]:
        key = (package, version)
        if key not in self._needs:
            if package.virtual:
                provider, mask = self._answers[package.name][version]
                self._needs[key] = {_Node(provider): _Versions(mask)}
            else:
                needs = self.universe.needs(self.universe.versions(package.name)[version])
                self._needs[key] = dict(self.target(name, wish.specifier) for name, wish in needs.items())
        return self._needs[key]

    def prioritize(
        self,
        package: _Node,
        version_range: RangeProtocol[int],
        conflict_counts: Mapping[_Node, int],
        culprit_counts: Mapping[_Node, int] | None = None,
    ) -> tuple[bool, int]:
        # Virtual names last: by then a patch that is needed anyway may stand for them.
        return package.virtual, -conflict_counts.get(package, 0)

    def widen_decision(self, package: _Node, version: int) -> _Versions | None:
        if package.virtual:
            return None
        if package.name not in self._alike:
            self._alike[package.name] = self._sharing_needs(package.name)
        return self._alike[package.name][version]

    def _sharing_needs(self, name: str) -> list[_Versions]:
        """For each version of a patch, those that need the same."""
        tables = [self.universe.needs(release) for release in self.universe.versions(name)]
        keys = [tuple(sorted((wish.name, wish.text) for wish in table.values())) for table in tables]
        masks: dict[tuple[tuple[str, str], ...], int] = {}
        for index, key in enumerate(keys):
            masks[key] = masks.get(key, 0) | 1 << index
        return [_Versions(masks[key]) for key in keys]

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
                ruled_out = sum(1 << i for i, c in enumerate(self.universe.versions(other)) if clash(release, c))
                if ruled_out:
                    terms = [Term(package, _Versions(1 << version)), Term(_Node(other), _Versions(ruled_out))]
                    self._clauses.append(Incompatibility(terms, IncompatibilityCause.DEPENDENCY))


def _facts(error: Unsolvable) -> tuple[Fact, ...]:
    """The facts that the proof starts from, in its order, each once."""
    facts: dict[Fact, None] = {}
    clauses: Iterable[Incompatibility[_Node, int]] = error.incompatibility.walk() if error.incompatibility else ()
    for clause in clauses:
        if clause.cause is IncompatibilityCause.ROOT:
            facts[clause.origin] = None
        elif clause.cause is IncompatibilityCause.DEPENDENCY and not clause.terms[0].package.virtual:
            subject, needed = clause.terms[0], clause.terms[-1]
            name, mask = subject.package.name, _bits(subject.constraint)
            if len(clause.terms) > 1 and needed.is_positive():
                facts[Clashes(name, mask, needed.package.name, _bits(needed.constraint))] = None
            else:
                facts[Needs(name, mask, needed.package.name)] = None
    return tuple(facts)


def _bits(versions: object) -> int:
    """nab_resolver knows the type of a range by its protocol alone, and hands back what it was given."""
    assert isinstance(versions, _Versions)
    return versions.bits
