"""Resolves random small universes, and checks every answer against trying every choice.

    python benchmarks/universes.py [--universes 20000] [--first 0] [--processes 2]

Universes have up to five names of up to three versions each, or three of up to ten, with cycles, conflicts, virtual
names, replacements, pre-releases, yanked versions, other base models, constraints, overrides, dates, and what is
deployed. What can be had must be found, with the best versions as `ppm.resolve` defines them; what is called impossible
must be so; each fact and each sentence of an explanation must be true, the facts must contradict each other, and a hint
that says what to ask for must work. Exits with 1 at the first wrong answer.
"""

import argparse
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import product

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from ppm.errors import ResolutionError
from ppm.requirement import phrase
from ppm.resolve import Requirement, Resolution, Rules, parse_requirement, resolve
from ppm.resolve.contradiction import Asked, Clashes, Contradiction, Fact, Needs, Stays
from ppm.resolve.crowding import crowded
from ppm.resolve.solver import Deadline, solve
from ppm.resolve.universe import Universe
from ppm.sources import Listing, Release
from ppm.sources.base import declarations

NAMES = ("a", "b", "c", "d", "e")
VERSIONS = ("1", "2", "3", "2.0rc1", "3.0b1", "1+lab")
MANY = ("1", "1.5", "2", "2.5", "3", "3.5", "4", "5", "2.0rc1", "3.0b1", "1+lab")
SPECIFIERS = ("<2", ">=2", "==1", "!=2", ">=3", "~=2.0", ">=2.0rc1", "==1.*", "==2.0rc1", "<=2,>1")
BASE, OTHER_BASE = "sha256:" + "0" * 64, "sha256:" + "1" * 64
BEFORE, LIMIT, AFTER = (datetime(2026, month, 1, tzinfo=UTC) for month in (1, 6, 9))
Choice = tuple[Release, ...]


@dataclass(frozen=True)
class Case:
    """What is asked of which releases; `raised` are the names that an upgrade is for, `kept` what is to stay."""

    releases: tuple[Release, ...]
    requirements: tuple[Requirement, ...]
    rules: Rules
    raised: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()

    @property
    def wishes(self) -> tuple[Requirement, ...]:
        """What the request asks for, and what the holds do."""
        held = (parse_requirement(f"{name}==={version}") for name, version in self.rules.stays.items())
        return (*self.requirements, *held)

    def solved(self) -> Resolution:
        """What ppm makes of it. Raises ResolutionError."""
        return resolve(
            self.requirements,
            Listing(self.releases),
            fingerprint=BASE,
            base_name="tiny",
            rules=self.rules,
            raised=self.raised,
            kept=self.kept,
        )


def random_case(seed: int) -> Case:
    """A universe and a request; about a third of them have a solution."""
    rng = random.Random(seed)
    names = NAMES[: rng.choice((3, 4, 5, 5))]
    plain = rng.random() < 0.4  # without pre-releases, dates and the like, so that structure decides
    counts = (1, 3)
    versions: tuple[str, ...] = VERSIONS[:3] if plain else VERSIONS
    if rng.random() < 0.1:
        names, counts, versions = NAMES[:3], (5, 10), MANY[:8] if plain else MANY
    releases = [
        _random_release(rng, name, version, names, plain)
        for name in names
        for version in rng.sample(versions, min(len(versions), rng.randint(*counts)))
    ]

    def wish(origin: str = "") -> Requirement:
        specifier = _random_specifier(rng, plain)
        return parse_requirement(rng.choice((*names, "virtual")) + ("" if specifier == "*" else specifier), origin)

    requirements = tuple(wish() for _ in range(rng.randint(1, 3)))
    own = [c for c in releases if c.fingerprint == BASE]
    deployed = {c.name: c.version for c in rng.sample(own, min(len(own), rng.choice((0, 0, 1, 3))))}
    constraints = [wish("constraints.txt") for _ in range(rng.choice((0, 0, 0, 1)))]
    held = frozenset(name for name in deployed if rng.random() < 0.2)
    overrides = [wish("overrides.txt") for _ in range(rng.choice((0, 0, 0, 1)))]
    recorded = [wish("what is deployed") for _ in range(rng.choice((0, 0, 0, 1)))]
    limit = LIMIT if not plain and rng.random() < 0.3 else None
    rules = Rules(deployed, constraints, overrides, limit, recorded, held)
    raised = tuple(name for name in deployed if rng.random() < 0.3)
    kept = tuple(name for name in deployed if rng.random() < 0.5)
    return Case(tuple(releases), requirements, rules, raised, kept)


