"""An index on disk, as whoever runs it changes it: read and verified, changed in memory, written so that a kill at any
time leaves a whole index.

New versions are written beside the old ones; `timestamp.json`, which alone says what counts, is replaced last.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import LengthOrHashMismatchError, RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Role, Root, Snapshot, TargetFile, Targets, Timestamp

from ppm.disk import disk_errors, make_folder, replace_file
from ppm.errors import IntegrityError, RequestError
from ppm.index.keys import Keyring
from ppm.index.layout import BINS, METADATA, PUBLISHERS, TARGETS, TRUSTED_ROOT, is_offline, shard_path, stored
from ppm.index.publishers import Publishers
from ppm.index.roles import ROLES, RoleName, expiry, first_root, first_targets, renewal
from ppm.index.shard import Shard
from ppm.package import sha256

__all__ = ["Repository", "check_next_root", "create", "write_durably"]

S = TypeVar("S", Root, Timestamp, Snapshot, Targets)
Writer = Callable[[Path, bytes], None]


def write_durably(path: Path, data: bytes) -> None:
    """Put a file in its place, whole, and flush it. Raises DiskError."""
    with disk_errors("can't be written", path):
        make_folder(path.parent)
        replace_file(path, data)


@dataclass
class Repository:
    """The newest state of an index, and the changes to it that are not written yet."""

    folder: Path
    keys: Keyring
    root: Metadata[Root]
    timestamp: Metadata[Timestamp]
    snapshot: Metadata[Snapshot]
    targets: Metadata[Targets]
    write: Writer = write_durably
    _bins: dict[str, Metadata[Targets]] = field(default_factory=dict)
    _files: dict[str, bytes] = field(default_factory=dict)
    _changed: set[str] = field(default_factory=set)

    @staticmethod
    def open(folder: Path, keys: Keyring, write: Writer = write_durably) -> "Repository":
        """The index in a folder, verified from its first root on.

        Raises RequestError where there is none, IntegrityError when it was changed by somebody without its keys.
        """
        if not (folder / METADATA / "timestamp.json").is_file():
            raise RequestError("is not an index", context=str(folder), hint=f"`ppm index init {folder}` makes one")
        try:
            root = _newest_root(folder, keys)
            timestamp = _read(folder, "timestamp.json", Timestamp)
            root.signed.verify_delegate(Timestamp.type, timestamp.signed_bytes, timestamp.signatures)
            version = timestamp.signed.snapshot_meta.version
            snapshot = _read(folder, f"{version}.snapshot.json", Snapshot)
            root.signed.verify_delegate(Snapshot.type, snapshot.signed_bytes, snapshot.signatures)
            version = snapshot.signed.meta["targets.json"].version
            targets = _read(folder, f"{version}.targets.json", Targets)
            root.signed.verify_delegate(Targets.type, targets.signed_bytes, targets.signatures)
        except (RepositoryError, KeyError) as error:
            raise _tampered(folder, error) from error
        return Repository(folder, keys, root, timestamp, snapshot, targets, write)

    @property
    def bin_names(self) -> list[str]:
        """The names of the bins."""
        delegations = self.targets.signed.delegations
        assert delegations is not None
        assert delegations.succinct_roles is not None
        return list(delegations.succinct_roles.get_roles())

    def bin(self, name: str) -> Metadata[Targets]:
        """One bin. Raises IntegrityError."""
        if name not in self._bins:
            try:
                version = self.snapshot.signed.meta[f"{name}.json"].version
                found = _read(self.folder, f"{version}.{name}.json", Targets)
                self.targets.signed.verify_delegate(name, found.signed_bytes, found.signatures)
            except (RepositoryError, KeyError) as error:
                raise _tampered(self.folder, error) from error
            self._bins[name] = found
        return self._bins[name]

    def read(self, path: str) -> bytes | None:
        """A target, checked; None when there is none. Raises IntegrityError."""
        target = self._list_of(path)[1].signed.targets.get(path)
        if target is None:
            return None
        name = stored(path, target.hashes["sha256"])
        if name in self._files:
            return self._files[name]
        try:
            data = (self.folder / TARGETS / name).read_bytes()
            target.verify_length_and_hashes(data)
        except (LengthOrHashMismatchError, OSError) as error:
            raise _tampered(self.folder, error) from error
        return data

    def put(self, path: str, data: bytes) -> None:
        """Let a target have this content from the next commit on."""
        role, listed = self._list_of(path)
        target = TargetFile.from_data(path, data, ["sha256"])
        self._files[stored(path, target.hashes["sha256"])] = data
        listed.signed.targets[path] = target
        self._changed.add(role)

    def touch(self, role: str) -> None:
        """Let `targets` or a bin be signed anew at the next commit."""
        self._changed.add(role)

    @property
    def publishers(self) -> Publishers:
        """Who publishes what."""
        lists = (path for path in self.targets.signed.targets if path.startswith(PUBLISHERS))
        return Publishers.join(Publishers.parse(self.read(path) or b"", path) for path in lists)

    def put_publishers(self, publishers: Publishers) -> None:
        """Let these publish from the next commit on, and no others. Only lists that change are written."""
        emptied = {path: Publishers() for path in self.targets.signed.targets if path.startswith(PUBLISHERS)}
        for path, part in {**emptied, **publishers.split()}.items():
            data = part.to_bytes()
            known = self.targets.signed.targets.get(path)
            if known is None or known.hashes["sha256"] != sha256(data):
                self.put(path, data)
        self.touch(Targets.type)

    def shard(self, name: str) -> Shard:
        """What there is of a name; empty where there is nothing yet."""
        data = self.read(shard_path(name))
        return Shard(name) if data is None else Shard.parse(data, name, shard_path(name))

    def commit(self, now: datetime, more: Sequence[CryptoSigner] = ()) -> None:
        """Sign and write what was changed, new snapshot and timestamp included. Keys of `more` sign these and targets.

        Raises RequestError when a key is not here, DiskError.
        """
        written: list[tuple[str, Metadata[Targets]]] = []
        for role in sorted(self._changed):
            listed = self.targets if role == Targets.type else self.bin(role)
            self._sign(listed, role, now, more if role == Targets.type else ())
            self.snapshot.signed.meta[f"{role}.json"] = MetaFile(listed.signed.version)
            written.append((role, listed))
        self._sign(self.snapshot, Snapshot.type, now, more)
        self.timestamp.signed.snapshot_meta = MetaFile(self.snapshot.signed.version)
        self._sign(self.timestamp, Timestamp.type, now, more)
        for name, data in self._files.items():
            self.write(self.folder / TARGETS / name, data)
        for role, listed in written:
            self._write(f"{listed.signed.version}.{role}.json", listed)
        self._write(f"{self.snapshot.signed.version}.snapshot.json", self.snapshot)
        self._write("timestamp.json", self.timestamp)
        self._files.clear()
        self._changed.clear()

    def refresh(self, now: datetime, *, offline: bool = False) -> None:
        """New snapshot and timestamp, and what else of the online roles has half of its life behind it.

        With `offline`, root and targets are signed anew too. Raises as `commit` does.
        """
        for name in self.bin_names:
            if now >= renewal("bins", self.bin(name).signed.expires):
                self.touch(name)
        root_keys = self._root_keys() if offline else []
        if offline:
            self.touch(Targets.type)
        self.commit(now)
        if offline:
            self._write_root(root_keys, now)

    def rotate(self, role: RoleName, now: datetime) -> list[str]:
        """New keys for a role, in place of those it has: the ids of the old ones, whose files can go.

        What is in force is signed by old and new keys before the new root says that only the new ones count.
        """
        if role == "bins":
            self._need("targets", "snapshot", "timestamp")
            return self._rotate_bins(now)
        if role != "root":  # what else signs is looked for before there is a new key
            self._need("snapshot", "timestamp", *(["targets"] if role == "targets" else []))
        old = list(self.root.signed.roles[role].keyids)
        root_keys = self._root_keys()
        fresh = [self.keys.create(role) for _ in old]
        if role != "root":
            if role == "targets":
                self.touch(Targets.type)
            self.commit(now, fresh)
        for keyid in old:
            self.root.signed.revoke_key(keyid, role)
        for signer in fresh:
            self.root.signed.add_key(signer.public_key, role)
        self._write_root([*root_keys, *(fresh if role == "root" else ())], now)
        return old

    def _rotate_bins(self, now: datetime) -> list[str]:
        targets = self.targets.signed
        assert targets.delegations is not None
        assert targets.delegations.succinct_roles is not None
        for name in self.bin_names:
            self.bin(name)
            self.touch(name)
        old = list(targets.delegations.succinct_roles.keyids)
        fresh = self.keys.create("bins")
        targets.add_key(fresh.public_key)
        for keyid in old:
            targets.revoke_key(keyid)
        self.touch(Targets.type)
        self.commit(now)
        return old

    def _need(self, *roles: str) -> None:
        """Raises RequestError where keys of some roles are not here."""
        for role in roles:
            found = self.root.signed.roles[role]
            self.keys.needed(found.keyids, found.threshold, role)

    def _root_keys(self) -> list[CryptoSigner]:
        role = self.root.signed.roles[Root.type]
        return self.keys.needed(role.keyids, role.threshold, "root")

    def _write_root(self, signers: Sequence[CryptoSigner], now: datetime) -> None:
        self.root.signed.version += 1
        self.root.signed.expires = expiry("root", now)
        _sign(self.root, signers)
        self._write(f"{self.root.signed.version}.root.json", self.root)

    def _list_of(self, path: str) -> tuple[str, Metadata[Targets]]:
        """The role that lists a target, and its metadata."""
        if is_offline(path):
            return Targets.type, self.targets
        delegations = self.targets.signed.delegations
        assert delegations is not None
        assert delegations.succinct_roles is not None
        name = delegations.succinct_roles.get_role_for_target(path)
        return name, self.bin(name)

    def _sign(self, metadata: Metadata[S], role: str, now: datetime, more: Sequence[CryptoSigner]) -> None:
        """The next version of what a role signs, signed by its keys and by `more` that it is to have."""
        kind: RoleName = "bins" if role.startswith(f"{BINS}-") else _role(role)
        delegator = self.targets.signed if kind == "bins" else self.root.signed
        found: Role = delegator.get_delegated_role(role)
        own: list[CryptoSigner] = self.keys.needed(found.keyids, found.threshold, kind)
        metadata.signed.version += 1
        metadata.signed.expires = expiry(kind, now)
        _sign(metadata, [*own, *more])

    def _write(self, name: str, metadata: Metadata[S]) -> None:
        self.write(self.folder / METADATA / name, metadata.to_bytes())


def _role(name: str) -> RoleName:
    return next(role for role in ROLES if role == name)


def _sign(metadata: Metadata[S], signers: Sequence[CryptoSigner]) -> None:
    metadata.signatures.clear()
    for signer in signers:
        metadata.sign(signer, append=True)


def _read(folder: Path, name: str, kind: type[S]) -> Metadata[S]:
    path = folder / METADATA / name
    with disk_errors("can't be read", path):
        data = path.read_bytes()
    found = Metadata[S].from_bytes(data)
    if not isinstance(found.signed, kind):
        raise RepositoryError(f"{name} holds something else")
    return found


def check_next_root(root: Metadata[Root], newer: Metadata[Root]) -> None:
    """Raises RepositoryError when a root does not follow another: signed by the keys of both, one version later."""
    root.signed.verify_delegate(Root.type, newer.signed_bytes, newer.signatures)
    newer.signed.verify_delegate(Root.type, newer.signed_bytes, newer.signatures)
    if newer.signed.version != root.signed.version + 1:
        raise RepositoryError(f"{newer.signed.version}.root.json is out of order")


def _newest_root(folder: Path, keys: Keyring) -> Metadata[Root]:
    """Raises RepositoryError when a root is not signed by the one before it, or the first is not that of the keys."""
    trusted = keys.folder / TRUSTED_ROOT
    if trusted.is_file() and trusted.read_bytes() != (folder / METADATA / TRUSTED_ROOT).read_bytes():
        raise RepositoryError(f"its first root is not the one in {keys.folder}")
    root = _read(folder, TRUSTED_ROOT, Root)
    root.signed.verify_delegate(Root.type, root.signed_bytes, root.signatures)
    while (folder / METADATA / f"{root.signed.version + 1}.root.json").is_file():
        newer = _read(folder, f"{root.signed.version + 1}.root.json", Root)
        check_next_root(root, newer)
        root = newer
    return root


def _tampered(folder: Path, error: Exception) -> IntegrityError:
    return IntegrityError(
        f"is damaged, or was changed by somebody without its keys: {error}",
        context=str(folder),
        hint="restore it from where it is safe; nothing was signed",
    )


def create(
    folder: Path, keys: Keyring, now: datetime, *, bins: int, root_keys: int, threshold: int, write: Writer
) -> None:
    """A new index without any patch, and its keys.

    Raises RequestError: there is one already, or the numbers make no sense.
    """
    if (folder / METADATA / "timestamp.json").exists():
        raise RequestError("is an index already", context=str(folder), hint=f"see `ppm index status {folder}`")
    if not 1 <= threshold <= root_keys:
        raise RequestError(f"{threshold} of {root_keys} root keys can't sign", hint="for example 2 of 3")
    bit_length = bins.bit_length() - 1
    if bins != 2**bit_length or not 1 <= bit_length <= 14:
        raise RequestError(f"{bins} is not a number of bins", hint="it is a power of two from 2 to 16384, such as 64")
    others: dict[RoleName, CryptoSigner] = {role: keys.create(role) for role in ROLES if role != "root"}
    roots = [keys.create("root") for _ in range(root_keys)]
    root = Metadata(first_root(roots, threshold, others, now))
    _sign(root, roots)
    write(folder / METADATA / TRUSTED_ROOT, root.to_bytes())
    write_durably(keys.folder / TRUSTED_ROOT, root.to_bytes())
    repository = Repository(
        folder,
        keys,
        root,
        Metadata(Timestamp(version=1, expires=now)),
        Metadata(Snapshot(version=1, expires=now)),
        Metadata(first_targets(others["bins"], bit_length, now)),
        write,
    )
    for name in repository.bin_names:
        repository._bins[name] = Metadata(Targets(version=1, expires=now))
        repository.touch(name)
    listed = (metadata.signed for metadata in (repository.targets, *repository._bins.values()))
    for signed in (repository.timestamp.signed, repository.snapshot.signed, *listed):
        signed.version = 0  # it is raised when they are signed
    repository.touch(Targets.type)
    repository.commit(now)
