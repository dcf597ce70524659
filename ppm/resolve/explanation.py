"""Why no set of patches fits, in plain English: from what the user typed down the chain.

The one place where facts become sentences.
"""

from collections.abc import Iterable, Mapping, Sequence

from ppm.requirement import Requirement, phrase
from ppm.resolve.contradiction import Crowd
from ppm.resolve.exclusion import (
    Clash,
    Constrained,
    Exclusion,
    ForAnotherBase,
    Held,
    PreRelease,
    TooNew,
    Undated,
    Yanked,
    clash,
    is_any,
)
from ppm.resolve.story import Story
from ppm.sources.base import Release

__all__ = ["excluded", "explain", "join", "ruled_out", "shown"]

MAX_PARTS = 6
"""Versions of a list, demands, and sentences of one kind about one patch, before the older ones are folded."""
VERBS = {"conflicts": ("conflicts with", "conflict with"), "replaces": ("replaces", "replace")}


def explain(story: Story) -> str:
    """The message: one sentence a line."""
    lines = [f"You asked for {join([shown(r) for r in story.asked])}."] if story.asked else []
    lines += [f"{name} is held at {version}." for name, version in story.stays.items()]
    for name in story.names:
        rules = story.search.rules
        overrides = [r for r in rules.overrides if r.name == name]
        lines += [f"{r.origin} overrides what patches require of {name} with {r.text}." for r in overrides]
        recorded = [r for r in rules.recorded if r.name == name]
        lines += [f"The deployed patches override what they require of {name} with {r.text}." for r in recorded]
        if story.crowd is None or name not in story.crowd.names:
            lines += _existence(story, name)
        lines += _dependencies(story, name)
        if story.crowd is None or name not in story.crowd.names:
            lines += _clashes(story, name)
    if story.crowd is not None:
        lines += _crowd(story, story.crowd)
    return "\n".join(["no set of patches satisfies the request.", *dict.fromkeys(lines)])


def shown(requirement: Requirement) -> str:
    """A requirement as a user would type it."""
    return phrase(requirement.name, str(requirement.specifier))


def join(parts: Sequence[str], word: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} {word} {parts[-1]}"


def _existence(story: Story, name: str) -> list[str]:
    """What there is of a name, when that matters: it is asked for in certain versions, or hard to come by."""
    universe, base = story.universe, story.search.base_name
    versions, demands = universe.versions(name), story.demands[name]
    particular = [demand for demand in demands if not is_any(demand)]
    lines = []
    stand_ins = [option for option in universe.answers(name) if option != name] if demands else []
    if versions and len(particular) == len(demands):
        stand_ins = []
    if versions and (stand_ins or story.is_torn(name)):
        available = story.available(name)
        vain = [d for d in particular if not any(d.specifier.contains(c.version, True) for c in available)]
        if vain:
            lines.append(f"No version of {name} for {base} fits {_alternatives(vain, name)}.")
        existing = available or list(versions)
        plural = "s" if len(existing) > 1 else ""
        lines.append(f"{name} exists in version{plural} {_listed(existing, versions)}.")
    if stand_ins:
        lines.append(f"{name} is provided by {_provided_by(story, name, stand_ins)}.")
    if particular and not versions and set(universe.offer.providers(name, universe.fingerprint)):
        lines.append(f"A requirement with a version of {name} can only be met by a patch of that name.")
    lines += _unusable(story, name)
    lines += [f"A file of {name} can't be used: {text}." for text in universe.offer.problems(name)]
    if not versions and not stand_ins and not lines:
        lines.append(_absence(story, name))
    return lines


def _alternatives(demands: Sequence[Requirement], name: str) -> str:
    texts = [shown(demand) for demand in demands]
    if len(texts) > MAX_PARTS:
        kept = texts[: MAX_PARTS - 1]
        return f"{', '.join(kept)} or any of {len(texts) - len(kept)} other requirements on {name}"
    return join(texts, "or")


def _absence(story: Story, name: str) -> str:
    compositions = story.universe.compositions(name)
    if not compositions:
        return f"No source has a patch called {name}."
    files = join([f"{c.file_name} in {c.source}" for c in sorted(compositions, key=lambda c: c.version)])
    what = "a composition, which is" if len(compositions) == 1 else f"{len(compositions)} compositions, which are"
    return f"{name} is the name of {what} not installed as a patch: {files}."


def _provided_by(story: Story, name: str, stand_ins: Iterable[str]) -> str:
    answers = story.universe.answers(name)
    return _members(story, [(option, answers[option]) for option in stand_ins])


