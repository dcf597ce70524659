"""The rules once more, without anything that the search knows: no solution is used that breaks one."""

from collections.abc import Iterator, Mapping, Sequence

from ppm.errors import PpmError
from ppm.requirement import Requirement
from ppm.resolve.exclusion import Constrained, Exclusion, Held, TooNew, Undated, Yanked, clash, is_any
from ppm.resolve.explanation import excluded, ruled_out, shown
from ppm.resolve.universe import Rules, Universe
from ppm.sources.base import Release

__all__ = ["answering", "check", "faults"]


def answering(chosen: Mapping[str, Release], requirement: Requirement) -> tuple[str, ...]:
    """The names of the chosen patches that satisfy a requirement: the real one, else all that stand for it."""
    real = chosen.get(requirement.name)
    if real is not None:
        return (real.name,) if requirement.specifier.contains(real.version, prereleases=True) else ()
    if not is_any(requirement):
        return ()
    return tuple(sorted(other for other, release in chosen.items() if requirement.name in release.stands_for))


def faults(
    chosen: Mapping[str, Release],
    requirements: Sequence[Requirement],
    fingerprint: str,
    rules: Rules = Rules(),  # noqa: B008 - frozen
) -> list[str]:
    """What is wrong with a set of patches by the plain rules, a sentence each."""
    found = [f"nothing satisfies {r.text}" for r in requirements if not answering(chosen, r)]
    found += [f"{name} is held at {at}, but is missing" for name, at in rules.stays.items() if name not in chosen]
    for name, release in chosen.items():
        if release.name != name or release.fingerprint != fingerprint:
            found.append(f"{release.pin} does not belong here")
        found += [f"{release.pin} {excluded(release, reason)}" for reason in _exclusions(release, requirements, rules)]
        overrides = rules.overrides_of(release)
        for needed, declared in release.dependencies.items():
            wish = overrides.get(needed, declared)
            if not answering(chosen, wish):
                found.append(f"nothing satisfies {shown(wish)}, which {release.pin} needs")
        for other in chosen.values():
            reason = clash(release, other)
            if reason is not None:
                found.append(f"{release.pin} {ruled_out(reason, other)}")
    return found


def check(chosen: Mapping[str, Release], requirements: Sequence[Requirement], universe: Universe) -> None:
    """Raises PpmError when the search was wrong."""
    found = faults(chosen, requirements, universe.fingerprint, universe.rules)
    found += _early(chosen, requirements, universe)
    if found:
        raise PpmError(
            f"the resolver chose a set of patches that breaks its own rules: {'; '.join(found)}",
            hint="this is a bug in ppm: please report it, with the command and the sources",
        )


def _exclusions(release: Release, requirements: Sequence[Requirement], rules: Rules) -> Iterator[Exclusion]:
    """Why a release may not be taken whatever goes with it; pre-releases are another matter."""

    def lets_in(requirement: Requirement) -> bool:
        return requirement.name == release.name and requirement.specifier.contains(release.version, prereleases=True)

    for constraint in rules.constraints:
        if constraint.name == release.name and not lets_in(constraint):
            yield Constrained(constraint)
    deployed = rules.deployed.get(release.name)
    if deployed == release.version:
        return
    if deployed is not None and release.name in rules.held:
        yield Held(deployed)
    if release.yanked is not None and not any(lets_in(r) for r in requirements if r.pinned is not None):
        yield Yanked(release.yanked)
    limit = rules.newest_of(release.name)
    if limit is not None and release.published is None:
        yield Undated(limit)
    elif limit is not None and release.published is not None and release.published > limit:
        yield TooNew(release.published, limit)


def _early(chosen: Mapping[str, Release], requirements: Sequence[Requirement], universe: Universe) -> list[str]:
    """Pre-releases that nobody asked for, and that a final version could have been taken in place of."""
    rules = universe.rules
    wished = {r.name for r in requirements if r.specifier.prereleases}
    return [
        f"{release.pin} is a pre-release"
        for name, release in chosen.items()
        if release.version.is_prerelease and name not in wished and rules.deployed.get(name) != release.version
        for other in universe.versions(name)
        if not other.version.is_prerelease
        if not any(_exclusions(other, requirements, rules))
    ]
