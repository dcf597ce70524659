"""A signed index as a source: shards say what there is of a name, publishers' statements what a file is.

Whoever hosts an index, or has its online keys, can withhold releases. A file is taken only if the publisher of its
name signed it, and if statement, manifest and shard say the same of it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from packaging.version import Version

from ppm.errors import IntegrityError, SourceError
from ppm.index.advise import check_advisory
from ppm.index.advisory import Listed
from ppm.index.client import AT_ONCE, Client
from ppm.index.envelope import DISTRUST
from ppm.index.layout import (
    PUBLISHERS,
    SIGSTORE_ROOT,
    advisory_path,
    file_path,
    publishers_path,
    shard_path,
    statement_path,
)
from ppm.index.pins import Pins
from ppm.index.publishers import Publisher, Publishers
from ppm.index.roles import SignedRole
from ppm.index.shard import Entry, Notice, Shard
from ppm.index.statement import Statement, check_bundle, check_statement, read_statement
from ppm.index.trust import Access, TrustedIndex
from ppm.names import check_name
from ppm.package import parse_file_name, read_package
from ppm.package import sha256 as sha256_of
from ppm.sources.base import Release, Signed, declarations

__all__ = ["IndexSource"]


class IndexSource:
    """The releases of one index; shards are fetched when their names are asked for, with those that they depend on."""

    def __init__(self, index: TrustedIndex, cache: Path | None, access: Access, tell: Callable[[str], None]) -> None:
        self.name = index.name
        self._index = index
        self._client = Client(index, cache, access, tell)
        self._pins = Pins(index, lambda: self._sigstore_root)
        self.location = self._client.where
        self._shards: dict[str, Shard | IntegrityError] = {}
        self._owners: dict[str, Publishers] = {}
        self._signed: dict[str, Signed] = {}

    @cached_property
    def publishers(self) -> Publishers:
        """All who publish, as the offline key signed it; without a network, as far as it was fetched before.

        Raises SourceError or IntegrityError.
        """
        paths = [path for path in self._client.offline_paths() if path.startswith(PUBLISHERS)]
        if not self._client.only_cached:
            return Publishers.join(self._lists(paths))
        found = []
        for path in paths:
            with suppress(SourceError):
                found += self._lists([path])
        return Publishers.join(found)

    def open(self) -> None:
        """Fetch what is new of the index as a whole. Raises SourceError or IntegrityError."""
        self._client.open()

    def lists(self, name: str) -> bool:
        """Whether a publisher has this name here. The online keys can't deny it."""
        return self._owner(name) is not None

    def listed_before(self, name: str) -> bool:
        """The same as far as it is known without asking; for messages only."""
        data = self._client.known(publishers_path(name))
        try:
            return data is not None and name in Publishers.parse(data).names
        except IntegrityError:
            return False

    def named(self, name: str) -> Sequence[Release]:
        shard = self._shard(name)
        releases = [self._release(shard.name, entry) for entry in shard.releases if not self._fault(shard.name, entry)]
        with suppress(SourceError):  # it is raised when they are asked for
            self._load({needed for release in releases for needed in release.dependencies})
        return releases

    def compositions(self, name: str) -> Sequence[Release]:
        return ()

    def providers(self, name: str, fingerprint: str) -> Iterable[str]:
        return {provider.name for provider in self._shard(name).providers if provider.fingerprint == fingerprint}

    def names(self, fingerprint: str | None) -> Iterable[str]:
        own = self.publishers.names
        if self._client.only_cached:
            for name in own:
                with suppress(SourceError):  # what was not fetched is not known
                    self._load([name])
        else:
            self._load(own)
        found = set()
        for name in own:
            shard = self._shards.get(name)
            for entry in shard.releases if isinstance(shard, Shard) else ():
                if fingerprint in (None, entry.base.fingerprint) and not self._fault(name, entry):
                    found |= {name, *entry.stands_for}
        return found

    def composed_names(self) -> Iterable[str]:
        return ()

    def problems(self, name: str) -> Sequence[str]:
        shard = self._shard(name)
        faults = ((entry, self._fault(name, entry)) for entry in shard.releases)
        return [f"{self._where(entry)}: {fault}" for entry, fault in faults if fault]

    def damaged(self) -> Sequence[str]:
        """What is wrong with each shard, and with each release, that was looked at."""
        found: list[str] = []
        for name, shard in sorted(self._shards.items()):
            if isinstance(shard, Shard):
                found += self.problems(name)
            else:
                found.append(f"{shard.context}: {shard.message}")
        return found

    def fetch(self, release: Release) -> bytes:
        entry = self._shard(release.name).find(release.file_name)
        if entry is None or entry.sha256 != release.sha256:
            raise IntegrityError("is not what was listed", context=f"{release.pin} in {self.location}")
        paths = [file_path(entry.sha256, entry.file), self._statement_path(release.name, entry)]
        found = self._client.read_all(paths)
        if len(found) < len(paths):
            what = "the file" if paths[0] not in found else "its publisher's statement"
            raise IntegrityError(f"is listed, but {what} is not there", context=f"{entry.file} in {self.location}")
        data, statement = (found[path] for path in paths)
        self._check(release.name, entry, data, statement)
        return data

    def signed(self, sha256: str) -> Signed | None:
        """How a file was checked when it was fetched; None where it was not."""
        return self._signed.get(sha256)

    def find(self, file_name: str, sha256: str) -> bytes | None:
        release = next((r for r in self._of_file(file_name) if r.sha256 == sha256), None)
        return None if release is None else self.fetch(release)

    def has_file(self, file_name: str) -> bool:
        return bool(self._of_file(file_name))

    def advisories(self, name: str, sha256: str | None = None) -> Sequence[Listed]:
        """The advisories on a patch, or on the one file of it with a digest; none where this index lacks that.

        Raises SourceError, and IntegrityError for one that its publisher did not sign as it is.
        """
        shard = self._shard(name) if self.lists(name) else Shard(name)
        versions = {entry.version for entry in shard.releases if sha256 in (None, entry.sha256)}
        if not versions or not shard.advisories:
            return []
        listed = []
        for i in range(0, len(shard.advisories), AT_ONCE):
            some = {one: advisory_path(one.sha256, one.id) for one in shard.advisories[i : i + AT_ONCE]}
            found = self._client.read_all(some.values())
            listed += [self._advisory(name, notice, found.get(path)) for notice, path in some.items()]
        if sha256 is None:
            return listed
        return [one for one in listed if any(one.advisory.is_about(name, version) for version in versions)]

    def _advisory(self, name: str, notice: Notice, data: bytes | None) -> Listed:
        """An advisory that is listed for a patch. Raises IntegrityError."""
        where = f"advisory {notice.id} on {name} in {self.location}"
        if data is None or sha256_of(data) != notice.sha256:
            raise IntegrityError("is listed, but is not there", context=where, hint=DISTRUST)
        advisory, keyid = check_advisory(data, name, self._owner, where)
        self._pins.check_advisory(name, keyid, where)
        if advisory.id != notice.id:
            raise IntegrityError(f"calls itself {advisory.id}", context=where, hint=DISTRUST)
        return Listed(advisory, notice.sha256, self.location)

    def publisher(self, name: str) -> Publisher | None:
        """Who owns a name. Raises SourceError or IntegrityError."""
        return self._owner(name)

    def shard(self, name: str) -> Shard:
        """All that the index lists of a name, also what may not be taken. Raises SourceError, and IntegrityError."""
        return self._shard(name)

    def statements(self, names: Sequence[str]) -> Mapping[str, Statement | IntegrityError]:
        """What publishers say of the files of some names, or why a file is refused; by the names of the files.

        What the index lists of a file must agree with its statement. Names whose shards can't be right have no files
        here. Raises SourceError, and RequestError where there are bundles and Sigstore's library is not installed.
        """
        self._load(names)
        shards = [shard for name in names if isinstance(shard := self._shards[name], Shard)]
        listed = [(shard.name, entry) for shard in shards for entry in shard.releases]
        paths = {entry.file: self._statement_path(name, entry) for name, entry in listed}
        read = self._client.read_all(paths.values())
        found: dict[str, Statement | IntegrityError] = {}
        for name, entry in listed:
            try:
                found[entry.file] = self._said(name, entry, read.get(paths[entry.file]))
            except IntegrityError as error:
                found[entry.file] = error
        return found

    def roles(self) -> Sequence[SignedRole]:
        """How the roles of the index stand, all bins included. Raises SourceError or IntegrityError."""
        return self._client.roles()

    @property
    def only_cached(self) -> bool:
        """Whether there is nothing but what was fetched before. Known once something was asked for."""
        return self._client.only_cached

    def accept(self, name: str) -> tuple[str, ...]:
        """Accept the keys and identities that the publisher of a name has now, and who vouches for these: how they are
        shown. Raises IntegrityError for nobody's name.
        """
        owner = self._owner(name)
        if owner is None:
            raise IntegrityError(f"has no publisher of {name}", context=self.location)
        added = self._pins.accept(name, owner)
        authorities = (f"Sigstore authority {one[:12]}... (for all patches of {self.name})" for one in added)
        return (*map(owner.shown, owner.ids), *authorities)

    def _of_file(self, file_name: str) -> list[Release]:
        parts = parse_file_name(file_name)
        try:
            name = check_name(parts[0]) if parts else ""
        except ValueError:
            return []
        return [release for release in self.named(name) if release.file_name == file_name] if name else []

    def _shard(self, name: str) -> Shard:
        """Raises IntegrityError for one that can't be right."""
        self._load([name])
        found = self._shards[name]
        if isinstance(found, IntegrityError):
            raise found
        return found

    def _owner(self, name: str) -> Publisher | None:
        """The publisher of a name. Raises SourceError or IntegrityError."""
        [found] = self._lists([publishers_path(name)])
        return found.owner(name)

    def _lists(self, paths: Iterable[str]) -> list[Publishers]:
        """Lists of publishers; empty where there is none. Fetched when they are not known yet."""
        wanted = list(paths)
        new = [path for path in wanted if path not in self._owners]
        found = self._client.read_offline(new) if new else {}
        for path in new:
            where = f"{self.location}, {path}"
            self._owners[path] = Publishers.parse(found[path], where) if path in found else Publishers()
        return [self._owners[path] for path in wanted]

    def _load(self, names: Iterable[str]) -> None:
        """Fetch the shards of some names that are not known yet, several at a time."""
        new = {name: shard_path(name) for name in names if name not in self._shards}
        found = self._client.read_all(new.values()) if new else {}
        for name, path in new.items():
            try:
                where = f"{self.location}, {path}"
                self._shards[name] = Shard.parse(found[path], name, where) if path in found else Shard(name)
            except IntegrityError as error:
                self._shards[name] = error

    def _fault(self, name: str, entry: Entry) -> str:
        """Why a release may not be taken, or ""."""
        owner = self._owner(name)
        if owner is None:
            return f"nobody has the right to publish {name}"
        if entry.publisher not in owner.ids:
            return f"it is not signed by a key or an identity that {owner.name} has"
        for other in sorted(entry.stands_for):
            its = self._owner(other)
            if its is not None and its.name != owner.name:
                return f"it stands for {other}, which belongs to {its.name}"
        return ""

    def _statement_path(self, name: str, entry: Entry) -> str:
        owner = self._owner(name)
        bundled = owner is not None and owner.identity(entry.publisher) is not None
        return statement_path(entry.sha256, entry.file, bundled=bundled)

    def _where(self, entry: Entry) -> str:
        return f"{self.location}, {entry.file}"

    def _said(self, name: str, entry: Entry, data: bytes | None) -> Statement:
        """A publisher's statement on a file, of which the index says the same. Raises IntegrityError."""
        fault, owner, where = self._fault(name, entry), self._owner(name), self._where(entry)
        if fault or owner is None:
            raise IntegrityError(fault, context=where, hint=DISTRUST)
        if data is None or sha256_of(data) != entry.statement:
            raise IntegrityError("is listed, but its publisher's statement is not there", context=where, hint=DISTRUST)
        identity = owner.identity(entry.publisher)
        if identity is None:
            said = read_statement(data, name, entry.file, entry.sha256, owner.keys)
        else:
            root = self._sigstore_root
            said = read_statement(data, name, entry.file, entry.sha256, identities=(identity,), root=root)
        self._pins.check(name, entry.publisher, owner, where)
        if (said.manifest.name, said.publisher) != (name, entry.publisher) or not entry.follows_from(said.manifest):
            raise IntegrityError("is listed otherwise than its publisher's statement has it", context=where)
        return said

    def _check(self, name: str, entry: Entry, data: bytes, statement: bytes) -> None:
        """Raises IntegrityError when a file is not what everybody says that it is, or is another publisher's."""
        fault = self._fault(name, entry)
        if fault:
            raise IntegrityError(fault, context=self._where(entry), hint=DISTRUST)
        owner = self._owner(name)
        assert owner is not None
        package = read_package(data, origin=f"{entry.file} in {self.location}", expected_sha256=entry.sha256)
        identity = owner.identity(entry.publisher)
        if identity is None:
            signed_by = check_statement(statement, package, owner.keys)
        else:
            signed_by = check_bundle(statement, package, (identity,), self._sigstore_root)
        if (
            package.manifest.name != name
            or signed_by != entry.publisher
            or sha256_of(statement) != entry.statement
            or not entry.agrees_with(package)
        ):
            raise IntegrityError(
                "lists it otherwise than its manifest or its publisher's statement has it",
                context=self._where(entry),
                hint=DISTRUST,
            )
        self._pins.take(name, entry.publisher, owner, self._where(entry))
        state = self._client.state
        self._signed[entry.sha256] = Signed(
            publisher=owner.name,
            key=entry.publisher,
            identity=None if identity is None else str(identity),
            statement=entry.statement,
            index=self.name,
            root=state.root,
            root_version=state.root_version,
            timestamp_version=state.timestamp_version,
            at=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    @cached_property
    def _sigstore_root(self) -> bytes:
        """The trusted root of the Sigstore instance, signed by the offline key. Raises SourceError, IntegrityError."""
        found = self._client.read_offline([SIGSTORE_ROOT])
        if SIGSTORE_ROOT not in found:
            raise IntegrityError("names no Sigstore instance that vouches for identities", context=self.location)
        return found[SIGSTORE_ROOT]

    def _release(self, name: str, entry: Entry) -> Release:
        return Release(
            name=name,
            version=Version(entry.version),
            base_tag=entry.base.tag,
            base_model=entry.base.model,
            fingerprint=entry.base.fingerprint,
            file_name=entry.file,
            sha256=entry.sha256,
            source=self.location,
            dependencies=declarations(entry.dependencies),
            conflicts=declarations(entry.conflicts),
            provides=entry.provides,
            replaces=declarations(entry.replaces),
            risks=entry.risks,
            summary=entry.summary,
            base_revision=entry.base.revision,
            yanked=entry.yanked,
            published=entry.at,
            accepts=entry.base.accepts,
            publisher=entry.publisher,
        )
