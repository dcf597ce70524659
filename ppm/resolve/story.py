"""The facts of a contradiction by name, in the order of a walk from the request down the dependencies."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from packaging.version import Version

from ppm.requirement import Requirement
from ppm.resolve.contradiction import Asked, Clashes, Crowd, Fact, Needs, Stays
from ppm.resolve.exclusion import Constrained, Exclusion, Held, is_any
from ppm.resolve.universe import ANY, Rules, Universe
from ppm.sources.base import Release

__all__ = ["Search", "Story"]


@dataclass(frozen=True)
class Search:
    """What was asked of whom.

    `attempt` says what a changed request would give, or changed rules: None for no solution, or for none that was found
    while it `has_time`.
    """

    requirements: tuple[Requirement, ...]
    universe: Universe
    base_name: str
    attempt: Callable[[Sequence[Requirement], Rules], dict[str, Release] | None]
    has_time: Callable[[], bool]

    @property
    def rules(self) -> Rules:
        return self.universe.rules


class Story:
    """What the facts say of each name that they reach, and of what else bears on it."""

    def __init__(self, facts: Sequence[Fact], search: Search) -> None:
        self.search = search
        self.universe = search.universe
        found = {id(fact.requirement) for fact in facts if isinstance(fact, Asked)}
        self.asked = [requirement for requirement in search.requirements if id(requirement) in found]
        self.stays: dict[str, Version] = {fact.name: fact.version for fact in facts if isinstance(fact, Stays)}
        self.needs = [fact for fact in facts if isinstance(fact, Needs)]
        self.clashes = [fact for fact in facts if isinstance(fact, Clashes)]
        self.crowd = next((fact for fact in facts if isinstance(fact, Crowd)), None)
        self.names = self._walk()
        self.demands = {name: self._demands(name) for name in self.names}

    @property
    def involved(self) -> list[str]:
        """The names of the patches that declare what stands in the way."""
        clashing = {name for fact in self.clashes for name in (fact.name, fact.other)}
        return sorted({fact.name for fact in self.needs} | clashing) or sorted(self.names)

    def _walk(self) -> list[str]:
        names = dict.fromkeys((*(requirement.name for requirement in self.asked), *self.stays))
        queue = list(names)
        for name in queue:
            stand_ins = sorted(self.universe.answers(name))
            below = self.below(name)
            for following in (*(s for s in stand_ins if self._speaks_of(s)), *sorted(below)):
                if following not in names:
                    names[following] = None
                    queue.append(following)
        return list(names)

    def below(self, name: str) -> list[str]:
        """What the facts say that a patch needs; of one of a crowd, only what is of the crowd itself."""
        needed = [fact.needed for fact in self.needs if fact.name == name]
        if self.crowd is not None and name in self.crowd.names:
            return [other for other in needed if other in self.crowd.names]
        return needed

    def _speaks_of(self, name: str) -> bool:
        return any(name == fact.name for fact in self.needs) or any(name in (f.name, f.other) for f in self.clashes)

    def _demands(self, name: str) -> list[Requirement]:
        """What the request and the dependencies of what it reaches ask of a name; the same versions once."""
        demands = [requirement for requirement in self.asked if requirement.name == name]
        for fact in self.needs:
            if fact.needed == name and fact.name in self.names:
                subjects = self.universe.select(fact.name, self.in_play(fact))
                demands += [self.universe.needs(release)[name] for release in subjects]
        found: dict[str, Requirement] = {}
        for demand in demands:
            found.setdefault(str(demand.specifier), demand)
        return list(found.values())

    def available(self, name: str) -> list[Release]:
        """The versions that are to be had, but for a hold; oldest first."""
        left_out = self.universe.left_out(name)
        versions = enumerate(self.universe.versions(name))
        return [release for i, release in versions if isinstance(left_out.get(i), Held | None)]

    def is_torn(self, name: str) -> bool:
        """Whether some versions of a name, and not simply all, are asked for, or ruled out by another patch."""
        if not all(is_any(demand) for demand in self.demands[name]):
            return True
        owners = (c for f in self.clashes if f.other == name for c in self.universe.select(f.name, f.mask))
        wishes = (table.get(name) for c in owners for table in (c.conflicts, c.replaces))
        return any(wish is not None and not is_any(wish) for wish in wishes)

    def in_play(self, fact: Needs | Clashes) -> int:
        """The versions that a fact is about, less those that the request itself shuts out."""
        mask = fact.mask
        for requirement in self.asked:
            if requirement.name == fact.name:
                mask &= self.universe.matching(fact.name, requirement.specifier)
        return mask & self.universe.matching(fact.name, ANY) or mask

    def unmet(self, name: str) -> list[Requirement]:
        """The demands on a name that no usable version fits."""
        virtual = bool(self.universe.answers(name))
        return [
            demand
            for demand in self.demands[name]
            if not self.universe.matching(name, demand.specifier) and not (virtual and is_any(demand))
        ]

    def shut_out(self, name: str) -> list[tuple[Release, Exclusion]]:
        """The newest version that fits the demands on a name and is not to be had, for each kind of reason.

        Where there is no patch of that name and none that may stand for it: the same of those that would.
        """
        universe = self.universe
        found = [
            (release, exclusion)
            for release, exclusion in self._left_out(name)
            if all(demand.specifier.contains(release.version, prereleases=True) for demand in self.demands[name])
        ]
        if not universe.versions(name) and not universe.answers(name) and all(map(is_any, self.demands[name])):
            providers = sorted(universe.offer.providers(name, universe.fingerprint))
            found += [one for p in providers for one in self._left_out(p) if name in one[0].stands_for]
        return list({(release.name, _kind(exclusion)): (release, exclusion) for release, exclusion in found}.values())

    def _left_out(self, name: str) -> list[tuple[Release, Exclusion]]:
        versions = self.universe.versions(name)
        return [(versions[index], exclusion) for index, exclusion in self.universe.left_out(name).items()]


def _kind(exclusion: Exclusion) -> tuple[type, str]:
    """What makes two exclusions the same to a reader."""
    return type(exclusion), exclusion.by.origin if isinstance(exclusion, Constrained) else ""
