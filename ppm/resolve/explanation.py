"""Why no set of patches fits, in plain English: from what the user typed down the chain, with a hint that works."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from packaging.specifiers import SpecifierSet

from ppm.errors import did_you_mean
from ppm.requirement import Requirement, parse_requirement, parse_specifier, phrase
from ppm.resolve.solver import Asked, Clashes, Fact, Needs
from ppm.resolve.universe import HELD, Rules, Universe, conflict
from ppm.sources.base import Release

__all__ = ["Request", "explain"]

MAX_VERSIONS_SHOWN = 6


@dataclass(frozen=True)
class Request:
    """What was asked of whom; `attempt` says what a changed request would give, or changed rules, or None."""

    requirements: tuple[Requirement, ...]
    universe: Universe
    base_name: str
    attempt: Callable[[Sequence[Requirement], Rules], dict[str, Release] | None]

    @property
    def rules(self) -> Rules:
        return self.universe.rules


def explain(facts: Sequence[Fact], request: Request) -> tuple[str, str]:
    """(message, hint) for facts that contradict each other."""
    story = _Story(facts, request)
    return "\n".join(["no set of patches satisfies the request.", *story.sentences()]), _hint(story)


class _Story:
    """The facts by name, in the order of a walk from the request down the dependencies."""

    def __init__(self, facts: Sequence[Fact], request: Request) -> None:
        self.request = request
        self.universe = request.universe
        found = {id(fact.requirement) for fact in facts if isinstance(fact, Asked)}
        self.asked = [requirement for requirement in request.requirements if id(requirement) in found]
        self.needs = [fact for fact in facts if isinstance(fact, Needs)]
        self.clashes = [fact for fact in facts if isinstance(fact, Clashes)]
        self.names = self._walk()
        self.demands = {name: self._demands(name) for name in self.names}

    def _walk(self) -> list[str]:
        names = dict.fromkeys(requirement.name for requirement in self.asked)
        queue = list(names)
        for name in queue:
            stand_ins = sorted(self.universe.answers(name))
            below = [fact.needed for fact in self.needs if fact.name == name]
            for following in (*(s for s in stand_ins if self._speaks_of(s)), *sorted(below)):
                if following not in names:
                    names[following] = None
                    queue.append(following)
        return list(names)

    def _speaks_of(self, name: str) -> bool:
        return any(name == fact.name for fact in self.needs) or any(name in (f.name, f.other) for f in self.clashes)

    def _demands(self, name: str) -> list[str]:
        """The specifiers that the request and the dependencies of what it reaches put on a name."""
        demands = [str(r.specifier) for r in self.asked if r.name == name and r.origin != HELD]
        for fact in self.needs:
            if fact.needed == name and fact.name in self.names:
                subjects = self.universe.select(fact.name, self.in_play(fact))
                demands += [self.universe.needs(release)[name] for release in subjects]
        return list(dict.fromkeys("" if demand == "*" else demand for demand in demands))

    def available(self, name: str) -> list[Release]:
        """The versions that are to be had, but for a hold; oldest first."""
        left_out = self.universe.left_out(name)
        versions = enumerate(self.universe.versions(name))
        return [c for index, c in versions if f"kept out by {HELD}" in left_out.get(index, f"kept out by {HELD}")]

    def clashed(self, name: str) -> bool:
        """Whether some versions of a name, and not simply all, are ruled out by another patch."""
        owners = (c for f in self.clashes if f.other == name for c in self.universe.select(f.name, f.mask))
        tables = (table for c in owners for table in (c.conflicts, c.replaces))
        return any(table.get(name, "*") != "*" for table in tables)

    def in_play(self, fact: Needs | Clashes) -> int:
        """The versions that a fact is about, less those that the request itself shuts out."""
        mask = fact.mask
        for requirement in self.asked:
            if requirement.name == fact.name:
                mask &= self.universe.matching(fact.name, requirement.specifier)
        return mask & self.universe.matching(fact.name, SpecifierSet()) or mask

    def sentences(self) -> list[str]:
        asked = [phrase(r.name, str(r.specifier)) for r in self.asked if r.origin != HELD]
        lines = [f"You asked for {_join(asked)}."] if asked else []
        lines += [f"{r.name} is held at {r.pinned}." for r in self.asked if r.origin == HELD]
        for name in self.names:
            overrides = [r for r in self.request.rules.overrides if r.name == name]
            lines += [f"{r.origin} puts {r.text} in place of what patches need of {name}." for r in overrides]
            recorded = [r for r in self.request.rules.recorded if r.name == name]
            lines += [f"What is deployed has {r.text} in place of what it needs of {name}." for r in recorded]
            lines += _existence(self, name)
            lines += self._dependencies(name)
            lines += self._clashes(name)
        return list(dict.fromkeys(lines))

    def _dependencies(self, name: str) -> list[str]:
        by_need: dict[str, list[Release]] = {}
        for fact in self.needs:
            if fact.name == name:
                for release in self.universe.select(name, self.in_play(fact)):
                    text = phrase(fact.needed, self.universe.needs(release)[fact.needed])
                    found = by_need.setdefault(text, [])
                    if release not in found:
                        found.append(release)
        by_subject: dict[tuple[str, bool], list[str]] = {}
        for text, subjects in by_need.items():
            by_subject.setdefault(self._subject(name, subjects), []).append(text)
        return [
            f"{subject} {'needs' if singular else 'need'} {_join(texts)}."
            for (subject, singular), texts in by_subject.items()
        ]

    def _clashes(self, name: str) -> list[str]:
        by_reason: dict[str, list[Release]] = {}
        for fact in self.clashes:
            if fact.name == name:
                for one in self.universe.select(name, self.in_play(fact)):
                    for other in self.universe.select(fact.other, fact.other_mask):
                        reason = conflict(one, other)
                        if reason and one not in by_reason.setdefault(reason, []):
                            by_reason[reason].append(one)
        return [self._clash(name, subjects, reason) for reason, subjects in by_reason.items()]

    def _clash(self, name: str, subjects: list[Release], reason: str) -> str:
        subject, singular = self._subject(name, subjects)
        if not singular:
            reason = reason.replace("conflicts with", "conflict with", 1).replace("replaces", "replace", 1)
        return f"{subject} {reason}."

    def _subject(self, name: str, subjects: list[Release]) -> tuple[str, bool]:
        """Versions of a patch as the subject of a sentence, and whether it is singular."""
        subjects = sorted(subjects, key=lambda release: release.version)
        everything = self.available(name)
        if subjects == everything and len(subjects) > 1:
            return f"Every version of {name} ({_versions(subjects)})", True
        listed = any(self.demands[name]) or self.clashed(name)
        only = ", the only version," if subjects == everything and not listed else ""
        return f"{name} {_versions(subjects)}{only}", len(subjects) == 1


def _existence(story: _Story, name: str) -> list[str]:
    """What there is of a name, when that matters: it is asked for in certain versions, or hard to come by."""
    universe, base = story.universe, story.request.base_name
    versions = universe.versions(name)
    lines = []
    stand_ins = [option for option in universe.answers(name) if option != name] if story.demands[name] else []
    if versions and all(story.demands[name]):
        stand_ins = []
    if versions and (stand_ins or any(story.demands[name]) or story.clashed(name)):
        available = story.available(name)
        shown = available or list(versions)
        for specifier in filter(None, story.demands[name]):
            if not any(parse_specifier(specifier).contains(c.version, prereleases=True) for c in available):
                lines.append(f"No version of {name} for {base} fits {phrase(name, specifier)}.")
        lines.append(f"{name} exists in version{'s' if len(shown) > 1 else ''} {_versions(shown)}.")
    if stand_ins:
        lines.append(f"{name} is provided by {_join(_provided_by(universe, name, stand_ins))}.")
    if any(story.demands[name]) and not versions and set(universe.offer.providers(name, universe.fingerprint)):
        lines.append(f"A version of {name} can only be met by a patch of that name.")
    lines += _unusable(story, name)
    lines += [f"A file of {name} can't be used: {text}." for text in universe.offer.problems(name)]
    if not versions and not stand_ins and not lines:
        lines.append(f"No source has a patch called {name}.")
    return lines


def _provided_by(universe: Universe, name: str, stand_ins: Iterable[str]) -> list[str]:
    answers = universe.answers(name)
    return [f"{option} {_versions(universe.select(option, answers[option]))}" for option in stand_ins]


def _unusable(story: _Story, name: str) -> list[str]:
    """Versions that exist and would be wanted, and what keeps them out."""
    lines = []
    for release, reason in _shut_out(story, name):
        own = release.name == name
        subject = name if own else f"{name} would be provided by {release.name}"
        lines.append(f"{subject} {release.version}{' ' if own else ', which '}{reason}.")
    unmet = _unmet(story, name)
    by_base: dict[str, list[Release]] = {}
    for release in story.universe.for_another_base(name):
        fits = any(specifier.contains(release.version, prereleases=True) for specifier in unmet)
        if fits or (unmet and not story.universe.versions(name)):
            by_base.setdefault(release.base_tag, []).append(release)
    for base_tag, releases in by_base.items():
        exist = "exist" if len({release.version for release in releases}) > 1 else "exists"
        lines.append(f"{name} {_versions(releases)} {exist}, but for another base model ({base_tag}).")
    return lines


def _unmet(story: _Story, name: str) -> list[SpecifierSet]:
    """The demands on a name that no usable version fits."""
    specifiers = [parse_specifier(demand) for demand in story.demands[name]]
    virtual = bool(story.universe.answers(name))
    return [s for s in specifiers if not story.universe.matching(name, s) and (str(s) or not virtual)]


def _shut_out(story: _Story, name: str) -> list[tuple[Release, str]]:
    """The newest version that fits the demands on a name and is not to be had, for each kind of reason.

    Where there is no patch of that name and none that may stand for it: the same of those that would.
    """
    universe = story.universe
    wanted = [parse_specifier(demand) for demand in story.demands[name]]
    own = [
        (release, reason)
        for release, reason in _left_out(universe, name)
        if all(specifier.contains(release.version, prereleases=True) for specifier in wanted)
    ]
    others = []
    if not universe.versions(name) and not universe.answers(name) and not any(story.demands[name]):
        providers = sorted(universe.offer.providers(name, universe.fingerprint))
        others = [found for p in providers for found in _left_out(universe, p) if name in found[0].stands_for]
    kinds = {(c.name, reason.split(",")[0].split(" (")[0]): (c, reason) for c, reason in (*own, *others)}
    return list(kinds.values())


def _left_out(universe: Universe, name: str) -> list[tuple[Release, str]]:
    versions = universe.versions(name)
    return [(versions[index], reason) for index, reason in universe.left_out(name).items()]


def _hint(story: _Story) -> str:
    """What to do; whatever can be tried is tried first, so that following it works."""
    for advise in (_correct_name, _ask_exactly, _let_go, _loosen, _free, _find_missing, _leave_out):
        hint = advise(story)
        if hint:
            return hint
    involved = {fact.name for fact in story.needs} | {fact.name for fact in story.clashes}
    names = _join(sorted(involved or story.names))
    return f"no one change to the request is enough; ask the vendors of {names} for versions that fit together"


def _known(story: _Story, name: str) -> bool:
    return story.universe.known(name)


def _correct_name(story: _Story) -> str:
    for requirement in story.asked:
        if not _known(story, requirement.name):
            if story.universe.offer.problems(requirement.name):
                return f"replace the damaged file of {requirement.name}: fetch it again from its vendor"
            otherwise = f"check the name, or add the source that has {requirement.name} with --find-links DIR"
            return did_you_mean(requirement.name, story.universe.names(), otherwise)
    return ""


def _ask_exactly(story: _Story) -> str:
    """To ask for a version that is taken only when asked for: a pre-release, or one that was yanked."""
    for name in story.names:
        for release, reason in _shut_out(story, name):
            wish = parse_requirement(release.pin)
            kept = [r for r in story.request.requirements if r.name != release.name]
            if "only when asked for" in reason and story.request.attempt([*kept, wish], story.request.rules):
                kind = "pre-release" if "pre-release" in reason else "yanked version"
                return f"to accept the {kind}, ask for {release.pin}"
    return ""


def _loosen(story: _Story) -> str:
    for requirement in story.asked:
        if str(requirement.specifier) and requirement.origin != HELD:
            free = replace(requirement, specifier=SpecifierSet(), text=requirement.name)
            changed = [free if r is requirement else r for r in story.request.requirements]
            solution = story.request.attempt(changed, story.request.rules)
            if solution:
                taken = solution.get(requirement.name)
                stands_in = next((c for c in solution.values() if requirement.name in c.stands_for), None)
                result = taken or stands_in
                gives = f", which gives {result.name} {result.version}" if result else ""
                typed = phrase(requirement.name, str(requirement.specifier))
                return f"ask for {requirement.name} instead of {typed}{gives}"
    return ""


def _let_go(story: _Story) -> str:
    """To let a held patch change."""
    for constraint in story.request.rules.constraints:
        if constraint.origin == HELD and _works_without(story, "constraints", constraint):
            return f"let it change: ppm unhold {constraint.name}"
    return ""


def _free(story: _Story) -> str:
    """To do without a constraint, an override or a date, whichever is in the way by itself."""
    rules = story.request.rules
    for key in ("constraints", "overrides"):
        for limit in getattr(rules, key):
            if limit.origin != HELD and _works_without(story, key, limit):
                return f"take {limit.text} out of {limit.origin}"
    if rules.exclude_newer is None:
        return ""
    free = replace(rules, exclude_newer=None)
    works = story.request.attempt(story.request.requirements, free)
    return f"allow what was published after {rules.exclude_newer:%Y-%m-%d}" if works else ""


def _works_without(story: _Story, key: str, limit: Requirement) -> bool:
    rules = story.request.rules
    fewer: Any = {key: [other for other in getattr(rules, key) if other is not limit]}
    held = (limit.name, HELD) if limit.origin == HELD else None
    requirements = [r for r in story.request.requirements if (r.name, r.origin) != held]
    return story.request.attempt(requirements, replace(rules, **fewer)) is not None


def _find_missing(story: _Story) -> str:
    for name in story.names:
        if not _unmet(story, name) and story.universe.versions(name):
            continue
        others = story.universe.for_another_base(name)
        if story.universe.offer.problems(name):
            return f"replace the damaged file of {name}: fetch it again from its vendor"
        if not _known(story, name):
            return f"add the source that has {name} with --find-links DIR"
        if others and not story.universe.versions(name):
            last = others[-1]
            base = f"{last.base_model}@{last.base_revision}" if last.base_revision else last.base_model
            wish = f"ask the vendor of {name} to build it for {story.request.base_name}"
            return f"choose the base model with --base {base}, or {wish}"
    return ""


def _leave_out(story: _Story) -> str:
    if len(story.request.requirements) < 2:
        return ""
    for requirement in reversed([r for r in story.asked if r.origin != HELD]):
        kept = [r for r in story.request.requirements if r.name != requirement.name or r.origin == HELD]
        if any(r.origin != HELD for r in kept) and story.request.attempt(kept, story.request.rules):
            alone = [r for r in story.request.requirements if r.name == requirement.name]
            apart = ", or install it into an environment of its own with --env NAME"
            works = story.request.attempt(alone, story.request.rules)
            return f"leave out {requirement.name}{apart if works else ''}"
    return ""


def _versions(releases: Sequence[Release]) -> str:
    texts = list(dict.fromkeys(str(release.version) for release in releases))
    if len(texts) > MAX_VERSIONS_SHOWN:
        kept = texts[1 - MAX_VERSIONS_SHOWN :]
        texts = [f"{len(texts) - len(kept)} older ones", *kept]
    return _join(texts)


def _join(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