def _random_specifier(rng: random.Random, plain: bool) -> str:
    return "*" if rng.random() < 0.6 else rng.choice(SPECIFIERS[: 5 if plain else None])


def _random_release(rng: random.Random, name: str, version: str, names: Sequence[str], plain: bool) -> Release:
    others = [other for other in (*names, rng.choice(("virtual", "e"))) if other != name]

    def table(*counts: int) -> dict[str, str]:
        return {rng.choice(others): _random_specifier(rng, plain) for _ in range(rng.choice(counts))}

    odd = 0.0 if plain else 0.1
    return Release(
        name=name,
        version=Version(version),
        base_tag="tiny-0",
        base_model="acme/tiny",
        fingerprint=OTHER_BASE if rng.random() < odd else BASE,
        file_name=f"{name}-{version}.ppm",
        sha256=f"{name}{version}",
        source="here",
        dependencies=declarations(table(0, 1, 1, 2)),
        conflicts=declarations(table(0, 0, 1)),
        provides=rng.choice(((), (), ("virtual",), ("e",))) if name != "e" else (),
        replaces=declarations(table(1)) if rng.random() < 0.1 else {},
        yanked=rng.choice(("", "it was broken")) if rng.random() < odd else None,
        published=rng.choice((BEFORE, BEFORE, AFTER, None)),
    )


def usable(case: Case) -> list[Release]:
    """The releases that may be taken, by the rules as a person would state them."""
    rules = case.rules
    found: list[Release] = []
    # Yanked ones last: one that a pin does not name itself gives way to any other that the pin lets in.
    for release in sorted(case.releases, key=lambda c: c.yanked is not None):
        name, version = release.name, release.version
        limits = [c.specifier for c in rules.constraints if c.name == name]
        limits += [SpecifierSet(f"==={rules.stays[name]}")] if name in rules.stays else []
        if release.fingerprint != BASE or not all(limit.contains(version, prereleases=True) for limit in limits):
            continue
        pins = [s for r in case.requirements if r.name == name for s in r.specifier if s.operator in ("==", "===")]
        good = [c.version for c in found if c.name == name and c.yanked is None]
        asked = any(
            not pin.version.endswith(".*")
            and pin.contains(version, prereleases=True)
            and (Version(pin.version) == version or not any(pin.contains(v, prereleases=True) for v in good))
            for pin in pins
        )
        late = rules.exclude_newer is not None and (
            release.published is None or release.published > rules.exclude_newer
        )
        if rules.deployed.get(name) == version or not (late or (release.yanked is not None and not asked)):
            found.append(release)
    only_early = {c.name for c in found} - {c.name for c in found if not c.version.is_prerelease}
    wanted = only_early | {r.name for r in case.requirements if r.specifier.prereleases}
    deployed = set(rules.deployed.items())
    return [c for c in found if not c.version.is_prerelease or c.name in wanted or (c.name, c.version) in deployed]


def all_solutions(case: Case) -> list[Choice]:
    """Every sound choice of at most one version a name."""
    may = usable(case)
    versions = {name: [None, *(c for c in may if c.name == name)] for name in NAMES}
    found = []
    for choice in product(*versions.values()):
        chosen = tuple(c for c in choice if c is not None)
        if sound(case.wishes, chosen, case.rules):
            found.append(chosen)
    return found


