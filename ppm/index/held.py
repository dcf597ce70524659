"""An index that its owner works on: one writer at a time, and how it stands."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root

from ppm.disk import disk_errors
from ppm.errors import IntegrityError
from ppm.index.keys import Keyring
from ppm.index.layout import MAX_ROOT_BYTES, METADATA, TRUSTED_ROOT
from ppm.index.repository import Repository, create, write_durably
from ppm.index.roles import OFFLINE, RoleName, renewal, signed_roles
from ppm.locking import exclusive
from ppm.package import sha256

__all__ = ["Held", "RoleState", "Status", "is_index", "make_index", "read_root", "root_fingerprint", "status_of"]


@dataclass(frozen=True)
class Held:
    """An index and its keys, as one command opens them; those of root and targets may be in a folder `offline`."""

    folder: Path
    keys: Path
    passphrase: Callable[[], str]
    command: str
    timeout: float
    tell: Callable[[str], None]
    offline: Path | None = None

    @contextmanager
    def opened(self) -> Iterator[Repository]:
        """The index, which nobody else changes meanwhile. Raises PpmError."""
        repository = self.read()  # which says so when there is none, before a lock is made
        with exclusive(
            self.keys / "lock", str(self.folder), command=self.command, timeout=self.timeout, tell=self.tell
        ):
            repository = self.read()
            yield repository

    def read(self) -> Repository:
        """The index as it is. Raises RequestError or IntegrityError."""
        return Repository.open(self.folder, Keyring(self.keys, self.passphrase, self.offline))


def is_index(folder: Path) -> bool:
    """Whether there is an index in a folder."""
    return (folder / METADATA / "timestamp.json").is_file()


def read_root(path: Path) -> bytes:
    """The bytes of a file of root metadata. Raises DiskError, or IntegrityError for what is none."""
    with disk_errors("can't be read", path), path.open("rb") as stream:
        data = stream.read(MAX_ROOT_BYTES + 1)
    try:
        is_root = len(data) <= MAX_ROOT_BYTES and isinstance(Metadata.from_bytes(data).signed, Root)
    except RepositoryError:
        is_root = False
    if not is_root:
        hint = f"ask the index's owner for {TRUSTED_ROOT}"
        raise IntegrityError("is no root metadata of an index", context=str(path), hint=hint)
    return data


def root_fingerprint(root: bytes) -> str:
    """What people compare when they begin to trust a root."""
    return f"sha256:{sha256(root)}"


def make_index(folder: Path, keys: Keyring, now: datetime, *, bins: int, root_keys: int, threshold: int) -> str:
    """A new index: the fingerprint of its root. Raises RequestError or DiskError."""
    create(folder, keys, now, bins=bins, root_keys=root_keys, threshold=threshold, write=write_durably)
    return root_fingerprint(read_root(folder / METADATA / TRUSTED_ROOT))


@dataclass(frozen=True)
class RoleState:
    """How one role stands; `due` from the middle of its life on."""

    name: RoleName
    version: int
    expires: datetime
    days_left: int
    keys: int
    threshold: int
    due: bool

    @property
    def offline(self) -> bool:
        return self.name in OFFLINE


@dataclass(frozen=True)
class Status:
    """How an index stands."""

    fingerprint: str
    roles: tuple[RoleState, ...]
    publishers: int
    names: int
    releases: int

    def to_json(self) -> dict[str, object]:
        """Plain data."""
        roles = [{**asdict(role), "expires": role.expires.isoformat()} for role in self.roles]
        return {**asdict(self), "roles": roles}


def status_of(repository: Repository, now: datetime) -> Status:
    """How an index stands. Of the bins, the one that expires first."""
    publishers = repository.publishers
    bins = (repository.bin(name).signed for name in repository.bin_names)
    roles = signed_roles(
        repository.root.signed, repository.targets.signed, repository.snapshot.signed, repository.timestamp.signed, bins
    )
    found = []
    for role in roles:
        due = now >= renewal(role.name, role.expires)
        left = (role.expires - now).days
        found.append(RoleState(role.name, role.version, role.expires, left, len(role.keys), role.threshold, due))
    return Status(
        root_fingerprint(read_root(repository.folder / METADATA / TRUSTED_ROOT)),
        tuple(found),
        len(publishers.publishers),
        len(publishers.names),
        sum(len(repository.shard(name).releases) for name in publishers.names),
    )
