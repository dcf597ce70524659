"""The indexes that a user trusts: their addresses in order of priority, the root that each began with, and the
publishers whose patches were taken. Kept below PPM_HOME; knows nothing of TUF."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from ppm import document
from ppm.disk import disk_errors, make_folder, replace_file
from ppm.errors import ManifestError, RequestError, did_you_mean
from ppm.index.hub import HubAddress, is_commit
from ppm.index.layout import METADATA, TARGETS
from ppm.names import check_name, check_sha256, without_logins
from ppm.progress import Progress, silent

__all__ = [
    "Access",
    "TrustedIndex",
    "add_index",
    "check_url",
    "find_index",
    "new_index",
    "read_advisory_keys",
    "read_authorities",
    "read_pins",
    "remove_index",
    "replace_index",
    "shown_url",
    "trusted_indexes",
    "write_authorities",
    "write_pin",
]

SCHEMA = 1
_FOLDER, _FILE, _ROOT, _PINS = "sources", "sources.toml", "root.json", "publishers.toml"
_SCHEMES = ("https", "http", "file", "hf")


@dataclass(frozen=True)
class Access:
    """How an index is reached: not at all (`offline`), or with so many seconds for an answer to begin.

    With `fresh`, what was fetched before does not do where nobody answers. `partials` is a folder for what broke off,
    for the next command to go on with; `progress` is told of downloads that take long.
    """

    offline: bool = False
    timeout: float = 30.0
    fresh: bool = False
    partials: Path | None = None
    progress: Progress = silent


@dataclass(frozen=True)
class TrustedIndex:
    """An index that the user trusts; `folder` keeps what is known of it."""

    name: str
    url: str
    folder: Path

    @property
    def root(self) -> Path:
        """The root metadata that the user trusted."""
        return self.folder / _ROOT

    @property
    def metadata_url(self) -> str:
        """Where its metadata is."""
        return f"{self.url}/{METADATA}"

    @property
    def targets_url(self) -> str:
        """Where the files are that its metadata speaks of."""
        return f"{self.url}/{TARGETS}"

    @property
    def metadata(self) -> Path:
        """What was last fetched and verified."""
        return self.folder / "metadata"


@dataclass(frozen=True)
class _Listed:
    name: str
    url: str

    def __post_init__(self) -> None:
        if check_name(self.name) != self.name:
            raise ValueError(f"{self.name!r} is not in its normal form")
        problem = check_url(self.url)
        if problem:
            raise ValueError(f"url {problem}")


@dataclass(frozen=True)
class _Configured:
    """The file of all sources, the first before the others."""

    sources: tuple[_Listed, ...] = ()
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        names = [source.name for source in self.sources]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two sources are named {twice!r}")


@dataclass(frozen=True)
class _Pins:
    """The ids of the keys and identities of publishers that were accepted, by the names of their patches; `authorities`
    are the certificates of Sigstore's authorities that were, by their digests. `advisories` are keys that were accepted
    for advisories alone."""

    publishers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    advisories: dict[str, tuple[str, ...]] = field(default_factory=dict)
    authorities: tuple[str, ...] = ()
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        for name, keys in (*self.publishers.items(), *self.advisories.items()):
            check_name(name)
            for key in keys:
                check_sha256(key, name)
        for digest in self.authorities:
            check_sha256(digest, "authorities")


def check_url(url: str) -> str:
    """What is wrong with the address of an index, or ""."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        if "@" in url:  # the error may hold a part of a password
            return "is no address: write special characters of a name or a password as %2F, %40 and so on"
        return f"is no address: {error}"
    if parts.scheme not in _SCHEMES:
        return f"must begin with {', '.join(f'{scheme}://' for scheme in _SCHEMES)}"
    if parts.scheme == "hf":
        return _check_hub(url)
    if parts.query or parts.fragment or not url.isprintable() or " " in url:
        return "must be a plain address, without a query, a fragment or spaces"
    if parts.scheme == "file" and (parts.netloc not in ("", "localhost") or not parts.path.startswith("/")):
        return "must name a folder of this machine, such as file:///srv/index"
    return "" if parts.scheme == "file" or parts.hostname else "names no host"


def _check_hub(url: str) -> str:
    try:
        revision = HubAddress.parse(url).revision
    except ValueError as error:
        return str(error)
    if is_commit(revision):
        return ""
    return f"must name a commit, 40 hexadecimal digits, {f'not {revision[:80]!r}' if revision else 'after an @'}"


def shown_url(url: str) -> str:
    """An address without the name and the password that it may hold."""
    return without_logins(url)