def asks(release: Release, rules: Rules) -> dict[str, str]:
    """What a release needs, after the overrides that are for it."""
    overrides = {r.name: r for r in rules.overrides}
    if rules.deployed.get(release.name) == release.version:
        for wish in rules.recorded:
            there, declared = rules.deployed.get(wish.name), release.dependencies.get(wish.name)
            if declared is not None and (there is None or not declared.specifier.contains(there, prereleases=True)):
                overrides.setdefault(wish.name, wish)
    return {name: str(overrides.get(name, wish).specifier) for name, wish in release.dependencies.items()}


def sound(requirements: Iterable[Requirement], chosen: Choice, rules: Rules) -> bool:
    """Whether a choice meets all wishes and nothing in it excludes anything else."""
    wanted = [(r.name, str(r.specifier)) for r in requirements]
    wanted += [wish for c in chosen for wish in asks(c, rules).items()]
    if not all(any(_fits(c, *wish) or (_open(wish[1]) and _stands_for(c, wish[0])) for c in chosen) for wish in wanted):
        return False
    return not any(excludes(one, other) for one in chosen for other in chosen)


def excludes(one: Release, other: Release) -> bool:
    """Whether the first patch can't be there together with the second."""
    if one.name == other.name:
        return False
    wishes = (wish for table in (one.conflicts, one.replaces) for wish in table.values())
    if any(_fits(other, wish.name, str(wish.specifier)) for wish in wishes):
        return True
    return any(name != one.name and _any_of(one.conflicts, name) for name in other.provides)


def _any_of(table: Mapping[str, Requirement], name: str) -> bool:
    """Whether a table names every version of a name."""
    return name in table and _open(str(table[name].specifier))


def _fits(release: Release, name: str, specifier: str) -> bool:
    return release.name == name and _specifier(specifier).contains(release.version, prereleases=True)


def _specifier(text: str, known: dict[str, SpecifierSet] = {}) -> SpecifierSet:  # noqa: B006 - a memory
    if text not in known:
        known[text] = SpecifierSet("" if text == "*" else text)
    return known[text]


def _open(specifier: str) -> bool:
    return specifier in ("", "*")


def _stands_for(release: Release, name: str) -> bool:
    return name in release.provides or name in release.replaces


def best(case: Case, solutions: Sequence[Choice]) -> list[Choice]:
    """Those of the solutions that meet every goal that can be met, one goal after the other."""
    asked = {r.name for r in case.wishes}
    newest = {name: sorted((c.version for c in usable(case) if c.name == name), reverse=True) for name in NAMES}
    fixed = set()

    def reach(name: str, versions: Iterable[Version]) -> None:
        """One of these versions, the first that can be had; if nothing asks for the name, it may also be absent."""
        nonlocal solutions
        for version in versions:
            left = [s for s in solutions if _version(s, name) in ((version,) if name in asked else (version, None))]
            if left:
                solutions = left
                fixed.add(name)
                return

    def stay(name: str, versions: Iterable[Version]) -> None:
        """It does not vanish if it can be there."""
        if any(_version(s, name) in set(versions) for s in solutions):
            asked.add(name)
            reach(name, versions)

    for name in case.raised:
        if name in case.kept:
            stay(name, newest[name])
        else:
            reach(name, newest[name])
    for name in case.kept:
        if name not in asked and name not in case.raised:
            stay(name, [case.rules.deployed[name], *newest[name]])
    for name, version in sorted(case.rules.deployed.items()):
        if name not in case.raised:
            reach(name, [version])
    for requirement in case.requirements:
        if requirement.name not in fixed:
            reach(requirement.name, newest.get(requirement.name, ()))
    return list(solutions)


def _version(choice: Choice, name: str) -> Version | None:
    return next((c.version for c in choice if c.name == name), None)