def _members(story: Story, members: Sequence[tuple[str, int]]) -> str:
    """Patches, each with some of its versions, as a list."""
    selected = {name: story.universe.select(name, mask) for name, mask in members}
    texts = {name: _listed(found, story.universe.versions(name)) for name, found in selected.items()}
    bare = len(members) == 1
    return join([f"{n} {text}" if bare or len(selected[n]) == 1 else f"{n} ({text})" for n, text in texts.items()])


def _unusable(story: Story, name: str) -> list[str]:
    """Versions that exist and would be wanted, and what keeps them out."""
    lines = []
    for release, exclusion in story.shut_out(name):
        own = release.name == name
        subject = name if own else f"{name} would be provided by {release.name}"
        lines.append(f"{subject} {release.version}{' ' if own else ', which '}{excluded(release, exclusion)}.")
    unmet = story.unmet(name)
    for elsewhere, releases in story.universe.for_another_base(name).items():
        fit = [c for c in releases if any(demand.specifier.contains(c.version, True) for demand in unmet)]
        wanted = releases if unmet and not story.universe.versions(name) else fit
        if wanted:
            exist = "exist" if len({release.version for release in wanted}) > 1 else "exists"
            lines.append(f"{name} {_listed(wanted, releases)} {exist}, {_elsewhere(elsewhere)}.")
    return lines


def excluded(release: Release, exclusion: Exclusion) -> str:
    """Why a release is out, as the end of a sentence about it."""
    match exclusion:
        case Constrained(by):
            return f"is kept out by {by.origin}, which allows only {shown(by)}"
        case Held(at):
            return f"is kept out by a hold, which allows only {release.name} {at}"
        case Yanked(reason):
            why = f" ({reason})" if reason else ""
            return f"was yanked{why}, and is used only when asked for as {release.pin}"
        case TooNew(published, limit):
            return f"was published on {published:%Y-%m-%d}, and nothing after {limit:%Y-%m-%d} is allowed"
        case Undated(limit):
            return f"has no known date, and nothing after {limit:%Y-%m-%d} is allowed"
        case PreRelease():
            return "is a pre-release, and those are used only when asked for"


def ruled_out(reason: Clash, other: Release) -> str:
    """How a patch rules another out, as the end of a sentence about it."""
    verb = VERBS[reason.kind][0]
    if reason.provider:
        return f"{verb} {reason.wish.name}, which {other.name} {other.version} provides"
    return f"{verb} {shown(reason.wish)}"


def _elsewhere(exclusion: ForAnotherBase) -> str:
    return f"but for another base model ({exclusion.base_tag})"


def _dependencies(story: Story, name: str) -> list[str]:
    by_need: dict[tuple[str, str], list[Release]] = {}
    below = story.below(name)
    for fact in story.needs:
        if fact.name == name and fact.needed in below:
            for release in story.universe.select(name, story.in_play(fact)):
                need = fact.needed, shown(story.universe.needs(release)[fact.needed])
                found = by_need.setdefault(need, [])
                if release not in found:
                    found.append(release)
    return _statements(story, name, ("needs", "need"), by_need)


def _clashes(story: Story, name: str) -> list[str]:
    plain: dict[str, dict[tuple[str, str], list[Release]]] = {}
    by_provider: dict[tuple[Clash, tuple[Release, ...]], list[Release]] = {}
    for one, reasons in _reasons(story, name).items():
        for reason, others in reasons.items():
            if reason.provider:
                by_provider.setdefault((reason, tuple(others)), []).append(one)
            else:
                key = reason.wish.name, shown(reason.wish)
                plain.setdefault(reason.kind, {}).setdefault(key, []).append(one)
    lines = [line for kind, by_wish in plain.items() for line in _statements(story, name, VERBS[kind], by_wish)]
    for (reason, providing), subjects in by_provider.items():
        subject, singular = _subject(story, name, subjects)
        verb = VERBS[reason.kind][not singular]
        versions = _listed(providing, story.universe.versions(reason.provider))
        provide = "provides" if len(providing) == 1 else "provide"
        lines.append(f"{subject} {verb} {reason.wish.name}, which {reason.provider} {versions} {provide}.")
    return lines


def _reasons(story: Story, name: str) -> dict[Release, dict[Clash, list[Release]]]:
    """What each version of a name rules out, by how it does."""
    found: dict[Release, dict[Clash, list[Release]]] = {}
    for fact in story.clashes:
        for one in story.universe.select(name, story.in_play(fact)) if fact.name == name else ():
            for other in story.universe.select(fact.other, fact.other_mask):
                reason = clash(one, other)
                others = found.setdefault(one, {}).setdefault(reason, []) if reason else [other]
                if other not in others:
                    others.append(other)
    return found


