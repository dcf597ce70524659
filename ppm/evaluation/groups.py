"""Groups of prompts: the unit of evidence. What a suite declares and what is found, the coarser of the two.

Prompts of one origin, such as a template, fail together, so they count as one. Two prompts are near-duplicates when
their shingles have a Jaccard index of at least `ALIKE` (Broder 1997, On the resemblance and containment of documents).
They are joined around leaders and never in chains: a chain of small steps leads from any prompt of a template to any
other, and to the next template.
"""

from array import array
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy

from ppm.errors import ManifestError
from ppm.jsonl import Prompt, normalised, place_of

__all__ = [
    "ALIKE",
    "DECLARE",
    "UNDECLARED",
    "Likeness",
    "declared_groups",
    "found_groups",
    "groups_of",
    "shingles",
    "ungrouped",
]

ALIKE = 0.4
"""The Jaccard index of shingles from which two prompts are near-duplicates."""
SHINGLE = 5
"""Characters of a shingle."""
SHARED = 0.5
"""The share of a declared group's prompts that has to be near-duplicates of another group's for the two to be one."""
UNDECLARED = ""
"""The field of prompts that declare no group."""
DECLARE = 'with schema = 2 and a "group" in each prompt they are counted in groups'
"""What to do about a suite of a patch that declares no groups."""


def groups_of(prompts: Sequence[Prompt], field: str, origin: str = "") -> dict[str, str]:
    """The group that each prompt counts in, by the prompt's id; a group is named by the id of one of its prompts.

    `field` is where a prompt declares its group: `group`, or another field of its line. Where no prompt has one, groups
    are found alone. Raises ManifestError where some prompts have one and others don't.
    """
    declared = declared_groups(prompts, field, origin)
    found = found_groups({prompt.id: normalised(prompt.prompt) for prompt in prompts})
    return _joined(declared, found)


def declared_groups(prompts: Sequence[Prompt], field: str, origin: str = "") -> dict[str, str]:
    """What each prompt says of its group; where none says anything, each prompt is a group of its own.

    Raises ManifestError.
    """
    said: dict[str, str] = {}
    for prompt in prompts if field else ():
        value = (
            prompt.group if field == "group" else prompt.expected if field == "expected" else prompt.extra.get(field)
        )
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise ManifestError(
                f"the prompt {prompt.id!r} has a {field!r} that is neither a string nor a whole number", context=origin
            )
        said[prompt.id] = str(value)
    lacking = next((prompt.id for prompt in prompts if prompt.id not in said), None)
    if said and lacking is not None:
        raise ManifestError(
            f"the prompt {lacking!r} has no {field!r}, which other prompts have",
            context=origin,
            hint="give every prompt the name of its group: its template, its source or its author",
        )
    return said or {prompt.id: prompt.id for prompt in prompts}


def ungrouped(prompts: int, unlike: int) -> str:
    """How many prompts a suite without groups has, and how many of them are unlike each other."""
    return f"{prompts} prompts" if unlike == prompts else f"{prompts} prompts, {unlike} of them unlike"


def _joined(declared: Mapping[str, str], found: Mapping[str, str]) -> dict[str, str]:
    """The declared groups, those joined of which one's prompts are, by `SHARED`, near-duplicates of the other's.

    The largest come first, and lead.
    """
    members: defaultdict[str, list[str]] = defaultdict(list)
    for key, group in declared.items():
        members[group].append(key)
    alike: defaultdict[str, set[str]] = defaultdict(set)
    result: dict[str, str] = {}
    for group in sorted(members, key=lambda group: (-len(members[group]), place_of(group), group)):
        keys = members[group]
        shared = Counter(leader for key in keys for leader in alike[found[key]])
        most, leader = max(((count, leader) for leader, count in shared.items()), default=(0, ""))
        if most < SHARED * len(keys):
            leader = min(keys)
            for key in keys:
                alike[found[key]].add(leader)
        result |= dict.fromkeys(keys, leader)
    return result


def found_groups(texts: Mapping[str, str]) -> dict[str, str]:
    """The leader of each text's near-duplicates, by key; texts are normalised. A text without any is its own.

    Texts are taken in an order of their own, by their digests: each joins the leader it is most like, or becomes one.
    """
    led: dict[str, str] = {}
    leaders: list[str] = []
    near = Likeness()
    for key in sorted(texts, key=lambda key: (place_of(texts[key]), texts[key], key)):
        own = shingles(texts[key])
        likeness = near.to(own)
        if len(likeness) and likeness.max() >= ALIKE:
            led[key] = leaders[likeness.argmax()]
        else:
            near.add(own)
            leaders.append(key)
            led[key] = key
    return led


class Likeness:
    """Texts, by their shingles, and how like each of them another one is: the Jaccard index."""

    def __init__(self) -> None:
        self._sizes = array("q")
        self._index: defaultdict[str, array[int]] = defaultdict(lambda: array("q"))

    def add(self, own: frozenset[str]) -> None:
        """One more, with these shingles."""
        for shingle in own:
            self._index[shingle].append(len(self._sizes))
        self._sizes.append(len(own))

    def to(self, own: frozenset[str]) -> numpy.ndarray:
        """How like each of the texts so far one with these shingles is, in the order in which they were added."""
        known = [numpy.frombuffer(self._index[shingle], dtype=numpy.int64) for shingle in own if shingle in self._index]
        if not known:
            return numpy.zeros(len(self._sizes))
        sizes = numpy.frombuffer(self._sizes, dtype=numpy.int64)
        shared = numpy.bincount(numpy.concatenate(known), minlength=len(sizes))
        return shared / (len(own) + sizes - shared)


def shingles(text: str) -> frozenset[str]:
    """The shingles of a normalised text, which stand for it where likeness is measured."""
    padded = f" {text} "
    return frozenset(padded[i : i + SHINGLE] for i in range(max(1, len(padded) - SHINGLE + 1)))