def check(seed: int) -> str:
    """Resolve one universe: "found", "impossible", or what is wrong, which starts with "wrong"."""
    case = random_case(seed)
    solutions = all_solutions(case)
    try:
        resolution = case.solved()
    except ResolutionError as error:
        if solutions:
            return f"wrong: universe {seed} has a solution: {[c.pin for c in solutions[0]]}"
        faults = [*_false_facts(case), *_false_sentences(case, error), *_failing_hint(case, error)]
        return f"wrong: universe {seed}: {faults[0]}\n{error}" if faults else "impossible"
    chosen = {pin.release for pin in resolution.pins}
    if not any(chosen == set(s) for s in solutions):
        return f"wrong: universe {seed} has no solution {sorted(c.pin for c in chosen)}"
    if not any(chosen == set(s) for s in best(case, solutions)):
        better = sorted(c.pin for c in best(case, solutions)[0])
        return f"wrong: universe {seed} has something better than {sorted(c.pin for c in chosen)}: {better}"
    stays = {*case.kept, *case.rules.stays}
    if resolution.timed_out:
        return f"wrong: universe {seed} took too long"
    if any(not pin.requested and not pin.required_by and pin.release.name not in stays for pin in resolution.pins):
        return f"wrong: universe {seed} holds what nothing needs"
    return "found"


def _false_facts(case: Case) -> Iterable[str]:
    """Facts that are not so; and facts that contradict nothing: those of the search, and of counting."""
    universe = Universe(Listing(case.releases), BASE, case.rules)
    yield from _unproven(crowded(case.requirements, universe), universe, case)
    try:
        solve(case.requirements, universe, Deadline.of(30, time.monotonic))
    except Contradiction as contradiction:
        yield from _unproven(contradiction.facts, universe, case)


def _unproven(facts: Sequence[Fact], universe: Universe, case: Case) -> Iterable[str]:
    """What is not so of some facts; and a choice that they leave, when they leave one."""
    if not facts:
        return
    asked: list[Requirement] = []
    needs: dict[Release, dict[str, Requirement]] = {}
    clashes: set[tuple[Release, Release]] = set()
    for fact in facts:
        if isinstance(fact, Asked):
            asked.append(fact.requirement)
            if fact.requirement not in case.requirements:
                yield f"nobody asked for {fact.requirement.text}"
        elif isinstance(fact, Stays):
            asked.append(parse_requirement(f"{fact.name}==={fact.version}"))
            if case.rules.stays.get(fact.name) != fact.version:
                yield f"nobody holds {fact.name}"
        elif isinstance(fact, Needs):
            for release in universe.select(fact.name, fact.mask):
                if fact.needed not in release.dependencies:
                    yield f"{release.pin} does not need {fact.needed}"
                needs.setdefault(release, {})[fact.needed] = universe.needs(release)[fact.needed]
        elif isinstance(fact, Clashes):
            for one in universe.select(fact.name, fact.mask):
                for other in universe.select(fact.other, fact.other_mask):
                    if not excludes(one, other):
                        yield f"{one.pin} does not exclude {other.pin}"
                    clashes.add((one, other))
        elif len(fact.groups) >= len(fact.names):
            yield f"there is room for {fact.names}"
    # The facts alone: nothing else is asked for, needed or excluded.
    bare = {c: replace(c, dependencies=needs.get(c, {}), conflicts={}, replaces={}) for c in usable(case)}
    versions = [[None, *(c for c in bare if c.name == name)] for name in NAMES]
    for choice in product(*versions):
        chosen = [c for c in choice if c is not None]
        if any((one, other) in clashes for one in chosen for other in chosen):
            continue
        stripped = tuple(replace(bare[c], provides=c.stands_for) for c in chosen)
        if sound(asked, stripped, Rules()):
            yield f"the facts don't exclude {[c.pin for c in chosen]}"
            return


