"""What there is in an index, patch by patch, as a client that verifies it finds it: the content of its pages.

Files are not fetched: what is said of them is what the index lists and their publishers' statements say alike.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from packaging.version import Version

from ppm.document import table_of
from ppm.errors import IntegrityError, SourceError
from ppm.index.advisory import Advisory
from ppm.index.publishers import Publisher
from ppm.index.roles import SignedRole
from ppm.index.shard import Entry, Shard, ShardBase
from ppm.index.statement import Statement
from ppm.names import canonical_digest
from ppm.sources.index import IndexSource

__all__ = ["Catalogue", "File", "NotTaken", "Patch", "Score"]

AT_ONCE = 200
"""How many names are looked into at a time."""
BASE = "base"
"""What provenance calls the base model without a patch."""
TRIGGER = "trigger"


@dataclass(frozen=True)
class Score:
    """What a suite measured, as the publisher says: on the base model, and with the patch alone."""

    suite: str
    metric: str
    base: float | None
    patch: float | None


@dataclass(frozen=True)
class File:
    """One package file: what the index lists of it, what its publisher says of it, and the advisories on it."""

    entry: Entry
    said: Statement
    advisories: tuple[Advisory, ...] = ()

    @property
    def version(self) -> Version:
        return Version(self.entry.version)

    @property
    def in_force(self) -> bool:
        """Whether it was not taken back."""
        return self.entry.yanked is None

    @property
    def scores(self) -> list[Score]:
        """What the publisher measured on each suite; empty where nothing that can be shown is said."""
        provenance = self.said.manifest.provenance
        table = provenance.get("scores")
        metrics = {suite.name: suite.metric for suite in self.said.manifest.suites}
        found = []
        for suite, stages in table.items() if isinstance(table, Mapping) else ():
            if isinstance(stages, Mapping):
                base, patch = (_figure(stages.get(stage)) for stage in (BASE, _shipped(provenance, stages)))
                if base is not None or patch is not None:
                    found.append(Score(suite, metrics.get(suite.rpartition("/")[2], ""), base, patch))
        return found

    @property
    def manifest(self) -> str:
        """The digest of its manifest, as plain data."""
        return canonical_digest(table_of(self.said.manifest))

    @property
    def ppm(self) -> str:
        """The version of ppm that built it, where that is said."""
        versions = self.said.manifest.provenance.get("versions")
        found = versions.get("ppm") if isinstance(versions, Mapping) else None
        return found if isinstance(found, str) else ""


def _shipped(provenance: Mapping[str, object], stages: Mapping[str, object]) -> str:
    """The stage of training that the file holds: the patch as it is applied, with its trigger where it has one."""
    trigger = provenance.get(TRIGGER)
    if isinstance(trigger, Mapping) and trigger.get("ships") is True and TRIGGER in stages:
        return TRIGGER
    shipped = provenance.get("shipped")
    return shipped if isinstance(shipped, str) and shipped in stages else next(reversed([*stages]), "")


def _figure(value: object) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < 1e9 and math.isfinite(value) else None  # type: ignore[arg-type]


@dataclass(frozen=True)
class NotTaken:
    """What the index lists of a patch, and ppm does not take: a file or an advisory, and why."""

    what: str
    reason: str


@dataclass(frozen=True)
class Patch:
    """All there is of one name, the newest version first."""

    name: str
    publisher: Publisher
    files: tuple[File, ...]
    advisories: tuple[Advisory, ...]
    refused: tuple[NotTaken, ...]

    @cached_property
    def newest(self) -> File | None:
        """The newest file that was not taken back, else the newest; None where all are refused."""
        return next((file for file in self.files if file.in_force), self.files[0] if self.files else None)

    @cached_property
    def bases(self) -> list[tuple[ShardBase, File]]:
        """The base models, each with its newest file that was not taken back, else its newest."""
        found: dict[tuple[str, ...], File] = {}
        for file in sorted(self.files, key=lambda one: not one.in_force):
            base = file.entry.base
            found.setdefault((base.tag, base.model, base.revision or "", base.fingerprint), file)
        return [(file.entry.base, file) for _, file in sorted(found.items(), key=lambda item: item[0])]


class Catalogue:
    """An index as its pages have it; read once, name by name, in order."""

    def __init__(self, source: IndexSource) -> None:
        """Finds which names there are. Raises SourceError or IntegrityError when the index as a whole is no use."""
        self._source = source
        source.open()
        if source.only_cached:
            hint = "pages need all of it: try again when it can be reached"
            raise SourceError("can't be reached", context=source.location, hint=hint)
        self.faults: list[str] = []
        """What was found wrong so far, for whoever makes the pages."""
        self.names: list[str] = []
        """The names of the patches, in order."""
        self._providers: dict[str, set[str]] = {}
        own = sorted(source.publishers.names)
        source.names(None)
        for name in own:
            try:
                releases = source.shard(name).releases
            except IntegrityError as error:
                self.faults.append(f"{error.context}: {error.message}")
                continue
            if releases:
                self.names.append(name)
            for other in sorted({other for release in source.named(name) for other in release.stands_for}):
                self._providers.setdefault(other, set()).add(name)
        self._known = frozenset(self.names)

    @property
    def publishers(self) -> Sequence[Publisher]:
        """All who publish, in order."""
        return self._source.publishers.publishers

    def roles(self) -> Sequence[SignedRole]:
        """How the roles of the index stand."""
        return self._source.roles()

    def has(self, name: str) -> bool:
        """Whether there is a patch of this name."""
        return name in self._known

    def providers(self, name: str) -> list[str]:
        """The patches that answer to a name that is not theirs, in order."""
        return sorted(self._providers.get(name, ()))

    def patches(self) -> Iterator[Patch]:
        """The patches in order. Raises SourceError or IntegrityError when the index as a whole can't be read."""
        for start in range(0, len(self.names), AT_ONCE):
            names = self.names[start : start + AT_ONCE]
            said = self._source.statements(names)
            for name in names:
                yield self._patch(name, self._source.shard(name), said)

    def _patch(self, name: str, shard: Shard, said: Mapping[str, Statement | IntegrityError]) -> Patch:
        refused: list[NotTaken] = []
        advisories: Sequence[Advisory] = ()
        try:
            advisories = [listed.advisory for listed in self._source.advisories(name)]
        except IntegrityError as error:
            self.faults.append(f"{error.context}: {error.message}")
            refused.append(NotTaken("its advisories", error.message))
        files = []
        for entry in shard.releases:
            statement = said[entry.file]
            if isinstance(statement, IntegrityError):
                self.faults.append(f"{statement.context}: {statement.message}")
                refused.append(NotTaken(entry.file, statement.message))
            else:
                own = tuple(one for one in advisories if one.is_about(name, entry.version))
                files.append(File(entry, statement, own))
        owner = self._source.publisher(name)
        assert owner is not None
        files.sort(key=lambda file: (file.entry.base.tag, file.entry.file))
        files.sort(key=lambda file: file.version, reverse=True)
        advisories = sorted(sorted(advisories, key=lambda one: one.id), key=lambda one: one.changed, reverse=True)
        return Patch(name, owner, tuple(files), tuple(advisories), tuple(refused))
