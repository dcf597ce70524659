"""Conflicts of meaning: patches that want opposite things, found before anything is composed.

What patches state is read from their replay pairs: on the same prompt, one patch's answer is what another rejects.
Where the two answers merely have nothing in common, that is said and no more. What they do is measured: alone, one
patch makes another's suite worse than the base does, by more than that suite's margin. No strategy can serve both, so
somebody has to say which one counts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from ppm.audit.gate import difference_of, margin_of
from ppm.errors import ResolutionError
from ppm.evaluation.groups import Likeness, shingles
from ppm.evaluation.results import Outcome
from ppm.evaluation.suites import LoadedSuite
from ppm.jsonl import Pair, last_turn, normalised
from ppm.package import Package
from ppm.project import Gates, preferred

__all__ = ["Conflict", "check_settled", "giving_way", "measured_conflicts", "other_styles", "stated_conflicts"]

SAME_PROMPT = 0.8
"""The Jaccard index of shingles from which two prompts ask the same."""
SAME_ANSWER, OTHER_ANSWER = 0.6, 0.3
"""From which likeness two answers are the same, and up to which they have nothing in common."""
FEWEST, LEAST_SHARE = 3, 0.5
"""On how many common prompts two patches have to disagree, and on which share: of all, of look-alikes, or of others."""
ALPHA = 0.01
"""What all measured comparisons of one composition spend together."""
SHOWN = 3
LONGEST = 80


@dataclass(frozen=True)
class Conflict:
    """Two patches that want opposite things: what is found, in words, and examples of it.

    `suite` is the label of the second's suite that the first makes worse, where that is what was found.
    """

    first: str
    second: str
    what: str
    examples: tuple[str, ...] = ()
    suite: str = ""

    @property
    def text(self) -> str:
        """All of it, for people, an example a line."""
        return "\n".join([f"{self.first} and {self.second}: {self.what}", *(f"  {line}" for line in self.examples)])


def stated_conflicts(packages: Sequence[Package]) -> list[Conflict]:
    """What the patches' own replay pairs say of each other: one answers what the other rejects."""
    return _stated(packages, _opposite, "what one answers, the other rejects")


def other_styles(packages: Sequence[Package]) -> list[Conflict]:
    """Patches that answer the same prompts in ways that have nothing in common, such as two styles of refusal.

    A composition can hold no more than one of these ways; whether that matters, the suites show.
    """

    def differ(ours: Pair, theirs: Pair) -> bool:
        return not _opposite(ours, theirs) and _alike(ours.chosen, theirs.chosen) <= OTHER_ANSWER

    return _stated(packages, differ, "they answer the same prompts in ways that have nothing in common")


def _stated(packages: Sequence[Package], disagree: Callable[[Pair, Pair], bool], what: str) -> list[Conflict]:
    """Every two patches that disagree on half of their common prompts, of the look-alikes, or of the others."""
    found = []
    for first, second in combinations(packages, 2):
        common = _common(first.replay, second.replay)
        look_alikes = [both for both in common if _is_look_alike(*both)]
        others = [both for both in common if not _is_look_alike(*both)]
        for kind, some in (("prompts", common), ("look-alikes", look_alikes), ("other prompts", others)):
            pairs = [both for both in some if disagree(*both)]
            if len(pairs) >= FEWEST and len(pairs) >= LEAST_SHARE * len(some):
                count = f" ({len(pairs)} of {len(some)} {kind} that both have)"
                examples = tuple(_example(first, second, *both) for both in pairs[:SHOWN])
                found.append(Conflict(first.manifest.name, second.manifest.name, what + count, examples))
                break
    return found


