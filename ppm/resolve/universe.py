"""The candidates that a request can choose from, and the rules of what goes with what.

A set of versions of one name is a bit mask over `versions(name)`, which runs from oldest to newest.
"""

from collections.abc import Iterable, Mapping, Sequence

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from ppm.errors import IntegrityError
from ppm.resolve.requirement import Requirement, parse_specifier, phrase
from ppm.sources.candidate import Candidate

__all__ = ["Universe", "conflict", "provided_names"]


def provided_names(candidate: Candidate) -> tuple[str, ...]:
    """The names other than its own that a patch answers to: what it provides, and what it replaces."""
    patch = candidate.manifest.patch
    if not patch.provides and not patch.replaces:
        return ()
    return tuple(sorted({*patch.provides, *patch.replaces} - {candidate.name}))


def conflict(one: Candidate, other: Candidate) -> str | None:
    """Why `one` rules `other` out, as the end of a sentence, or None.

    A conflict with any version of a name also rules out what provides that name, as in Debian; a patch that
    replaces a name rules out only the real patch of that name.
    """
    if one.name == other.name:
        return None
    manifest = one.manifest
    for verb, table in (("conflicts with", manifest.conflicts), ("replaces", manifest.patch.replaces)):
        specifier = table.get(other.name)
        if specifier is not None and parse_specifier(specifier).contains(other.version, prereleases=True):
            return f"{verb} {phrase(other.name, specifier)}"
    for name in other.manifest.patch.provides:
        if name != one.name and manifest.conflicts.get(name) == "*":
            return f"conflicts with {name}, which {other.name} {other.version} provides"
    return None


class Universe:
    """Candidates by name for one base model; sorts and filters only the names that are looked at."""

    def __init__(self, candidates: Iterable[Candidate], fingerprint: str, preferred: Mapping[str, Version]) -> None:
        self.fingerprint = fingerprint
        self.preferred = preferred
        self.everything: dict[str, list[Candidate]] = {}
        self._providers: dict[str, set[str]] = {}
        for candidate in candidates:
            self.everything.setdefault(candidate.name, []).append(candidate)
            if candidate.fingerprint == fingerprint:
                for name in provided_names(candidate):
                    self._providers.setdefault(name, set()).add(candidate.name)
        self._versions: dict[str, tuple[Candidate, ...]] = {}
        self._asked: frozenset[str] = frozenset()
        self._matching: dict[tuple[str, str], int] = {}

    def admit(self, requirements: Sequence[Requirement]) -> None:
        """Let a request's own wish for a pre-release of a name hold wherever that name is needed."""
        self._asked = frozenset(r.name for r in requirements if r.specifier.prereleases)
        self._matching = {}

    def versions(self, name: str) -> tuple[Candidate, ...]:
        """The candidates of a name that fit the base model, oldest first. Raises IntegrityError for unequal twins."""
        if name not in self._versions:
            kept: dict[Version, Candidate] = {}
            for candidate in self.everything.get(name, ()):
                if candidate.fingerprint == self.fingerprint:
                    twin = kept.setdefault(candidate.version, candidate)
                    if twin.sha256 != candidate.sha256:
                        raise _unequal(twin, candidate)
            self._versions[name] = tuple(kept[version] for version in sorted(kept))
        return self._versions[name]

    def for_another_base(self, name: str) -> list[Candidate]:
        """The candidates of a name that are for another base model, oldest first."""
        others = [c for c in self.everything.get(name, ()) if c.fingerprint != self.fingerprint]
        return sorted(others, key=lambda c: (c.version, c.base_tag))

    def matching(self, name: str, specifier: SpecifierSet) -> int:
        """The versions of the real patch of that name that a specifier lets in."""
        key = (name, str(specifier))
        if key not in self._matching:
            early = bool(specifier.prereleases) or self.takes_prereleases(name)
            self._matching[key] = sum(
                1 << index
                for index, candidate in enumerate(self.versions(name))
                if (early or not candidate.version.is_prerelease or candidate.version == self.preferred.get(name))
                and specifier.contains(candidate.version, prereleases=True)
            )
        return self._matching[key]

    def takes_prereleases(self, name: str) -> bool:
        """Whether the request names a pre-release of it, or there is nothing else."""
        return name in self._asked or all(c.version.is_prerelease for c in self.versions(name))

    def select(self, name: str, mask: int) -> list[Candidate]:
        """The candidates in a set of versions, oldest first."""
        return [candidate for index, candidate in enumerate(self.versions(name)) if mask >> index & 1]

    def answers(self, name: str) -> dict[str, int]:
        """What a name that others provide can stand for: each patch with its versions, the real one first.

        Empty for a name that nothing provides.
        """
        if name not in self._providers:
            return {}
        options = {name: self.matching(name, SpecifierSet())} if self.versions(name) else {}
        likely = sorted(self._providers[name], key=lambda provider: (provider not in self.preferred, provider))
        for provider in likely:
            allowed = self.matching(provider, SpecifierSet())
            providing = sum(1 << i for i, c in enumerate(self.versions(provider)) if name in provided_names(c))
            if allowed & providing:
                options[provider] = allowed & providing
        return options

    def names(self) -> list[str]:
        """Every name, real or virtual, that something fit for the base model answers to."""
        real = {
            name for name, found in self.everything.items() if any(c.fingerprint == self.fingerprint for c in found)
        }
        return sorted(real | set(self._providers))


def _unequal(one: Candidate, other: Candidate) -> IntegrityError:
    return IntegrityError(
        f"{one.pin} is in {one.source} (SHA-256 {one.sha256[:12]}...) and in {other.source} "
        f"(SHA-256 {other.sha256[:12]}...), with different contents",
        hint="find out which of the two is the vendor's, and leave the other source out",
    )