LISTED = r"\d\S*?(?:(?: to |, | and )\d[^\s,)]*| older ones)*"
SUBJECT = re.compile(rf"(?:Every version of )?(\w+) \(?({LISTED})\)?,?(?: the only version,)? ([a-z].+)\.$")
SENTENCES: tuple[tuple[str, Callable[[Release, str, Rules], bool]], ...] = (
    (r"needs? (.+)(?<! own way)", lambda c, text, rules: all(_is_needed(c, part, rules) for part in _parts(text))),
    (r"conflicts? with (\S+), which .+ provides?", lambda c, text, rules: _any_of(c.conflicts, text)),
    (
        r"conflicts? with (.+)(?<!in its own way)",
        lambda c, text, rules: all(_is_in(c.conflicts, part) for part in _parts(text)),
    ),
    (r"replaces? (.+)(?<! own way)", lambda c, text, rules: all(_is_in(c.replaces, part) for part in _parts(text))),
    (r"(was yanked).*", lambda c, text, rules: c.yanked is not None),
    (r"(is a pre-release).*", lambda c, text, rules: c.version.is_prerelease),
    (r"(was published on \S+), and nothing after \S+ is allowed", lambda c, text, rules: c.published == AFTER),
    (r"(has no known date).*", lambda c, text, rules: c.published is None),
    (r"(is kept out by a hold), which allows only \S+ \S+", lambda c, text, rules: c.name in rules.stays),
    (r"is kept out by .+, which allows only (.+)", lambda c, text, rules: not _fits_phrase(c, text)),
    (r"(needs?|conflicts? with|replaces?) \S.* too, each in its own way", lambda c, text, rules: True),
    (r"(exists?), but for another base model.*", lambda c, text, rules: c.fingerprint == OTHER_BASE),
)


def _false_sentences(case: Case, error: ResolutionError) -> Iterable[str]:
    """Sentences that are not so, or that this does not understand."""
    first, *lines = error.message.splitlines()
    if first != "no set of patches satisfies the request." or len(lines) < 2 or not error.hint:
        yield "the explanation is not whole"
    for line in lines:
        other = next(((m, test) for form, test in OTHER_SENTENCES if (m := re.fullmatch(form, line))), None)
        if other is not None:
            if not other[1](case, other[0]):
                yield f"not so: {line}"
            continue
        subject = SUBJECT.fullmatch(line)
        name, versions, rest = subject.groups() if subject else ("", "", "")
        if not any(re.fullmatch(form, rest) for form, _ in SENTENCES):
            yield f"not understood: {line}"
        every = {str(c.version) for c in _available(case) if c.name == name}
        if re.match("Every version of|.*, the only version,", line) and every != set(
            _spelled_out(case, name, versions)
        ):
            yield f"not so: {line}"
        for version in _spelled_out(case, name, versions):
            own = [c for c in case.releases if c.name == name and str(c.version) == version]
            if not any(_is_so(c, rest, case.rules) for c in own):
                yield f"not so: {line}"


def _is_so(release: Release, text: str, rules: Rules) -> bool:
    """Whether a release is what the rest of a sentence says."""
    return any(test(release, m[1], rules) for form, test in SENTENCES if (m := re.fullmatch(form, text)))


def _there(case: Case, name: str, versions: str) -> bool:
    """Whether all of these versions are there for the base model."""
    there = {str(c.version) for c in case.releases if c.name == name and c.fingerprint == BASE}
    return set(_spelled_out(case, name, versions)) <= there


def _spelled_out(case: Case, name: str, text: str) -> list[str]:
    """The versions of a list such as `1 to 2.5, 4 and 5`; a range stands for all there are for its base."""
    every = sorted({(c.version, c.fingerprint) for c in case.releases if c.name == name})
    found: list[str] = []
    for part in re.split(r", | and ", text):
        if part.endswith(" older ones"):
            continue
        first, _, last = part.partition(" to ")
        bases = {base for version, base in every if str(version) == first}
        ends = Version(first), Version(last or first)
        found += [str(version) for version, base in every if base in bases and ends[0] <= version <= ends[1]]
    return list(dict.fromkeys(found))


