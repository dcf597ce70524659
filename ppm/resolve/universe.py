"""The releases that a request can choose from, and the rules of what goes with what.

A set of versions of one name is a bit mask over `versions(name)`, which runs from oldest to newest.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from ppm.errors import IntegrityError
from ppm.requirement import Requirement, parse_specifier
from ppm.resolve.exclusion import Constrained, Exclusion, ForAnotherBase, Held, PreRelease, TooNew, Undated, Yanked
from ppm.sources.base import DEPLOYED_SOURCE, Offer, Release

__all__ = ["ANY", "Rules", "Universe"]

ANY = SpecifierSet()
"""Lets in every version."""


@dataclass(frozen=True)
class Rules:
    """What a resolution keeps to besides the request and the manifests.

    `deployed` are the versions in force, which may stay whatever else shuts them out but a constraint; those that are
    `held` must stay, and no other version of them is taken. `constraints` limit the versions of a name without asking
    for it; `overrides` take the place of what any dependency asks of a name, those that were `recorded` with what is
    deployed only of what the versions in force ask of it in vain. What was published after `exclude_newer`, or nobody
    knows when, is left out; for some names `exclude_newer_package` has another moment. A search is given up after
    `seconds`.
    """

    deployed: Mapping[str, Version] = field(default_factory=dict)
    constraints: Sequence[Requirement] = ()
    overrides: Sequence[Requirement] = ()
    exclude_newer: datetime | None = None
    recorded: Sequence[Requirement] = ()
    held: frozenset[str] = frozenset()
    seconds: float = 30.0
    exclude_newer_package: Mapping[str, datetime] = field(default_factory=dict)

    def newest_of(self, name: str) -> datetime | None:
        """The moment after which nothing of a name is taken."""
        return self.exclude_newer_package.get(name, self.exclude_newer)

    @property
    def stays(self) -> dict[str, Version]:
        """The deployed patches that are held, with their versions."""
        return {name: version for name, version in self.deployed.items() if name in self.held}

    def overrides_of(self, release: Release) -> dict[str, Requirement]:
        """What takes the place of what a release asks of a name, by that name."""
        recorded = self.recorded if self.deployed.get(release.name) == release.version else ()
        needed = (r for r in recorded if not self._is_met(release.dependencies.get(r.name), r.name))
        return {requirement.name: requirement for requirement in (*needed, *self.overrides)}

    def _is_met(self, declared: Requirement | None, name: str) -> bool:
        """Whether what is deployed of a name is what a manifest asks for, without any override."""
        version = self.deployed.get(name)
        if declared is None or version is None:
            return declared is None
        return declared.specifier.contains(version, prereleases=True)


class Universe:
    """Releases by name for one base model; reads, sorts and filters only the names that are looked at."""

    def __init__(self, offer: Offer, fingerprint: str, rules: Rules) -> None:
        self.offer = offer
        self.fingerprint = fingerprint
        self.rules = rules
        self._constraints: dict[str, list[Requirement]] = {}
        for requirement in rules.constraints:
            self._constraints.setdefault(requirement.name, []).append(requirement)
        self._versions: dict[str, tuple[Release, ...]] = {}
        self._early: frozenset[str] = frozenset()
        self._pinned: frozenset[tuple[str, str]] = frozenset()
        self._fixed: Mapping[str, Version] = {}
        self._matching: dict[tuple[str, str], int] = {}
        self._left_out: dict[str, dict[int, Exclusion]] = {}

    def admit(self, requirements: Sequence[Requirement]) -> None:
        """Let a request's own wish for a pre-release, or for a yanked version, hold wherever that name is needed."""
        early = frozenset(r.name for r in requirements if r.specifier.prereleases)
        pinned = frozenset((r.name, r.pinned) for r in requirements if r.pinned is not None)
        if (early, pinned) != (self._early, self._pinned):
            self._early, self._pinned = early, pinned
            self._matching, self._left_out = {}, {}

    def fix(self, versions: Mapping[str, Version]) -> None:
        """Leave no other version of these names, whether they turn out to be needed or not."""
        self._fixed = dict(versions)
        self._matching = {}

    def versions(self, name: str) -> tuple[Release, ...]:
        """The releases of a name that fit the base model, oldest first; the same file in several sources is one.

        Raises IntegrityError for different files of one version.
        """
        if name not in self._versions:
            kept: dict[Version, Release] = {}
            for release in self.offer.named(name):
                if release.fingerprint == self.fingerprint:
                    twin = kept.get(release.version, release)
                    if twin.sha256 != release.sha256:
                        raise _unequal(twin, release)
                    kept[release.version] = _one(twin, release)
            self._versions[name] = tuple(kept[version] for version in sorted(kept))
        return self._versions[name]

    def needs(self, release: Release) -> Mapping[str, Requirement]:
        """What a release depends on, by name, after overrides."""
        if not release.dependencies or not (self.rules.overrides or self.rules.recorded):
            return release.dependencies
        overrides = self.rules.overrides_of(release)
        return {name: overrides.get(name, requirement) for name, requirement in release.dependencies.items()}

    def for_another_base(self, name: str) -> dict[ForAnotherBase, list[Release]]:
        """The releases of a name that are for another base model, by that, oldest first."""
        others = [c for c in self.offer.named(name) if c.fingerprint != self.fingerprint]
        found: dict[ForAnotherBase, list[Release]] = {}
        for c in sorted(others, key=lambda c: (c.version, c.base_tag)):
            found.setdefault(ForAnotherBase(c.base_tag, c.base_model, c.base_revision), []).append(c)
        return found

    def compositions(self, name: str) -> Sequence[Release]:
        """The compositions of this name, which can't be chosen."""
        return self.offer.compositions(name)

    def matching(self, name: str, specifier: SpecifierSet) -> int:
        """The versions of the real patch of that name that a specifier lets in."""
        key = (name, str(specifier))
        if key not in self._matching:
            left_out, fixed = self.left_out(name), self._fixed.get(name)
            self._matching[key] = sum(
                1 << index
                for index, release in enumerate(self.versions(name))
                if index not in left_out
                and (fixed is None or release.version == fixed)
                and specifier.contains(release.version, prereleases=True)
            )
        return self._matching[key]

    def left_out(self, name: str) -> Mapping[int, Exclusion]:
        """The versions that are there and not to be had, each with the reason."""
        if name not in self._left_out:
            versions = self.versions(name)
            found = {i: reason for i, c in enumerate(versions) if (reason := self._shut_out(c)) is not None}
            rest = [c for i, c in enumerate(versions) if i not in found]
            early = name in self._early or all(c.version.is_prerelease for c in rest)
            for index, release in enumerate(versions):
                kept = early or release.version == self.rules.deployed.get(name)
                if index not in found and release.version.is_prerelease and not kept:
                    found[index] = PreRelease()
            self._left_out[name] = found
        return self._left_out[name]

    def _shut_out(self, release: Release) -> Exclusion | None:
        for constraint in self._constraints.get(release.name, ()):
            if not constraint.specifier.contains(release.version, prereleases=True):
                return Constrained(constraint)
        deployed = self.rules.deployed.get(release.name)
        if release.version == deployed:
            return None
        if deployed is not None and release.name in self.rules.held:
            return Held(deployed)
        if release.yanked is not None and not self._asked_exactly(release):
            return Yanked(release.yanked)
        limit = self.rules.newest_of(release.name)
        if limit is not None and release.published is None:
            return Undated(limit)
        if limit is not None and release.published is not None and release.published > limit:
            return TooNew(release.published, limit)
        return None

    def _asked_exactly(self, release: Release) -> bool:
        """Whether a pin names a yanked version, or its release alone, of which only yanked versions are left."""
        for name, pinned in self._pinned:
            specifier = parse_specifier(f"=={pinned}")
            if name != release.name or not specifier.contains(release.version, prereleases=True):
                continue
            also = [c for c in self.versions(name) if c.yanked is None and specifier.contains(c.version, True)]
            if Version(pinned) == release.version or all(self._shut_out(other) for other in also):
                return True
        return False

    def select(self, name: str, mask: int) -> list[Release]:
        """The releases in a set of versions, oldest first."""
        return [release for index, release in enumerate(self.versions(name)) if mask >> index & 1]

    def mask_of(self, releases: Iterable[Release]) -> int:
        """Some releases of one name as a set of versions; the other way round than `select`."""
        mask = 0
        for release in releases:
            mask |= 1 << self.versions(release.name).index(release)
        return mask

    def answers(self, name: str) -> dict[str, int]:
        """What a name that others provide can stand for: each patch with its versions, the real one first.

        Empty for a name that nothing provides.
        """
        providers = set(self.offer.providers(name, self.fingerprint))
        if not providers:
            return {}
        options = {name: self.matching(name, ANY)} if self.versions(name) else {}
        likely = sorted(providers, key=lambda provider: (provider not in self.rules.deployed, provider))
        for provider in likely:
            allowed = self.matching(provider, ANY)
            providing = sum(1 << i for i, c in enumerate(self.versions(provider)) if name in c.stands_for)
            if allowed & providing:
                options[provider] = allowed & providing
        return options

    def known(self, name: str) -> bool:
        """Whether anything answers to a name, be it for another base model, or not to be had."""
        return bool(self.offer.named(name)) or bool(set(self.offer.providers(name, self.fingerprint)))

    def names(self) -> list[str]:
        """Every name, real or virtual, that something fit for the base model answers to."""
        return sorted(self.offer.names(self.fingerprint))


def _one(first: Release, twin: Release) -> Release:
    """The same file in two sources: yanked when it is in either, and as old as the older."""
    if first is twin:
        return first
    dates = [c.published for c in (first, twin) if c.published is not None]
    yanked = first.yanked if first.yanked is not None else twin.yanked
    return replace(first, yanked=yanked, published=min(dates, default=None))


def _unequal(one: Release, other: Release) -> IntegrityError:
    hint = "find out which of the two is from the vendor, and leave out the other source"
    if DEPLOYED_SOURCE in (one.source, other.source):
        hint = f"a changed patch needs a new version; to use it as it is, uninstall {one.name} first"
    elif one.source == other.source:
        hint = "find out which of the two is from the vendor, and move the other one away"
    return IntegrityError(
        f"two files of {one.pin} have different contents: {_place(one)} and {_place(other)}", hint=hint
    )


def _place(release: Release) -> str:
    return f"{release.file_name} in {release.source} (SHA-256 {release.sha256[:12]}...)"
