"""What a source has on offer: releases, which are package files known by their metadata alone."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from typing import Protocol, runtime_checkable

from packaging.version import Version

from ppm.index.advisory import Listed
from ppm.manifest import Manifest
from ppm.names import check_digest, check_line, check_sha256
from ppm.requirement import Requirement, parse_specifier, phrase

__all__ = [
    "DEPLOYED_SOURCE",
    "Accepting",
    "Joined",
    "Listing",
    "Offer",
    "Release",
    "Signed",
    "SignedSource",
    "Source",
    "declarations",
]

DEPLOYED_SOURCE = "the deployed patches"
"""What the source of what is in force is called."""


@dataclass(frozen=True)
class Release:
    """One package file that a source can fetch, with what its manifest says that choosing needs.

    `sha256` is hexadecimal, of the whole file. `yanked` is why its publisher took it back, "" when no reason is given
    and None when it was not; `published` is when it came into the source, where that is known.
    """

    name: str
    version: Version
    base_tag: str
    base_model: str
    fingerprint: str
    file_name: str
    sha256: str
    source: str
    dependencies: Mapping[str, Requirement] = field(default_factory=dict, compare=False)
    conflicts: Mapping[str, Requirement] = field(default_factory=dict, compare=False)
    provides: tuple[str, ...] = field(default=(), compare=False)
    replaces: Mapping[str, Requirement] = field(default_factory=dict, compare=False)
    risks: tuple[str, ...] = field(default=(), compare=False)
    summary: str = field(default="", compare=False)
    composed: bool = field(default=False, compare=False)
    base_revision: str | None = field(default=None, compare=False)
    yanked: str | None = field(default=None, compare=False)
    published: datetime | None = field(default=None, compare=False)
    accepts: tuple[str, ...] = field(default=(), compare=False)
    publisher: str = field(default="", compare=False)
    """The id of the key or identity that its publisher signed it with, where its source is an index."""
    made_for: str | None = field(default=None, compare=False)
    """The fingerprint of the base that it was made for, where it stands in for one of the base at hand."""

    @staticmethod
    def of(
        manifest: Manifest,
        *,
        file_name: str,
        sha256: str,
        source: str,
        yanked: str | None = None,
        published: datetime | None = None,
    ) -> "Release":
        """A package file's, by its manifest and by what its source knows of it."""
        patch = manifest.patch
        return Release(
            name=manifest.name,
            version=Version(manifest.version),
            base_tag=manifest.base.tag,
            base_model=manifest.base.model,
            fingerprint=manifest.base.fingerprint or "",
            file_name=file_name,
            sha256=sha256,
            source=source,
            dependencies=declarations(manifest.dependencies),
            conflicts=declarations(manifest.conflicts),
            provides=patch.provides,
            replaces=declarations(patch.replaces),
            risks=patch.risks,
            summary=patch.summary,
            composed=manifest.composition is not None,
            base_revision=manifest.base.revision,
            yanked=yanked,
            published=published,
            accepts=manifest.base.accepts,
        )

    def on(self, fingerprint: str) -> "Release":
        """The same as one for a derived base."""
        return replace(self, fingerprint=fingerprint, made_for=self.fingerprint)

    @property
    def pin(self) -> str:
        """`name==version`."""
        return f"{self.name}=={self.version}"

    @property
    def stands_for(self) -> tuple[str, ...]:
        """The names other than its own that it answers to: what it provides, and what it replaces."""
        if not self.provides and not self.replaces:
            return ()
        return tuple(sorted({*self.provides, *self.replaces} - {self.name}))


def declarations(table: Mapping[str, str]) -> Mapping[str, Requirement]:
    """What a manifest's table of names and specifiers asks for. Raises InvalidSpecifier."""
    return {name: _declared(name, specifier) for name, specifier in table.items()}


@lru_cache(maxsize=2**16)
def _declared(name: str, specifier: str) -> Requirement:
    """The same object for the same words: versions of a patch mostly repeat what those before them asked for."""
    return Requirement(name, parse_specifier(specifier), phrase(name, specifier))


class Offer(Protocol):
    """Releases by name, so that only those that a request reaches have to be read."""

    def named(self, name: str) -> Sequence[Release]:
        """The patches of this name, in no order."""

    def compositions(self, name: str) -> Sequence[Release]:
        """The compositions of this name; those of the same patches share it, and differ by version and file.

        Nothing can ask for one or depend on it.
        """

    def providers(self, name: str, fingerprint: str) -> Iterable[str]:
        """The names of the patches for a base model of which some version provides or replaces this name."""

    def names(self, fingerprint: str | None) -> Iterable[str]:
        """Every name, real or virtual, that a patch for a base model answers to; None is for any base model."""

    def composed_names(self) -> Iterable[str]:
        """The names of all compositions."""

    def problems(self, name: str) -> Sequence[str]:
        """What is wrong with each file of this name that can't be used."""


class Source(Offer, Protocol):
    """A place that package files come from; `location` is how messages name it.

    Everything that lists raises SourceError when the source can't be read.
    """

    location: str

    def fetch(self, release: Release) -> bytes:
        """The package file. Raises IntegrityError when it is not what was listed, SourceError when it is gone."""

    def find(self, file_name: str, sha256: str) -> bytes | None:
        """Any file of this name and hexadecimal digest, listed or not; None when there is none, or it can't be read.

        A composition and its audit lie in a source without being releases of it.
        """

    def has_file(self, file_name: str) -> bool:
        """Whether there is a file of this name, whatever is in it."""

    def damaged(self) -> Sequence[str]:
        """What is wrong with each file that can't be used, whatever its name."""