def _asked(case: Case, phrases: str) -> bool:
    wishes = {(r.name, r.specifier) for r in case.requirements}
    return all((wish.name, wish.specifier) in wishes for wish in map(parse_requirement, _parts(phrases)))


def _available(case: Case) -> list[Release]:
    """What may be taken but for holds."""
    return usable(replace(case, rules=replace(case.rules, held=frozenset())))


def _none_fits(case: Case, phrases: str) -> bool:
    phrases = re.sub(r" or any of \d+ other requirements on \w+$", "", phrases)
    texts = re.split(r", (?=\w)| or ", phrases)
    return not any(_fits_phrase(c, text) for c in _available(case) for text in texts)


def _provided(case: Case, name: str, text: str) -> bool:
    """Whether each of `a 1 and 2, b 1` stands for a name."""
    found = False
    for provider, bracketed, bare in re.findall(rf"([a-z]+) (?:\(([^)]+)\)|({LISTED})(?=, [a-z]| and [a-z]|$))", text):
        for version in _spelled_out(case, provider, bracketed or bare):
            own = [c for c in case.releases if (c.name, str(c.version), c.fingerprint) == (provider, version, BASE)]
            found = any(_stands_for(c, name) for c in own)
            if not found:
                return False
    return found


def _nobody_has(case: Case, name: str) -> bool:
    return not any(c.name == name or (_stands_for(c, name) and c.fingerprint == BASE) for c in case.releases)


OTHER_SENTENCES: tuple[tuple[str, Callable[[Case, re.Match[str]], bool]], ...] = (
    (r"You asked for (.+)\.", lambda case, m: _asked(case, m[1])),
    (
        r"(\w+) is held at (\S+)\.",
        lambda case, m: str(case.rules.stays.get(m[1])) == m[2],
    ),
    (
        r"(\S+) overrides what patches require of (\w+) with (\S+)\.",
        lambda case, m: any((r.origin, r.name, r.text) == m.groups() for r in case.rules.overrides),
    ),
    (
        r"The deployed patches override what they require of (\w+) with (\S+)\.",
        lambda case, m: any((r.name, r.text) == m.groups() for r in case.rules.recorded),
    ),
    (r"No version of \w+ for tiny fits (\S.*)\.", lambda case, m: _none_fits(case, m[1])),
    (r"(\w+) exists in versions? (\d.*)\.", lambda case, m: _there(case, m[1], m[2])),
    (
        r"(\w+) would be provided by (\w+) (\S+), which (.+)\.",
        lambda case, m: any(
            _stands_for(c, m[1]) and str(c.version) == m[3] and _is_so(c, m[4], case.rules)
            for c in case.releases
            if c.name == m[2]
        ),
    ),
    (r"(\w+) is provided by (.+)\.", lambda case, m: _provided(case, m[1], m[2])),
    (
        r"A requirement with a version of (\w+) can only be met by a patch of that name\.",
        lambda case, m: not any(c.name == m[1] and c.fingerprint == BASE for c in case.releases),
    ),
    (r"No source has a patch called (\w+)\.", lambda case, m: _nobody_has(case, m[1])),
)


def _parts(text: str) -> list[str]:
    return re.split(r", (?=\w)| and ", text)


def _is_needed(release: Release, text: str, rules: Rules) -> bool:
    return text in {phrase(name, specifier) for name, specifier in asks(release, rules).items()}


def _is_in(table: Mapping[str, Requirement], phrase: str) -> bool:
    wish = parse_requirement(phrase)
    return wish.name in table and table[wish.name].specifier == wish.specifier


def _fits_phrase(release: Release, phrase: str) -> bool:
    wish = parse_requirement(phrase)
    return _fits(release, wish.name, str(wish.specifier))


