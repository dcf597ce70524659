"""More patches than can be there together: found by counting, where a search would try every order of them.

Each patch that is needed must have one of its versions. Where all these versions fall into fewer groups than there are
patches, and no two versions of a group go together, there is no solution (the pigeonhole principle). Any search that
learns from conflicts alone needs time that grows exponentially with the number of such patches (Haken 1985).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ppm.requirement import Requirement
from ppm.resolve.contradiction import Asked, Clashes, Crowd, Fact, Needs, Stays
from ppm.resolve.exclusion import clash, is_any
from ppm.resolve.universe import ANY, Universe
from ppm.sources.base import Release

__all__ = ["crowded"]

MAX_CHOICES = 400
"""Beyond so many there is no counting: its time grows with their square. 20 patches of 20 versions are as many."""


@dataclass(frozen=True)
class _Choice:
    """Versions of one patch that exclude the same of all others: their places in the list, and what they exclude."""

    name: str
    places: tuple[int, ...]
    excluded: int


def crowded(requirements: Sequence[Requirement], universe: Universe) -> tuple[Fact, ...]:
    """Facts that leave no solution, if counting shows that there is none; else nothing, which proves nothing."""
    universe.admit(requirements)
    needed, why = _needed(requirements, universe)
    if sum(mask.bit_count() for mask in needed.values()) > MAX_CHOICES:
        return ()
    releases = [release for name, mask in needed.items() for release in universe.select(name, mask)]
    choices = _choices(releases, universe)
    groups = _groups(choices)
    names = _too_many(choices, groups)
    if not names:
        return ()
    kept = [[choice for choice in group if choice.name in names] for group in groups]
    kept = [group for group in kept if group]
    crowd = Crowd(
        tuple(name for name in needed if name in names),
        tuple(
            tuple((choice.name, universe.mask_of(releases[place] for place in choice.places)) for choice in group)
            for group in kept
        ),
    )
    members = [[releases[place] for choice in group for place in choice.places] for group in kept]
    exclusions = (fact for group in members for fact in _exclusions(group, universe))
    return (*dict.fromkeys((*_reasons(names, why), *exclusions)), crowd)


def _needed(
    requirements: Sequence[Requirement], universe: Universe
) -> tuple[dict[str, int], dict[str, tuple[Fact, ...]]]:
    """The patches that every solution has, with the versions that it can have them in; and for each, why it is needed.

    Names that several patches can answer to are left out: one patch may answer to many of them.
    """
    needed: dict[str, int] = {}
    why: dict[str, tuple[Fact, ...]] = {}

    def note(name: str, mask: int, fact: Fact) -> None:
        needed[name] = needed.get(name, -1) & mask
        why[name] = (*why.get(name, ()), fact)

    for name, version in universe.rules.stays.items():
        note(name, universe.matching(name, ANY), Stays(name, version))
    for requirement in requirements:
        if _is_real(requirement, universe):
            note(requirement.name, universe.matching(requirement.name, requirement.specifier), Asked(requirement))
    queue = list(needed)
    for name in queue:
        releases = universe.select(name, needed[name])
        asked = [universe.needs(release) for release in releases]
        for other in sorted(set.intersection(*(set(table) for table in asked)) if asked else ()):
            wishes = [table[other] for table in asked]
            if other not in needed and all(_is_real(wish, universe) for wish in wishes):
                mask = 0
                for wish in wishes:
                    mask |= universe.matching(other, wish.specifier)
                note(other, mask, Needs(name, needed[name], other))
                queue.append(other)
    return needed, why


def _is_real(requirement: Requirement, universe: Universe) -> bool:
    """Whether only the patch of that name will do."""
    return not is_any(requirement) or not universe.answers(requirement.name)


def _choices(releases: Sequence[Release], universe: Universe) -> list[_Choice]:
    """Some releases, those of one patch that exclude the same as one choice."""
    excluded = [0] * len(releases)
    for i, one in enumerate(releases):
        for j, other in enumerate(releases[:i]):
            if _exclude(one, other, universe):
                excluded[i] |= 1 << j
                excluded[j] |= 1 << i
    found: dict[tuple[str, int], list[int]] = {}
    for place, release in enumerate(releases):
        found.setdefault((release.name, excluded[place]), []).append(place)
    return [_Choice(name, tuple(places), mask) for (name, mask), places in found.items()]


def _exclude(one: Release, other: Release, universe: Universe) -> bool:
    """Whether releases of two patches do not go together: by a conflict, or because no version of what both need fits
    both."""
    if one.name == other.name:
        return False
    return bool(clash(one, other) or clash(other, one) or _torn(one, other, universe))


def _torn(one: Release, other: Release, universe: Universe) -> str:
    """A name that two releases need in versions of which none is the same; "" when there is none."""
    ours, theirs = universe.needs(one), universe.needs(other)
    for name in ours.keys() & theirs.keys():
        if _is_real(ours[name], universe) and _is_real(theirs[name], universe):
            fits = universe.matching(name, ours[name].specifier) & universe.matching(name, theirs[name].specifier)
            if not fits:
                return name
    return ""


def _groups(choices: Sequence[_Choice]) -> list[list[_Choice]]:
    """Every choice in one group; any two of a group exclude each other."""
    groups: list[list[_Choice]] = []
    for choice in choices:
        fitting = (g for g in groups if all(choice.excluded >> member.places[0] & 1 for member in g))
        group = next(fitting, None)
        if group is None:
            groups.append([choice])
        else:
            group.append(choice)
    return groups


def _too_many(choices: Sequence[_Choice], groups: Sequence[Sequence[_Choice]]) -> frozenset[str]:
    """Names that have fewer groups among them than they are, by Hall's theorem; empty when each finds one of its own.

    A matching is enlarged along alternating paths; where there is none from a name, what was reached is too many.
    """
    open_to: dict[str, list[int]] = {choice.name: [] for choice in choices}
    for index, group in enumerate(groups):
        for choice in group:
            open_to[choice.name].append(index)
    taken: dict[int, str] = {}
    for start in open_to:
        came_from: dict[int, str] = {}
        reached, queue, end = {start}, [start], None
        for name in queue:
            for index in open_to[name]:
                if index in came_from:
                    continue
                came_from[index] = name
                if index not in taken:
                    end = index
                    break
                if taken[index] not in reached:
                    reached.add(taken[index])
                    queue.append(taken[index])
            if end is not None:
                break
        if end is None:
            return frozenset(reached)
        _enlarge(taken, came_from, end, start)
    return frozenset()


def _enlarge(taken: dict[int, str], came_from: Mapping[int, str], end: int, start: str) -> None:
    """Give each name on the path from `start` to the free group `end` the next group of the path."""
    held = {name: index for index, name in taken.items()}
    index = end
    while True:
        name = came_from[index]
        taken[index] = name
        if name == start:
            return
        index = held[name]


def _reasons(names: Iterable[str], why: Mapping[str, tuple[Fact, ...]]) -> list[Fact]:
    """Why some patches are needed, and those that need them."""
    queue = sorted(names)
    found: dict[Fact, None] = {}
    for name in queue:
        for fact in why[name]:
            found[fact] = None
            if isinstance(fact, Needs) and fact.name not in queue:
                queue.append(fact.name)
    return list(found)


def _exclusions(group: Sequence[Release], universe: Universe) -> Iterator[Fact]:
    """Why no two releases of different patches in a group go together."""
    for i, one in enumerate(group):
        for other in group[:i]:
            by, ruled_out = (one, other) if clash(one, other) else (other, one)
            if clash(by, ruled_out):
                yield Clashes(by.name, universe.mask_of([by]), ruled_out.name, universe.mask_of([ruled_out]))
            elif one.name != other.name:
                torn = _torn(one, other, universe)
                yield from (Needs(c.name, universe.mask_of([c]), torn) for c in (one, other))