@dataclass(frozen=True)
class Signed:
    """That a package file was checked by its publisher's signature, in one state of a signed index.

    `key` is the id of the publisher's key, or of the `identity` that it signed as, and `statement` the SHA-256 of what
    it signed; `root` is the fingerprint of the root that the user trusts. `at` is when it was checked, in ISO 8601.
    """

    publisher: str
    key: str
    statement: str
    index: str
    root: str
    root_version: int
    timestamp_version: int
    at: str
    identity: str | None = None

    def __post_init__(self) -> None:
        for name in ("key", "statement"):
            check_sha256(getattr(self, name), name)
        check_digest(self.root, "root")
        for name in ("publisher", "index", "at"):
            check_line(getattr(self, name), name)
        check_line(self.identity or "", "identity")


@runtime_checkable
class SignedSource(Protocol):
    """A source whose files are signed by their publishers, and which has their advisories."""

    location: str

    def signed(self, sha256: str) -> Signed | None:
        """How the file with a digest was checked when this source was asked for it; None where it was not."""

    def advisories(self, name: str, sha256: str | None = None) -> Sequence[Listed]:
        """The advisories on a patch, or those on the one file of it with a digest. Raises SourceError, IntegrityError.

        Those on a file are in force; of all on a patch some may be withdrawn.
        """


class Listing:
    """Releases that are in memory."""

    def __init__(self, releases: Iterable[Release], problems: Mapping[str, Sequence[str]] | None = None) -> None:
        self._named: dict[str, list[Release]] = {}
        self._compositions: dict[str, list[Release]] = {}
        self._problems = dict(problems or {})
        self._provided: dict[tuple[str, str], set[str]] = {}
        for release in releases:
            if release.composed:
                self._compositions.setdefault(release.name, []).append(release)
                continue
            self._named.setdefault(release.name, []).append(release)
            for name in release.stands_for:
                self._provided.setdefault((name, release.fingerprint), set()).add(release.name)

    def named(self, name: str) -> Sequence[Release]:
        return self._named.get(name, ())

    def compositions(self, name: str) -> Sequence[Release]:
        return self._compositions.get(name, ())

    def providers(self, name: str, fingerprint: str) -> Iterable[str]:
        return self._provided.get((name, fingerprint), ())

    def names(self, fingerprint: str | None) -> Iterable[str]:
        own = {(name, c.fingerprint) for name, found in self._named.items() for c in found}
        return {name for name, base in own | set(self._provided) if fingerprint in (base, None)}

    def composed_names(self) -> Iterable[str]:
        return self._compositions

    def problems(self, name: str) -> Sequence[str]:
        return self._problems.get(name, ())

    def damaged(self) -> Sequence[str]:
        return [message for messages in self._problems.values() for message in messages]


class Joined:
    """Several offers as one, the first before the others."""

    def __init__(self, offers: Sequence[Offer]) -> None:
        self.offers = tuple(offers)

    def named(self, name: str) -> Sequence[Release]:
        return [release for offer in self.offers for release in offer.named(name)]

    def compositions(self, name: str) -> Sequence[Release]:
        return [release for offer in self.offers for release in offer.compositions(name)]

    def providers(self, name: str, fingerprint: str) -> Iterable[str]:
        return {provider for offer in self.offers for provider in offer.providers(name, fingerprint)}

    def names(self, fingerprint: str | None) -> Iterable[str]:
        return {name for offer in self.offers for name in offer.names(fingerprint)}

    def composed_names(self) -> Iterable[str]:
        return {name for offer in self.offers for name in offer.composed_names()}

    def problems(self, name: str) -> Sequence[str]:
        return [message for offer in self.offers for message in offer.problems(name)]


class Accepting(Joined):
    """Several offers for a derived base: what was made for the bases that it is accepted as counts as made for it.

    `accepted` are the fingerprints of those bases. A release that was made for the base itself goes first.
    """

    def __init__(self, offers: Sequence[Offer], fingerprint: str, accepted: Iterable[str]) -> None:
        super().__init__(offers)
        self.fingerprint = fingerprint
        self.accepted = frozenset(accepted)

    def named(self, name: str) -> Sequence[Release]:
        found = super().named(name)
        own = {release.version for release in found if release.fingerprint == self.fingerprint}
        return [
            release.on(self.fingerprint) if self._stands_in(release) and release.version not in own else release
            for release in found
        ]

    def providers(self, name: str, fingerprint: str) -> Iterable[str]:
        bases = {fingerprint, *(self.accepted if fingerprint == self.fingerprint else ())}
        return {provider for base in bases for provider in super(Accepting, self).providers(name, base)}

    def names(self, fingerprint: str | None) -> Iterable[str]:
        bases = {fingerprint, *(self.accepted if fingerprint == self.fingerprint else ())}
        return {name for base in bases for name in super(Accepting, self).names(base)}

    def _stands_in(self, release: Release) -> bool:
        return release.fingerprint in self.accepted and "derived" in release.accepts
