"""A shard: all that an index says of one name. The resolver needs nothing else."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from ppm.errors import IntegrityError
from ppm.index.advisory import check_id
from ppm.index.parsing import read_json, write_json
from ppm.manifest import Manifest
from ppm.names import base_tag, check_digest, check_line, check_name, check_sha256, check_specifiers, check_version
from ppm.package import MAX_PACKAGE_BYTES, Package, file_name_of

__all__ = ["MOST_ADVISORIES", "Entry", "Notice", "Provider", "Shard", "ShardBase", "moment_text"]

SCHEMA = 1
MOST_ADVISORIES = 100
"""On one name. A client reads them all before it takes a file of that name, so there must be an end to them."""


def moment_text(at: datetime) -> str:
    """A moment as an index has it: whole seconds in UTC."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class ShardBase:
    """Which base model a release is for."""

    model: str
    fingerprint: str
    revision: str | None = None
    accepts: tuple[Literal["derived"], ...] = ()

    def __post_init__(self) -> None:
        check_line(self.model, "model")
        check_digest(self.fingerprint, "fingerprint")

    @property
    def tag(self) -> str:
        return base_tag(self.model, self.fingerprint)


@dataclass(frozen=True)
class Entry:
    """One release: what its manifest says that choosing needs, and what the index says of it.

    `sha256` and `size` are of the package file, `statement` is the digest of its publisher's statement, `publisher` the
    id of the key or identity that signed that. `published` is when it came into the index; `yanked` is why it was taken
    back.
    """

    version: str
    file: str
    sha256: str
    size: int
    statement: str
    publisher: str
    published: str
    base: ShardBase
    dependencies: dict[str, str] = field(default_factory=dict)
    conflicts: dict[str, str] = field(default_factory=dict)
    provides: tuple[str, ...] = ()
    replaces: dict[str, str] = field(default_factory=dict)
    risks: tuple[str, ...] = ()
    summary: str = ""
    yanked: str | None = None

    def __post_init__(self) -> None:
        if check_version(self.version) != self.version:
            raise ValueError(f"version {self.version!r} is not in its normal form")
        for key in ("sha256", "statement", "publisher"):
            check_sha256(getattr(self, key), key)
        if not 0 < self.size <= MAX_PACKAGE_BYTES:
            raise ValueError(f"size must be between 1 and {MAX_PACKAGE_BYTES}")
        for table in ("dependencies", "conflicts", "replaces"):
            object.__setattr__(self, table, check_specifiers(getattr(self, table), table))
        object.__setattr__(self, "provides", tuple(check_name(name) for name in self.provides))
        for text in (*self.risks, self.summary, self.yanked or ""):
            check_line(text, "text")
        if self.yanked == "":
            raise ValueError("yanked needs a reason")
        _ = self.at

    @staticmethod
    def of(package: Package, *, statement: str, publisher: str, published: datetime) -> "Entry":
        """The entry of a package. Raises ValueError for a package with texts that no index lists."""
        return Entry(
            **_said_by(package.manifest),
            file=package.file_name,
            sha256=package.sha256,
            size=len(package.data),
            statement=statement,
            publisher=publisher,
            published=moment_text(published),
        )

    @property
    def at(self) -> datetime:
        """When it came into the index. Raises ValueError."""
        return datetime.strptime(self.published, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)

    @property
    def stands_for(self) -> frozenset[str]:
        """The names that it answers to besides its own."""
        return frozenset({*self.provides, *self.replaces})

    def agrees_with(self, package: Package) -> bool:
        """Whether all that follows from the package is as the package has it."""
        own = (package.file_name, package.sha256, len(package.data))
        return own == (self.file, self.sha256, self.size) and self.follows_from(package.manifest)

    def follows_from(self, manifest: Manifest) -> bool:
        """Whether all that follows from a manifest is as the manifest has it."""
        try:
            return replace(self, **_said_by(manifest)) == self
        except ValueError:
            return False


def _said_by(manifest: Manifest) -> dict[str, Any]:
    """The fields of an entry that follow from a manifest. Raises ValueError."""
    base, patch = manifest.base, manifest.patch
    return {
        "version": manifest.version,
        "base": ShardBase(base.model, base.fingerprint or "", base.revision, base.accepts),
        "dependencies": manifest.dependencies,
        "conflicts": manifest.conflicts,
        "provides": patch.provides,
        "replaces": patch.replaces,
        "risks": patch.risks,
        "summary": patch.summary,
    }


@dataclass(frozen=True)
class Provider:
    """A patch for a base model of which some version provides or replaces a name."""

    name: str
    fingerprint: str

    def __post_init__(self) -> None:
        if check_name(self.name) != self.name:
            raise ValueError(f"{self.name!r} is not in its normal form")
        check_digest(self.fingerprint, "fingerprint")


@dataclass(frozen=True)
class Notice:
    """That there is an advisory on some version of a name; `sha256` is of its publisher's signed envelope."""

    id: str
    sha256: str

    def __post_init__(self) -> None:
        check_id(self.id)
        check_sha256(self.sha256, "sha256")


@dataclass(frozen=True)
class Shard:
    """What there is of one name: its releases, who else answers to it, and the advisories on it."""

    name: str
    releases: tuple[Entry, ...] = ()
    providers: tuple[Provider, ...] = ()
    advisories: tuple[Notice, ...] = ()
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        if check_name(self.name) != self.name:
            raise ValueError(f"name {self.name!r} is not in its normal form")
        seen = set()
        for entry in self.releases:
            if entry.file != file_name_of(self.name, entry.version, entry.base.tag):
                raise ValueError(f"{entry.file!r} is not the file name of {self.name} {entry.version}")
            if entry.file in seen:
                raise ValueError(f"{entry.file!r} is listed twice")
            seen.add(entry.file)
        if len({notice.id for notice in self.advisories}) < len(self.advisories):
            raise ValueError("an advisory is listed twice")
        if len(self.advisories) > MOST_ADVISORIES:
            raise ValueError(f"{self.name} has more than {MOST_ADVISORIES} advisories")

    @staticmethod
    def parse(data: bytes, name: str, origin: str) -> "Shard":
        """The shard of a name. Raises IntegrityError."""
        found = read_json(Shard, data, origin, schema=SCHEMA)
        if found.name != name:
            raise IntegrityError(f"speaks of {found.name}, not of {name}", context=origin)
        return found

    def to_bytes(self) -> bytes:
        """The shard as JSON."""
        return write_json(self)

    def with_release(self, entry: Entry) -> "Shard":
        """The same with one more release, or another in the place of that with its file name."""
        others = (e for e in self.releases if e.file != entry.file)
        return replace(self, releases=tuple(sorted((*others, entry), key=lambda e: e.file)))

    def with_provider(self, provider: Provider) -> "Shard":
        """The same with one more patch that answers to the name."""
        found = {*self.providers, provider}
        return replace(self, providers=tuple(sorted(found, key=lambda p: (p.name, p.fingerprint))))

    def with_advisory(self, notice: Notice) -> "Shard":
        """The same with one more advisory, or another in the place of that with its id."""
        others = (n for n in self.advisories if n.id != notice.id)
        return replace(self, advisories=tuple(sorted((*others, notice), key=lambda n: n.id)))

    def without_advisory(self, id_: str) -> "Shard":
        """The same without an advisory."""
        return replace(self, advisories=tuple(n for n in self.advisories if n.id != id_))

    def find(self, file: str) -> Entry | None:
        """The release with a file name."""
        return next((entry for entry in self.releases if entry.file == file), None)