def trusted_indexes(home: Path) -> list[TrustedIndex]:
    """The indexes that the user trusts, in order of priority. Raises ManifestError when the file is damaged."""
    path = home / _FOLDER / _FILE
    if not path.is_file():
        return []
    try:
        found = document.read_document(_Configured, path.read_bytes(), str(path), schema=SCHEMA)
    except OSError as error:
        raise ManifestError(f"can't be read: {error.strerror}", context=str(path)) from error
    return [TrustedIndex(source.name, source.url, home / _FOLDER / source.name) for source in found.sources]


def find_index(home: Path, name: str) -> TrustedIndex:
    """The index that is called so. Raises RequestError."""
    known = {index.name: index for index in trusted_indexes(home)}
    if name not in known:
        hint = f"sources are {', '.join(known)}" if known else "`ppm source add NAME URL --root root.json` adds one"
        raise RequestError(f"there is no source {name!r}", hint=did_you_mean(name, known, hint))
    return known[name]


def new_index(home: Path, name: str, url: str) -> TrustedIndex:
    """What an index would be that is not trusted yet. Raises RequestError for a name or an address that can't be."""
    try:
        listed = _Listed(check_name(name), url)
    except ValueError as error:
        raise RequestError(
            str(error), context=shown_url(url)[:200], hint="for example https://patches.example.org/index"
        ) from error
    if listed.name in (index.name for index in trusted_indexes(home)):
        raise RequestError(f"there is a source {listed.name!r} already", hint=f"ppm source remove {listed.name}")
    return TrustedIndex(listed.name, url.rstrip("/"), home / _FOLDER / listed.name)


def add_index(home: Path, index: TrustedIndex, *, first: bool = False) -> None:
    """Trust an index from now on, after the others or before them. Raises DiskError."""
    known = trusted_indexes(home)
    _write(home, [index, *known] if first else [*known, index])


def replace_index(home: Path, index: TrustedIndex) -> None:
    """Have the index of this name at another address, in the same place of the order. Raises DiskError."""
    _write(home, [index if known.name == index.name else known for known in trusted_indexes(home)])


def remove_index(home: Path, name: str) -> None:
    """Trust an index no more, and forget all that is kept of it. Raises RequestError, DiskError."""
    gone = find_index(home, name)
    _write(home, [index for index in trusted_indexes(home) if index.name != name])
    with disk_errors("can't be removed", gone.folder):
        if gone.folder.exists():
            shutil.rmtree(gone.folder)


def read_pins(index: TrustedIndex) -> Mapping[str, tuple[str, ...]]:
    """The ids of the publishers' keys and identities that were accepted, by name of patch. Raises ManifestError."""
    return _read_pins(index).publishers


def read_advisory_keys(index: TrustedIndex, name: str) -> tuple[str, ...]:
    """The ids of the keys that were accepted for advisories on a patch alone. Raises ManifestError."""
    return _read_pins(index).advisories.get(name, ())


def write_pin(index: TrustedIndex, name: str, ids: tuple[str, ...], advisory_keys: tuple[str, ...] = ()) -> None:
    """Accept these keys and identities for a name, and no others; some keys for advisories alone. Raises DiskError."""
    known = _read_pins(index)
    pins = {**known.publishers, name: ids}
    alone = {other: keys for other, keys in known.advisories.items() if other != name}
    alone |= {name: advisory_keys} if advisory_keys else {}
    _write_pins(index, replace(known, publishers=dict(sorted(pins.items())), advisories=dict(sorted(alone.items()))))


def read_authorities(index: TrustedIndex) -> tuple[str, ...]:
    """The digests of the certificates of Sigstore's authorities that were accepted; none before the first.

    Raises ManifestError.
    """
    return _read_pins(index).authorities


def write_authorities(index: TrustedIndex, authorities: tuple[str, ...]) -> None:
    """Accept these authorities, and no others. Raises DiskError."""
    _write_pins(index, replace(_read_pins(index), authorities=authorities))


def _read_pins(index: TrustedIndex) -> _Pins:
    path = index.folder / _PINS
    if not path.is_file():
        return _Pins()
    return document.read_document(_Pins, path.read_bytes(), str(path), schema=SCHEMA)


def _write_pins(index: TrustedIndex, pins: _Pins) -> None:
    _replace(index.folder / _PINS, document.render({"schema": SCHEMA, **document.table_of(pins)}))


def _write(home: Path, indexes: list[TrustedIndex]) -> None:
    configured = _Configured(tuple(_Listed(index.name, index.url) for index in indexes))
    text = document.render({"schema": SCHEMA, **document.table_of(configured)})
    _replace(home / _FOLDER / _FILE, text, private=any(shown_url(index.url) != index.url for index in indexes))


def _replace(path: Path, text: str, *, private: bool = False) -> None:
    with disk_errors("can't be written", path):
        make_folder(path.parent)
        replace_file(path, text.encode(), private=private)
