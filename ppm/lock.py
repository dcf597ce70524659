"""ppm.lock: what was selected, down to the exact files, and the composition that was made of it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from ppm import document
from ppm.errors import ManifestError
from ppm.names import check_digest, check_name, check_sha256, check_version
from ppm.requirement import Requirement
from ppm.running import UNSAID, Dtype, Running

__all__ = ["LOCK_FILE", "DerivedFrom", "Lock", "LockedBase", "LockedComposition", "LockedPackage", "Selection"]

LOCK_FILE = "ppm.lock"
SCHEMA = 1
MOST_ATTEMPTS = 10**9
_ORDER = (
    *("schema", "base", "requirements", "strategy", "strategy_digest", "dtype", "exclude_newer"),
    *("exclude_newer_package", "packages", "composition", "overrides", "attempts"),
)
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]*\.ppm")


@dataclass(frozen=True)
class DerivedFrom:
    """A base that patches were made for and that the base at hand is accepted as; `note` says what differs."""

    model: str
    fingerprint: str
    note: str

    def __post_init__(self) -> None:
        check_digest(self.fingerprint, "fingerprint")


@dataclass(frozen=True)
class LockedBase:
    """The base model that was locked for, and what it is derived from, where patches were made for that."""

    model: str
    fingerprint: str
    revision: str | None = None
    derived_from: tuple[DerivedFrom, ...] = ()

    def __post_init__(self) -> None:
        check_digest(self.fingerprint, "fingerprint")

    @property
    def accepted_as(self) -> tuple[str, ...]:
        """The fingerprints of the bases that it is derived from."""
        return tuple(other.fingerprint for other in self.derived_from)


@dataclass(frozen=True)
class LockedPackage:
    """One package file, pinned: `sha256` is of the file, `dependencies` are names of other locked packages.

    `publisher` is the id of the key or identity that its publisher signed it with, where it is from a signed index.
    """

    name: str
    version: str
    file: str
    sha256: str
    source: str
    requested: bool = False
    dependencies: tuple[str, ...] = ()
    publisher: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", check_name(self.name))
        object.__setattr__(self, "version", check_version(self.version))
        if self.publisher is not None:
            check_sha256(self.publisher, "publisher")
        if not _FILE_NAME.fullmatch(self.file):
            raise ValueError(f"file must be the name of a .ppm file, without a folder, not {self.file!r}")
        check_sha256(self.sha256, "sha256")
        object.__setattr__(self, "dependencies", tuple(sorted(map(check_name, self.dependencies))))

    @property
    def pin(self) -> str:
        """`name==version`."""
        return f"{self.name}=={self.version}"


@dataclass(frozen=True)
class LockedComposition:
    """The composition made from the locked packages: SHA-256 of its package file, and of its audit.

    `file` is the package file's name. The audit holds for the policy with the digest `gates`, and for a base model
    with these whole weights. `prefix` is the digest of its bank, and `looks` those that it was tested at: by them the
    count of attempts knows it again.
    """

    sha256: str
    audit: str
    file: str | None = None
    gates: str | None = None
    weights_digest: str | None = None
    prefix: str | None = None
    looks: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        check_sha256(self.sha256, "sha256")
        check_sha256(self.audit, "audit")
        check_digest(self.gates, "gates")
        check_digest(self.weights_digest, "weights_digest")
        check_digest(self.prefix, "prefix")
        if self.file is not None and not _FILE_NAME.fullmatch(self.file):
            raise ValueError(f"file must be the name of a .ppm file, without a folder, not {self.file!r}")


@dataclass(frozen=True)
class Selection:
    """What a request came to: the base, what was asked for, the pinned packages, and how they are composed.

    Packages are kept in the order of their names: the same inputs give the same file. `overrides` are those that the
    packages need: they take the place of what a manifest asks for and can't have. `dtype` is what the base is tested
    and loaded in; None is float32, as in locks from before there was a choice. `exclude_newer` and
    `exclude_newer_package` say, as the user put it, after when nothing was taken of all names or of some.
    """

    base: LockedBase
    requirements: tuple[Requirement, ...] = ()
    strategy: str | None = None
    strategy_digest: str | None = None
    packages: tuple[LockedPackage, ...] = ()
    overrides: tuple[Requirement, ...] = ()
    dtype: Dtype | None = field(default=None, kw_only=True)
    exclude_newer: str | None = field(default=None, kw_only=True, compare=False)
    exclude_newer_package: dict[str, str] = field(default_factory=dict, kw_only=True, compare=False)

    def __post_init__(self) -> None:
        check_digest(self.strategy_digest, "strategy_digest")
        object.__setattr__(self, "packages", tuple(sorted(self.packages, key=lambda package: package.name)))
        names = [package.name for package in self.packages]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{name!r} is locked twice")
        for package in self.packages:
            lacking = sorted(set(package.dependencies) - set(names))
            if lacking:
                raise ValueError(f"{package.name!r} depends on {lacking[0]!r}, which is not locked")

    @property
    def files(self) -> frozenset[str]:
        """The SHA-256 of every package file."""
        return frozenset(package.sha256 for package in self.packages)

    def running(self, limits: Running = UNSAID) -> Running:
        """How the base is run: in its own dtype, on the devices and in the memory of `limits`."""
        return replace(limits, dtype=self.dtype or "float32")

    def required_by(self, name: str) -> tuple[str, ...]:
        """The names of the packages that depend on a package."""
        return tuple(package.name for package in self.packages if name in package.dependencies)


@dataclass(frozen=True)
class Lock(Selection):
    """One ppm.lock: a selection, and the composition that was made of it once it was.

    `attempts` says how often the prompts of the gate have been looked at, by the digest of their set: where nothing
    else is kept, as in CI, it is what keeps alpha from being spent anew.
    """

    composition: LockedComposition | None = None
    attempts: dict[str, int] = field(default_factory=dict)
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        super().__post_init__()
        for digest, count in self.attempts.items():
            check_sha256(digest, "attempts")
            if not 0 < count < MOST_ATTEMPTS:
                raise ValueError(f"attempts: {count} is not how often prompts can have been looked at")

    @staticmethod
    def of(
        selection: Selection, composition: LockedComposition | None, attempts: Mapping[str, int] | None = None
    ) -> "Lock":
        """The lock of a selection."""
        chosen = {one.name: getattr(selection, one.name) for one in fields(Selection)}
        return Lock(**chosen, composition=composition, attempts=dict(sorted((attempts or {}).items())))

    @staticmethod
    def parse(data: bytes | str, origin: str) -> "Lock":
        """A lock from TOML. Raises ManifestError."""
        return document.read_document(Lock, data, origin, schema=SCHEMA)

    @staticmethod
    def read(path: Path) -> "Lock":
        """A lock from a file. Raises ManifestError."""
        try:
            return Lock.parse(path.read_bytes(), str(path))
        except OSError as error:
            raise ManifestError(
                f"can't be read: {error.strerror}", context=str(path), hint="give the path of a ppm.lock"
            ) from error

    def to_toml(self) -> dict[str, object]:
        table = {name: getattr(self, name) for name in _ORDER}
        return {name: document.to_table(value) for name, value in table.items() if value not in (None, (), {})}

    def render(self) -> str:
        """The lock as TOML."""
        return document.render(self.to_toml())