def _failing_hint(case: Case, error: ResolutionError) -> Iterable[str]:
    """A hint that says what to do and does not work when it is followed; one that is not so, or not understood."""
    changed = _follow(case, error.hint)
    if changed is not None:
        if not all_solutions(changed):
            yield f"the hint does not help: {error.hint}"
    elif found := re.fullmatch(r"add the source that has (\w+) with --find-links DIR", error.hint):
        if not _nobody_has(case, found[1]):
            yield f"not so: {error.hint}"
    elif found := re.match(r"choose the base model acme/tiny with --base, move its .*, or build (\w+) ", error.hint):
        if {c.fingerprint for c in case.releases if c.name == found[1]} != {OTHER_BASE}:
            yield f"not so: {error.hint}"
    elif error.hint.startswith("no single change to the request is enough"):
        yield from _easy_ways(case)
    elif not re.match(r"did you mean |check the name, or add the source", error.hint):
        yield f"not understood: {error.hint}"


def _easy_ways(case: Case) -> Iterable[str]:
    """Single changes after which there is a solution, though none was said to be enough."""
    rules = case.rules
    for name in {r.name for r in case.requirements}:
        changed = replace(case, requirements=tuple(r for r in case.requirements if r.name != name))
        if changed.requirements and all_solutions(changed):
            yield f"it is enough to leave out {name}"
    for limit in (*rules.constraints, *rules.overrides):
        constraints = [other for other in rules.constraints if other is not limit]
        overrides = [other for other in rules.overrides if other is not limit]
        if all_solutions(replace(case, rules=replace(rules, constraints=constraints, overrides=overrides))):
            yield f"it is enough to do without {limit.text}"


def _follow(case: Case, hint: str) -> Case | None:
    rules, requirements = case.rules, case.requirements
    if found := re.match(r"ask for (\S+) instead of (\S+?)(?:, which|$)", hint):
        new, old = map(parse_requirement, found.groups())
        place = next(i for i, r in enumerate(requirements) if (r.name, r.specifier) == (old.name, old.specifier))
        return replace(case, requirements=(*requirements[:place], new, *requirements[place + 1 :]))
    if found := re.match(r"leave out (.+), which don't fit together with the rest;", hint):
        gone = re.split(r", | and ", found[1])
        return replace(case, requirements=tuple(r for r in requirements if r.name not in gone))
    if found := re.match(r"leave out (\S+?)(?:,|$)", hint):
        return replace(case, requirements=tuple(r for r in requirements if r.name != found[1]))
    if found := re.match(r"to accept the (?:pre-release|yanked version), ask for (\S+)", hint):
        wish = parse_requirement(found[1])
        return replace(case, requirements=(*(r for r in requirements if r.name != wish.name), wish))
    if found := re.match(r"let it change: ppm unhold (\S+)", hint):
        return replace(case, rules=replace(rules, held=rules.held - {found[1]}))
    if found := re.match(r"remove (\S+) from (\S+)", hint):
        kept = [c for c in rules.constraints if (c.text, c.origin) != found.groups()]
        overrides = [c for c in rules.overrides if (c.text, c.origin) != found.groups()]
        return replace(case, rules=replace(rules, constraints=kept, overrides=overrides))
    if hint.startswith("allow what was published after"):
        return replace(case, rules=replace(rules, exclude_newer=None))
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--universes", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    started = time.perf_counter()
    counts: Counter[str] = Counter()
    with ProcessPoolExecutor(options.processes) as pool:
        seeds = range(options.first, options.first + options.universes)
        for outcome in pool.map(check, seeds, chunksize=100):
            if outcome.startswith("wrong"):
                print(outcome)
                pool.shutdown(cancel_futures=True)
                sys.exit(1)
            counts[outcome] += 1
    print(f"{counts['found']:,} found, {counts['impossible']:,} impossible, 0 wrong")
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