def measured_conflicts(
    packages: Sequence[Package],
    suites: Sequence[LoadedSuite],
    base: Mapping[str, Outcome],
    specialists: Mapping[tuple[str, str], Outcome],
    policy: Gates,
) -> list[Conflict]:
    """What the patches, each alone, do to each other's suites.

    `base` are the base's outcomes by the suites' labels, and `specialists` those of the patches by (name, label).
    """
    names = [package.manifest.name for package in packages]
    cases = [(s, name) for s in suites if s.owner in names for name in names if name != s.owner]
    found = []
    for suite, name in cases:
        outcome, margin = specialists[name, suite.label], margin_of(suite, policy)
        worse = difference_of(suite, outcome, base[suite.label], ALPHA / len(cases), margin)
        if worse.low <= margin:
            continue
        what = (
            f"alone, {name} makes {suite.label} worse than the base does, "
            f"by {worse.value:.3f} [{worse.low:.3f}, {worse.high:.3f}], where the margin is {margin:g}"
        )
        found.append(Conflict(name, str(suite.owner), what, _worse(suite, outcome, base[suite.label]), suite.label))
    return found


def check_settled(conflicts: Sequence[Conflict], priority: Sequence[str]) -> None:
    """Raises ResolutionError, which names all conflicts, unless a priority says of each which patch counts."""
    settled = [set(preferred(entry)) for entry in priority]
    left = [conflict for conflict in conflicts if {conflict.first, conflict.second} not in settled]
    if left:
        first = left[0]
        raise ResolutionError(
            "some patches want opposite things:\n" + "\n".join(conflict.text for conflict in left),
            hint=f"leave one of them out, or say which one counts: --prefer '{first.first}>{first.second}', "
            'or priority = ["A>B"] under [gates] in ppm.toml',
        )


def giving_way(conflicts: Sequence[Conflict], priority: Sequence[str]) -> dict[str, str]:
    """By the labels of suites that a preferred patch makes worse than the base does, that patch."""
    pairs = [preferred(entry) for entry in priority]
    return {c.suite: c.first for c in conflicts if c.suite and (c.first, c.second) in pairs}


def _common(ours: Sequence[Pair], theirs: Sequence[Pair]) -> list[tuple[Pair, Pair]]:
    """Each of our pairs with the one of theirs whose prompt is most like it, if that asks the same."""
    others = Likeness()
    for pair in theirs:
        others.add(shingles(normalised(pair.prompt)))
    found = []
    for pair in ours if theirs else ():
        likeness = others.to(shingles(normalised(pair.prompt)))
        if likeness.max() >= SAME_PROMPT:
            found.append((pair, theirs[int(likeness.argmax())]))
    return found


def _is_look_alike(ours: Pair, theirs: Pair) -> bool:
    """Whether either marks the prompt as a look-alike: harmless, though it resembles a risky one."""
    return "twin_of" in ours.extra or "twin_of" in theirs.extra


def _alike(first: str, second: str) -> float:
    one, other = shingles(normalised(first)), shingles(normalised(second))
    return len(one & other) / len(one | other)


def _opposite(ours: Pair, theirs: Pair) -> bool:
    """Whether one answers what the other rejects. Answers to a prompt may differ in a word, such as a pronoun: what
    counts is that one's answer is nearer to what the other rejects than answers or rejected texts are to each other.
    """
    across = max(_alike(ours.chosen, theirs.rejected), _alike(ours.rejected, theirs.chosen))
    along = max(_alike(ours.chosen, theirs.chosen), _alike(ours.rejected, theirs.rejected))
    return across >= SAME_ANSWER and across > along


def _example(first: Package, second: Package, ours: Pair, theirs: Pair) -> str:
    said = f"{first.manifest.name} says {_short(ours.chosen)}, {second.manifest.name} says {_short(theirs.chosen)}"
    return f"to {_short(last_turn(ours.prompt))} {said}"


def _worse(suite: LoadedSuite, outcome: Outcome, base: Outcome) -> tuple[str, ...]:
    """Some prompts that fail where they did not with the base alone; none of a sealed suite."""
    if suite.suite.sealed or not outcome.completions:
        return ()
    rows = zip(suite.prompts, outcome.values, base.values, outcome.completions, strict=True)
    lost = [
        f"to {_short(last_turn(p.prompt))} it says {_short(texts[0])}" for p, now, before, texts in rows if now > before
    ]
    return tuple(lost[:SHOWN])


def _short(text: str) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= LONGEST else line[: LONGEST - 3].rstrip() + "...")