def _statements(
    story: Story, name: str, verbs: tuple[str, str], by_wish: Mapping[tuple[str, str], Sequence[Release]]
) -> list[str]:
    """Sentences about what versions of a patch need or rule out, each by name and words: the same subjects once.

    Of many sentences those about the newest versions are kept, and the rest are told together.
    """
    by_subject: dict[tuple[Release, ...], list[tuple[str, str]]] = {}
    for wish, subjects in by_wish.items():
        in_order = tuple(sorted(subjects, key=lambda release: release.version))
        by_subject.setdefault(in_order, []).append(wish)
    folded: list[tuple[Release, ...]] = []
    if len(by_subject) > MAX_PARTS:
        folded = sorted(by_subject, key=lambda subjects: subjects[-1].version)[: 1 - MAX_PARTS]
    lines = []
    for subjects, wishes in sorted(by_subject.items(), key=lambda item: item[0][0].version):
        if subjects not in folded:
            subject, singular = _subject(story, name, subjects)
            lines.append(f"{subject} {verbs[not singular]} {join([words for _, words in wishes])}.")
    if folded:
        rest = dict.fromkeys(release for subjects in folded for release in subjects)
        others = dict.fromkeys(other for subjects in folded for other, _ in by_subject[subjects])
        subject, singular = _subject(story, name, list(rest))
        lines.append(f"{subject} {verbs[not singular]} {join(list(others))} too, each in its own way.")
    return lines


def _subject(story: Story, name: str, subjects: Sequence[Release]) -> tuple[str, bool]:
    """Versions of a patch as the subject of a sentence, and whether it is singular."""
    subjects = sorted(subjects, key=lambda release: release.version)
    everything = story.available(name)
    versions = _listed(subjects, story.universe.versions(name))
    if subjects == everything and len(subjects) > 1:
        return f"Every version of {name} ({versions})", True
    only = ", the only version," if subjects == everything and not story.is_torn(name) else ""
    return f"{name} {versions}{only}", len(subjects) == 1


def _crowd(story: Story, crowd: Crowd) -> list[str]:
    """Why there is no room for some patches."""
    groups = [group for group in crowd.groups if len({name for name, _ in group}) > 1]
    alone = [member for group in crowd.groups if group not in groups for member in group]
    told = groups if len(groups) <= MAX_PARTS else groups[: MAX_PARTS - 1]
    lines = [_exclusive(story, group) for group in told]
    if len(told) < len(groups):
        lines.append(f"The same holds for {len(groups) - len(told)} more such groups of their versions.")
    if alone:
        lines.append(f"Apart from those, there is only {_members(story, alone)}.")
    return [*lines, f"So at most {len(crowd.groups)} of {join(crowd.names)} can be installed together."]


def _exclusive(story: Story, group: Sequence[tuple[str, int]]) -> str:
    members, why = _members(story, group), _why(story, group)
    return f"{members} don't fit together{why}." if len(group) == 2 else f"No two of {members} fit together{why}."


def _why(story: Story, group: Sequence[tuple[str, int]]) -> str:
    """Why no two of a group go together, where one reason is behind all of it."""
    needed = [{f.needed for f in story.needs if f.name == name and f.mask & mask} for name, mask in group]
    shared = sorted(set.intersection(*needed) - set(story.names))
    if shared:
        return f": they need different versions of {shared[0]}"
    clashing = [any(name in (f.name, f.other) for f in story.clashes) for name, _ in group]
    return ": they conflict with each other" if all(clashing) and not any(needed) else ""


def _listed(releases: Iterable[Release], among: Sequence[Release]) -> str:
    """The versions of some releases, oldest first: many as ranges that hold all there are, and no others.

    `among` are all releases of that name, oldest first.
    """
    wanted = {release.version for release in releases}
    order = list(dict.fromkeys(release.version for release in among))
    texts = [str(version) for version in order if version in wanted]
    if len(texts) <= MAX_PARTS:
        return join(texts)
    runs: list[list[str]] = [[]]
    for version in order:
        if version in wanted:
            runs[-1].append(str(version))
        elif runs[-1]:
            runs.append([])
    parts = [part for run in runs if run for part in ([f"{run[0]} to {run[-1]}"] if len(run) > 2 else run)]
    if len(parts) > MAX_PARTS:
        kept = texts[1 - MAX_PARTS :]
        return join([*kept, f"{len(texts) - len(kept)} older ones"])
    return join(parts)
