"""What to do when no set of patches fits: whatever can be tried is tried first, so that following it works."""

import shlex
from collections.abc import Sequence
from dataclasses import replace

from ppm.errors import did_you_mean
from ppm.requirement import Requirement, parse_specifier
from ppm.resolve.exclusion import PreRelease, Yanked, is_any
from ppm.resolve.explanation import join, shown
from ppm.resolve.story import Story
from ppm.resolve.universe import ANY

__all__ = ["advise"]


def advise(story: Story) -> str:
    """The first of the ways out that works, or whom to ask."""
    for way in (_correct_name, _ask_exactly, _let_go, _loosen, _free, _find_missing, _leave_out):
        hint = way(story)
        if hint:
            return hint
    several = _leave_out_several(story)
    vendors = f"ask the vendors of {join(story.involved)} for versions that fit together"
    if not story.search.has_time():
        return f"there was no time to try every change to the request; {vendors}"
    if several:
        return f"{several}; or {vendors}"
    return f"no single change to the request is enough; {vendors}"


def _works(story: Story, requirements: Sequence[Requirement]) -> bool:
    return story.search.attempt(requirements, story.search.rules) is not None


def _correct_name(story: Story) -> str:
    for requirement in story.asked:
        name = requirement.name
        if story.universe.known(name):
            continue
        if story.universe.offer.problems(name):
            return _mend(name)
        compositions = story.universe.compositions(name)
        if compositions:
            newest = max(compositions, key=lambda release: release.version)
            return f"ask for the patches that it was made of: {join(sorted(newest.provides))}"
        otherwise = f"check the name, or add the source that has {name} with --find-links DIR"
        return did_you_mean(name, story.universe.names(), otherwise)
    return ""


def _mend(name: str) -> str:
    return f"replace the damaged file of {name}: fetch it again from its vendor"


def _ask_exactly(story: Story) -> str:
    """To ask for a version that is taken only when asked for: a pre-release, or one that was yanked."""
    for name in story.names:
        for release, exclusion in story.shut_out(name):
            if not isinstance(exclusion, PreRelease | Yanked):
                continue
            wish = Requirement(release.name, parse_specifier(f"=={release.version}"), release.pin)
            kept = [r for r in story.search.requirements if r.name != release.name]
            if _works(story, [*kept, wish]):
                kind = "pre-release" if isinstance(exclusion, PreRelease) else "yanked version"
                return f"to accept the {kind}, ask for {release.pin}"
    return ""


def _let_go(story: Story) -> str:
    """To let a held patch change."""
    rules = story.search.rules
    for name in rules.stays:
        if story.search.attempt(story.search.requirements, replace(rules, held=rules.held - {name})) is not None:
            return f"let it change: ppm unhold {name}"
    return ""


def _loosen(story: Story) -> str:
    """To ask for any version of a patch."""
    for requirement in story.asked:
        if is_any(requirement):
            continue
        free = replace(requirement, specifier=ANY, text=requirement.name)
        changed = [free if r is requirement else r for r in story.search.requirements]
        solution = story.search.attempt(changed, story.search.rules)
        if solution is not None:
            stand_ins = (c for c in solution.values() if requirement.name in c.stands_for)
            result = solution.get(requirement.name) or next(stand_ins, None)
            gives = f", which gives {result.name} {result.version}" if result else ""
            return f"ask for {requirement.name} instead of {shown(requirement)}{gives}"
    return ""


def _free(story: Story) -> str:
    """To do without a constraint, an override or a date, whichever is in the way by itself."""
    rules = story.search.rules
    freer = [(limit, replace(rules, constraints=_without(rules.constraints, limit))) for limit in rules.constraints]
    freer += [(limit, replace(rules, overrides=_without(rules.overrides, limit))) for limit in rules.overrides]
    for limit, changed in freer:
        if story.search.attempt(story.search.requirements, changed) is not None:
            return f"remove {limit.text} from {limit.origin}"
    limits = [*rules.exclude_newer_package.values(), *([rules.exclude_newer] if rules.exclude_newer else [])]
    if not limits:
        return ""
    undated = replace(rules, exclude_newer=None, exclude_newer_package={})
    works = story.search.attempt(story.search.requirements, undated) is not None
    return f"allow what was published after {min(limits):%Y-%m-%d}" if works else ""


def _without(limits: Sequence[Requirement], limit: Requirement) -> list[Requirement]:
    return [other for other in limits if other is not limit]


def _find_missing(story: Story) -> str:
    universe = story.universe
    for name in story.names:
        if not story.unmet(name) and universe.versions(name):
            continue
        if universe.offer.problems(name):
            return _mend(name)
        if not universe.known(name):
            return f"add the source that has {name} with --find-links DIR"
        others = universe.for_another_base(name)
        if others and not universe.versions(name):
            last = max(others, key=lambda elsewhere: others[elsewhere][-1].version)
            base = f"{last.model}@{last.revision}" if last.revision else last.model
            own = shlex.quote(story.search.base_name)
            build = f"ppm build MANIFEST --base {own} --output DIR (docs/build-a-patch.md)"
            move = f"move its package file there: ppm rebase FILE --onto {own} --output DIR"
            return (
                f"choose the base model {base} with --base, {move}, or build {name} for {own} from its source: {build}"
            )
    return ""


def _leave_out(story: Story) -> str:
    """To leave out one of several patches."""
    requirements, rules = story.search.requirements, story.search.rules
    apart = replace(rules, deployed={}, held=frozenset(), recorded=())
    for requirement in reversed(story.asked):
        kept = [r for r in requirements if r.name != requirement.name]
        if kept and _works(story, kept):
            alone = [r for r in requirements if r.name == requirement.name]
            works = story.search.attempt(alone, apart) is not None
            elsewhere = ", or install it into its own environment with --env NAME" if works else ""
            return f"leave out {requirement.name}{elsewhere}"
    return ""


def _leave_out_several(story: Story) -> str:
    """To keep of the patches, in their order, those that go together."""
    kept: list[Requirement] = []
    left_out: list[str] = []
    for name in dict.fromkeys(requirement.name for requirement in story.search.requirements):
        more = [*kept, *(r for r in story.search.requirements if r.name == name)]
        if _works(story, more):
            kept = more
        else:
            left_out.append(name)
    return f"leave out {join(left_out)}, which don't fit together with the rest" if kept and left_out else ""
