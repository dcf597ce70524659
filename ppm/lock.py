"""ppm.lock and ppm.toml: the exact inputs of a deployment, and what a project asks for."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

from ppm import document
from ppm.base import LAB_BASES
from ppm.errors import ManifestError
from ppm.names import check_digest, check_name, expand, is_folder

__all__ = [
    "LOCK_FILE",
    "PROJECT_FILE",
    "Gates",
    "Lock",
    "LockedBase",
    "LockedComposition",
    "LockedPackage",
    "Project",
]

LOCK_FILE = "ppm.lock"
PROJECT_FILE = "ppm.toml"
SCHEMA = 1
_NAME = re.compile(r"[^A-Za-z0-9._-]")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]*\.ppm")


def _check_sha256(value: str, key: str) -> None:
    if not _SHA256.fullmatch(value):
        raise ValueError(f"{key} must be 64 hexadecimal digits, not {value!r}")


@dataclass(frozen=True)
class LockedBase:
    """The base model that was locked for."""

    model: str
    fingerprint: str
    revision: str | None = None

    def __post_init__(self) -> None:
        check_digest(self.fingerprint, "fingerprint")


@dataclass(frozen=True)
class LockedPackage:
    """One package file, pinned: `sha256` is of the file, `dependencies` are names of other locked packages."""

    name: str
    version: str
    file: str
    sha256: str
    source: str
    requested: bool = False
    dependencies: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", check_name(self.name))
        try:
            object.__setattr__(self, "version", str(Version(self.version)))
        except InvalidVersion as error:
            raise ValueError(f"version must be a PEP 440 version such as 1.2.0, not {self.version!r}") from error
        if not _FILE_NAME.fullmatch(self.file):
            raise ValueError(f"file must be the name of a .ppm file, without a folder, not {self.file!r}")
        _check_sha256(self.sha256, "sha256")
        object.__setattr__(self, "dependencies", tuple(sorted(map(check_name, self.dependencies))))

    @property
    def pin(self) -> str:
        """`name==version`."""
        return f"{self.name}=={self.version}"


@dataclass(frozen=True)
class LockedComposition:
    """The composition made from the locked packages: SHA-256 of its package file, and of its audit.

    `file` is the package file's name. The audit holds for the policy with the digest `gates`, and for a base model
    with these whole weights.
    """

    sha256: str
    audit: str
    file: str | None = None
    gates: str | None = None
    weights_digest: str | None = None

    def __post_init__(self) -> None:
        _check_sha256(self.sha256, "sha256")
        _check_sha256(self.audit, "audit")
        check_digest(self.gates, "gates")
        check_digest(self.weights_digest, "weights_digest")
        if self.file is not None and not _FILE_NAME.fullmatch(self.file):
            raise ValueError(f"file must be the name of a .ppm file, without a folder, not {self.file!r}")


@dataclass(frozen=True)
class Lock:
    """One ppm.lock. Packages are kept in the order of their names: the same inputs give the same file.

    `overrides` are those that the packages need: they take the place of what some manifest asks in vain.
    """

    schema: int
    base: LockedBase
    requirements: tuple[str, ...] = ()
    strategy: str | None = None
    strategy_digest: str | None = None
    packages: tuple[LockedPackage, ...] = ()
    composition: LockedComposition | None = None
    overrides: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for text in self.overrides:
            _check_requirement(text, "overrides")
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

    @staticmethod
    def parse(data: bytes | str, origin: str) -> "Lock":
        """A lock from TOML. Raises ManifestError."""
        table = document.parse(data, origin)
        schema = table.get("schema")
        if schema != SCHEMA:
            raise ManifestError(
                f"schema {schema!r} is not known" if "schema" in table else "schema is missing",
                context=origin,
                hint=f"this ppm reads schema = {SCHEMA}",
            )
        return document.read_table(Lock, table, origin)

    @staticmethod
    def read(path: Path) -> "Lock":
        """A lock from a file. Raises ManifestError."""
        try:
            return Lock.parse(path.read_bytes(), str(path))
        except OSError as error:
            raise ManifestError(
                f"can't be read: {error.strerror}", context=str(path), hint="give the path of a ppm.lock"
            ) from error

    def render(self) -> str:
        """The lock as TOML."""
        return document.render(document.to_table(self))


@dataclass(frozen=True)
class Gates:
    """The deployer's policy: it overrides what packages declare.

    `suites` are TOML files of further suites against the base, as a base model's `ppm-base.toml`. `looks` are shares
    of the prompts after which a decision may be taken early; every look spends an equal part of alpha.
    """

    alpha: float = 0.05
    max_margin: float | None = None
    min_effect: float | None = None
    min_prompts: int | None = None
    suites: tuple[str, ...] = ()
    looks: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.alpha <= 0.5:
            raise ValueError(f"alpha must be above 0 and at most 0.5, not {self.alpha}")
        if self.max_margin is not None and not 0 < self.max_margin < 1:
            raise ValueError(f"max_margin must be above 0 and below 1, not {self.max_margin}")
        if self.min_effect is not None and not 0 <= self.min_effect <= 1:
            raise ValueError(f"min_effect must be between 0 and 1, not {self.min_effect}")
        if self.min_prompts is not None and self.min_prompts < 1:
            raise ValueError(f"min_prompts must be 1 or more, not {self.min_prompts}")
        if any(not 0 < look < after for look, after in pairwise((*self.looks, 1.0))):
            raise ValueError(f"looks must rise from above 0 to below 1, not {list(self.looks)}")


@dataclass(frozen=True)
class Project:
    """One ppm.toml: the patches a project wants, on which base, from where, and under which policy.

    `constraints` limit versions without asking for patches, `overrides` take the place of what dependencies ask, and
    what came into its source after `exclude_newer`, a date, is left out.
    """

    base: str | None = None
    patches: tuple[str, ...] = ()
    strategy: str | None = None
    sources: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    exclude_newer: str | None = None
    gates: Gates = field(default_factory=Gates)

    def __post_init__(self) -> None:
        for key in ("patches", "constraints", "overrides"):
            for requirement in getattr(self, key):
                _check_requirement(requirement, key)
        overridden = [check_name(_NAME.split(text, maxsplit=1)[0]) for text in map(str.strip, self.overrides)]
        for name in overridden:
            if overridden.count(name) > 1:
                raise ValueError(f"overrides: several are on {name!r}; write them as one, such as 'core>=1,<2'")
        for key in ("base", "strategy"):
            if getattr(self, key) == "":
                raise ValueError(f"{key} must not be empty")
        for source in self.sources:
            if not source or "://" in source:
                raise ValueError(f"sources are folders of package files, not {source!r}")

    @staticmethod
    def locate(start: Path) -> Path | None:
        """The nearest ppm.toml in `start` or a folder above it."""
        start = start.absolute()
        candidates = (folder / PROJECT_FILE for folder in (start, *start.parents))
        return next((path for path in candidates if path.is_file()), None)

    @staticmethod
    def read(path: Path) -> "Project":
        """A project from its file; folders that it names relative to that file come back absolute.

        Raises ManifestError.
        """
        return Project.of(document.read_file(path), path)

    @staticmethod
    def of(table: Mapping[str, Any], path: Path) -> "Project":
        """A project from the data of the file at `path`. Raises ManifestError."""
        project = document.read_table(Project, table, str(path))
        folder = path.absolute().parent
        base = project.base
        # A base may be a hub name as well as a folder, and the two look alike.
        if base is not None and base not in LAB_BASES and is_folder(folder / expand(base)):
            base = str(folder / expand(base))
        sources = tuple(str(folder / expand(source)) for source in project.sources)
        suites = tuple(str(folder / expand(suite)) for suite in project.gates.suites)
        strategy = project.strategy
        if strategy is not None and strategy.endswith(".toml"):
            strategy = str(folder / expand(strategy))
        return replace(
            project, base=base, strategy=strategy, sources=sources, gates=replace(project.gates, suites=suites)
        )

    @staticmethod
    def find(start: Path) -> "Project | None":
        """The project that the folder `start` belongs to. Raises ManifestError when its file is malformed."""
        path = Project.locate(start)
        return Project.read(path) if path else None


def _check_requirement(text: str, key: str) -> None:
    if text.endswith(".ppm") and key == "patches":
        return
    # Imported here: it takes longer than reading a lock.
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        Requirement(text)
    except InvalidRequirement as error:
        raise ValueError(f"{key}: {text!r} is not a requirement such as 'toxicity>=1,<2'") from error
