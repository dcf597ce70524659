"""The client of one index: metadata by TUF's own updater, targets by their digests, both kept for the next command.

Nothing is looked into before it is verified. Where nobody answers, what was verified before serves until it expires.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import TypeVar

from tuf.api.exceptions import (
    DownloadError,
    DownloadLengthMismatchError,
    LengthOrHashMismatchError,
    RepositoryError,
)
from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.ngclient.config import UpdaterConfig
from tuf.ngclient.updater import Updater

from ppm.disk import disk_errors, make_folder, replace_file
from ppm.errors import SourceError
from ppm.index.blame import blamed, blaming
from ppm.index.fetch import Fetcher, FolderFetcher, HttpFetcher, OfflineFetcher, Unreachable
from ppm.index.hub import HUB
from ppm.index.hub_fetch import HubFetcher
from ppm.index.layout import MAX_ROOT_BYTES, METADATA, TRUSTED_ROOT, most_bytes, stored
from ppm.index.roles import SignedRole, bins_of, signed_roles
from ppm.index.trust import Access, TrustedIndex, shown_url
from ppm.locking import exclusive
from ppm.package import sha256

__all__ = ["AT_ONCE", "Client", "State", "digest_of", "download_root", "fetch_target", "fetcher_of"]

_SHA256 = re.compile(r"[0-9a-f]{64}")
S = TypeVar("S", Root, Targets, Snapshot, Timestamp)

AT_ONCE = 8
"""How many files are fetched at a time."""
_TOP = ("timestamp.json", "snapshot.json", "targets.json")
_CHECKED = "checked"


def _silent(message: str) -> None:
    pass


def fetcher_of(url: str, access: Access) -> Fetcher:
    """What takes files from an address: from a folder, from the hub, or over HTTP."""
    if url.startswith(HUB):
        return HubFetcher(url, access)
    return FolderFetcher() if url.startswith("file:") else HttpFetcher(access)


def download_root(url: str, access: Access) -> bytes:
    """The first root of an index, which nobody has checked yet. Raises SourceError or IntegrityError."""
    if access.offline and not url.startswith("file:"):
        hint = "give its root with --root FILE, or run this without PPM_OFFLINE"
        raise SourceError("is not asked for its root, as you want it", context=shown_url(url), hint=hint)
    try:
        return fetcher_of(url, access).download_bytes(f"{url}/{METADATA}/{TRUSTED_ROOT}", MAX_ROOT_BYTES)
    except DownloadError as error:
        raise blamed(error, shown_url(url)) from error


@dataclass(frozen=True)
class State:
    """Which state of an index was verified; `root` is the fingerprint of the root that the user trusts."""

    root: str
    root_version: int
    timestamp_version: int


def digest_of(target: TargetFile) -> str:
    """The hexadecimal SHA-256 of a target. Raises RepositoryError where there is no such, or it is too large.

    TUF takes any text for a digest, and files are named by it.
    """
    most, digest = most_bytes(target.path), target.hashes.get("sha256", "")
    if not _SHA256.fullmatch(digest):
        raise RepositoryError(f"{target.path[:100]!r} lacks its SHA-256")
    if target.length > most:
        raise RepositoryError(f"{target.path[:100]!r} has {target.length:,} bytes, and {most:,} may be read")
    return digest


def fetch_target(fetcher: Fetcher, index: TrustedIndex, target: TargetFile, *, consistent: bool) -> bytes:
    """A target from an index, verified. Raises DownloadError or RepositoryError.

    With `consistent` snapshots, which every index of ppm's has, the names of files begin with their digests.
    """
    digest = digest_of(target)
    path = stored(target.path, digest) if consistent else target.path
    try:
        data = fetcher.download_known(f"{index.targets_url}/{path}", target.length, digest)
        target.verify_length_and_hashes(data)
    except (DownloadLengthMismatchError, LengthOrHashMismatchError) as error:
        raise type(error)(f"{target.path[:200]}: {error}") from error
    return data


class Client:
    """Takes verified files from an index; the first question fetches what is new.

    `cache` is a folder of targets by their digests, which are checked whenever they are read; without one, nothing is
    kept. `tell` is told when what was fetched before has to do.
    """

    def __init__(
        self, index: TrustedIndex, cache: Path | None, access: Access, tell: Callable[[str], None] = _silent
    ) -> None:
        self.where = shown_url(index.url)
        self._index = index
        self._cache = cache
        self._access = access
        self._tell = tell
        self._fetcher = fetcher_of(index.url, access)
        self._updater: Updater | None = None
        self._state: State | None = None
        self._offline: dict[str, TargetFile] = {}
        self._consistent = True

    def read(self, path: str) -> bytes | None:
        """A target, verified; None when there is none. Raises SourceError or IntegrityError."""
        return self.read_all([path]).get(path)

    def read_all(self, paths: Iterable[str]) -> dict[str, bytes]:
        """The targets that there are of these, verified, several fetched at a time."""
        with blaming(self.where):
            with self._alone():
                updater = self._opened()
                found = [info for path in paths if (info := updater.get_targetinfo(path)) is not None]
            return self._targets(found)

    def open(self) -> None:
        """Fetch what is new of the index as a whole. Raises SourceError or IntegrityError."""
        self.read_all(())

    @property
    def state(self) -> State:
        """What was verified when the index was opened. Raises SourceError or IntegrityError."""
        self.open()
        assert self._state is not None
        return self._state

    def offline_paths(self) -> frozenset[str]:
        """The targets that the offline key lists. Raises SourceError or IntegrityError."""
        self.open()
        return frozenset(self._offline)

    def read_offline(self, paths: Iterable[str]) -> dict[str, bytes]:
        """The targets that there are of these, as the offline key signed them: the keys of the bins have no say."""
        self.open()
        with blaming(self.where):
            return self._targets([self._offline[path] for path in paths if path in self._offline])

    def _targets(self, found: Sequence[TargetFile]) -> dict[str, bytes]:
        if len(found) < 2:
            return {info.path: self._target(info) for info in found}
        with ThreadPoolExecutor(min(AT_ONCE, len(found))) as pool:
            return dict(zip((info.path for info in found), pool.map(self._target, found), strict=True))

    @property
    def only_cached(self) -> bool:
        """Whether there is nothing but what was fetched before. Known once something was read."""
        return isinstance(self._fetcher, OfflineFetcher)

    def known(self, path: str) -> bytes | None:
        """A target of the top-level role as it was last time, without asking; for messages only."""
        if self._cache is not None:
            with suppress(OSError, RepositoryError, KeyError, AttributeError):
                return (self._cache / digest_of(self._listed_offline()[path])).read_bytes()
        return None

    def roles(self) -> list[SignedRole]:
        """How the roles of the index stand, all bins included. Raises SourceError or IntegrityError."""
        with blaming(self.where), self._alone():
            updater = self._opened()
            root, targets = self._verified("root", Root), self._verified("targets", Targets)
            snapshot, timestamp = self._verified("snapshot", Snapshot), self._verified("timestamp", Timestamp)
            for path in _one_in_each_bin(targets):
                updater.get_targetinfo(path)  # there need be nothing: its bin is fetched and verified
            bins = (self._verified(name, Targets) for name in bins_of(targets).get_roles())
            return signed_roles(root, targets, snapshot, timestamp, bins)

    def _listed_offline(self) -> dict[str, TargetFile]:
        """What the top-level role lists."""
        return self._verified(Targets.type, Targets).targets

    def _verified(self, role: str, kind: type[S]) -> S:
        """What a role signed, from the file that TUF's updater keeps once it has verified it."""
        found = Metadata[S].from_bytes((self._index.metadata / f"{role}.json").read_bytes()).signed
        assert isinstance(found, kind)
        return found

    def _opened(self) -> Updater:
        if self._updater is None:
            if self._access.offline:
                self._updater = self._from_cache("is not asked, as you want it")
            else:
                before = self._top()
                try:
                    self._updater = self._refreshed(self._fetcher)
                    replace_file(self._index.metadata / _CHECKED, b"")
                except Unreachable as error:
                    self._restore(before)
                    if self._access.fresh:
                        raise
                    self._updater = self._from_cache(f"can't be reached ({error})")
            self._offline = self._listed_offline()
            root, timestamp = self._verified("root", Root), self._verified("timestamp", Timestamp)
            self._consistent = root.consistent_snapshot is True
            trusted = f"sha256:{sha256(self._index.root.read_bytes())}"
            self._state = State(trusted, root.version, timestamp.version)
        return self._updater

    def _refreshed(self, fetcher: Fetcher) -> Updater:
        make_folder(self._index.metadata)
        updater = Updater(
            str(self._index.metadata),
            f"{self._index.metadata_url}/",
            fetcher=fetcher,
            config=UpdaterConfig(),
            bootstrap=self._index.root.read_bytes(),
        )
        updater.refresh()
        return updater

    def _from_cache(self, reason: str) -> Updater:
        """An updater that sees what was there when the index was last reached. Raises SourceError."""
        self._fetcher = OfflineFetcher(self._index.metadata)
        hint = "try again when the network is back" if not self._access.offline else "run it once without --offline"
        try:
            timestamp = Metadata[Timestamp].from_bytes((self._index.metadata / "timestamp.json").read_bytes()).signed
        except (OSError, RepositoryError) as error:
            raise SourceError(f"{reason}, and nothing of it was fetched yet", context=self.where, hint=hint) from error
        if timestamp.is_expired():
            when = f"{timestamp.expires:%Y-%m-%d %H:%M} UTC"
            raise SourceError(
                f"{reason}, and what was fetched before was valid until {when}", context=self.where, hint=hint
            )
        updater = self._refreshed(self._fetcher)
        self._tell(
            f"{self.where} {reason}: using what was fetched {self._age()}, which is valid until "
            f"{timestamp.expires:%Y-%m-%d %H:%M} UTC"
        )
        return updater

    def _age(self) -> str:
        try:
            then = (self._index.metadata / _CHECKED).stat().st_mtime
        except OSError:
            return "some time ago"
        hours = (datetime.now(UTC).timestamp() - then) / 3600
        if hours < 1:
            return f"{max(0, round(hours * 60))} minutes ago"
        return f"{round(hours)} hours ago" if hours < 48 else f"{round(hours / 24)} days ago"

    def _target(self, info: TargetFile) -> bytes:
        """A target from the cache or from the index. Raises DownloadError or RepositoryError."""
        kept = None if self._cache is None else self._cache / digest_of(info)
        if kept is not None:
            with suppress(OSError, RepositoryError):
                data = kept.read_bytes()
                info.verify_length_and_hashes(data)
                return data
        data = fetch_target(self._fetcher, self._index, info, consistent=self._consistent)
        if kept is not None:
            with suppress(OSError):  # a cache that can't be written is none
                make_folder(kept.parent)
                replace_file(kept, data)
        return data

    def _top(self) -> dict[str, bytes]:
        found = {}
        for name in _TOP:
            with suppress(OSError):
                found[name] = (self._index.metadata / name).read_bytes()
        return found

    def _restore(self, before: dict[str, bytes]) -> None:
        """Have the last whole state again where a new one came in by half: it may have to do."""
        if before != self._top():
            for name, data in before.items():
                replace_file(self._index.metadata / name, data)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """TUF's updater lets one process at a time use its folder."""
        with exclusive(self._index.folder / "lock", self.where), disk_errors("can't be used", self._index.folder):
            yield


def _one_in_each_bin(targets: Targets) -> Iterator[str]:
    """The path of a target for each bin."""
    bins = bins_of(targets)
    missing = set(bins.get_roles())
    for path in map(str, count()):
        if not missing:
            return
        found = bins.get_role_for_target(path)
        if found in missing:
            missing.remove(found)
            yield path
