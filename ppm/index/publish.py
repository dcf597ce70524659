"""Putting package files into an index, taking versions back, and saying who may publish what."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from securesystemslib.signer import CryptoSigner

from ppm.disk import disk_errors, replace_file
from ppm.errors import IntegrityError, PackageError, RequestError, did_you_mean
from ppm.index.bundle import authorities
from ppm.index.identity import Identity
from ppm.index.layout import (
    BUNDLE,
    MAX_SIGSTORE_ROOT_BYTES,
    MAX_STATEMENT_BYTES,
    SIGSTORE_ROOT,
    STATEMENT,
    file_path,
    shard_path,
    statement_path,
)
from ppm.index.publishers import Publisher, Publishers
from ppm.index.repository import Repository
from ppm.index.shard import Entry, Provider
from ppm.index.statement import check_bundle, check_statement, make_statement, plain_statement
from ppm.names import check_line, check_name, check_version
from ppm.package import Package, read_package, sha256

__all__ = [
    "PLAIN",
    "SignedPackage",
    "add_publisher",
    "name_sigstore",
    "publish",
    "sign_packages",
    "unsigned",
    "write_plain",
    "write_signed",
    "yank",
]

PLAIN = ".statement.json"
"""What a statement that is not signed yet is called: its package file's name and this."""


@dataclass(frozen=True)
class SignedPackage:
    """A package and its publisher's statement, signed with a key or `bundled` by Sigstore."""

    package: Package
    statement: bytes
    bundled: bool = False


def sign_packages(
    paths: Sequence[Path], signer: CryptoSigner | None, bundles: Sequence[Path] = ()
) -> list[SignedPackage]:
    """Package files with their statements: made with the publisher's key, else in `bundles`, in the order of the files,
    else those that lie beside the files.

    Raises PackageError, RequestError or DiskError.
    """
    if bundles and len(bundles) != len(paths):
        raise RequestError(
            f"{len(paths)} package files have {len(bundles)} bundles",
            hint="give --bundle once for each, in their order",
        )
    found = []
    for number, path in enumerate(paths):
        package = _read_patch(path)
        if signer is not None:
            found.append(SignedPackage(package, make_statement(package, signer)))
        elif bundles:
            found.append(SignedPackage(package, _read(bundles[number], MAX_STATEMENT_BYTES), bundled=True))
        else:
            found.append(_signed_beside(path, package))
    return found


def _signed_beside(path: Path, package: Package) -> SignedPackage:
    for bundled in (False, True):
        beside = path.with_name(path.name + _suffix(bundled))
        if beside.is_file():
            return SignedPackage(package, _read(beside, MAX_STATEMENT_BYTES), bundled)
    hint = "name the publisher's key with --key, or its Sigstore bundle with --bundle"
    raise RequestError("is not signed", context=str(path), hint=hint)


def _read_patch(path: Path) -> Package:
    """Raises PackageError, and RequestError for a composition."""
    package = read_package(path)
    if package.manifest.composition is not None:
        raise RequestError(
            "is a composition, which has to be tested where it is deployed",
            context=str(path),
            hint="publish the patches that it was made of",
        )
    return package


def _suffix(bundled: bool) -> str:
    return BUNDLE if bundled else STATEMENT


def _read(path: Path, most: int) -> bytes:
    """No more of a file than shows that it is too large. Raises DiskError."""
    with disk_errors("can't be read", path), path.open("rb") as stream:
        return stream.read(most + 1)


def write_plain(paths: Sequence[Path], folder: Path) -> list[Path]:
    """Write the statements on package files into a folder, for somebody else to sign. Raises PackageError, RequestError
    or DiskError."""
    written = []
    for package in map(_read_patch, paths):
        written.append(folder / (package.file_name + PLAIN))
        with disk_errors("can't be written", written[-1]):
            replace_file(written[-1], plain_statement(package))
    return written


def write_signed(files: Sequence[SignedPackage], folder: Path) -> list[Path]:
    """Write packages with their statements beside them into a folder. Raises DiskError."""
    written = []
    for signed in files:
        path = folder / signed.package.file_name
        with disk_errors("can't be written", path):
            replace_file(path, signed.package.data)
            replace_file(path.with_name(path.name + _suffix(signed.bundled)), signed.statement)
        written.append(path)
    return written


def publish(repository: Repository, files: Sequence[SignedPackage], now: datetime) -> list[str]:
    """Put packages into an index, all or none: the pins of those that are new.

    Raises IntegrityError when a package is not signed by the publisher of its name, or differs from what was published
    before under its version; RequestError for a name that nobody may publish. What was signed with a key that counts no
    more is signed anew, and keeps its time.
    """
    publishers = repository.publishers
    new = []
    for signed in files:
        if _add(repository, publishers, signed, now):
            new.append(signed.package.manifest.pin)
    if new:
        repository.commit(now)
    return new


def _add(repository: Repository, publishers: Publishers, signed: SignedPackage, now: datetime) -> bool:
    package = signed.package
    name, file = package.manifest.name, package.file_name
    owner = publishers.owner(name)
    if owner is None:
        raise RequestError(
            f"nobody has the right to publish {name}",
            context=file,
            hint=f"ppm index add-publisher {repository.folder} PUBLISHER --names {name}",
        )
    signed_by = _check(repository, signed, owner)
    try:
        entry = Entry.of(package, statement=sha256(signed.statement), publisher=signed_by, published=now)
    except ValueError as error:
        raise PackageError(f"can't be listed: {error}", context=file) from error
    shard = repository.shard(name)
    before = shard.find(file)
    if before is not None and before.sha256 == entry.sha256:
        if before.publisher in owner.ids:
            return False
        # Its key counts no more: it is the same file, signed anew.
        entry = replace(entry, published=before.published, yanked=before.yanked)
    elif before is not None:
        raise IntegrityError(
            "was published before with other content", context=file, hint="give what is new a version of its own"
        )
    for other in sorted(entry.stands_for):
        its = publishers.owner(other)
        if its is not None and its.name != owner.name:
            raise IntegrityError(f"stands for {other}, which belongs to {its.name}", context=file)
    repository.put(file_path(entry.sha256, file), package.data)
    repository.put(statement_path(entry.sha256, file, bundled=signed.bundled), signed.statement)
    repository.put(shard_path(name), shard.with_release(entry).to_bytes())
    for other in sorted(entry.stands_for - {name}):
        provider = Provider(name, entry.base.fingerprint)
        repository.put(shard_path(other), repository.shard(other).with_provider(provider).to_bytes())
    return True


def _check(repository: Repository, signed: SignedPackage, owner: Publisher) -> str:
    """The id of the key or identity that signed a statement. Raises IntegrityError, and RequestError for a bundle in an
    index that names no Sigstore instance."""
    if not signed.bundled:
        return check_statement(signed.statement, signed.package, owner.keys)
    root = repository.read(SIGSTORE_ROOT)
    if root is None:
        raise _no_sigstore(repository)
    return check_bundle(signed.statement, signed.package, owner.identities, root)


def _no_sigstore(repository: Repository) -> RequestError:
    hint = f"ppm index sigstore {repository.folder} trusted_root.json"
    return RequestError("names no Sigstore instance yet", context=str(repository.folder), hint=hint)


def name_sigstore(repository: Repository, path: Path, now: datetime) -> int:
    """Let a Sigstore instance vouch for identities from now on, by its trusted root, in place of the one before: how
    many certificates of authorities that has. The targets key signs it.

    Raises IntegrityError for what is no trusted root, RequestError where Sigstore's library is not installed.
    """
    root = _read(path, MAX_SIGSTORE_ROOT_BYTES)
    if len(root) > MAX_SIGSTORE_ROOT_BYTES:
        raise IntegrityError(f"has more than {MAX_SIGSTORE_ROOT_BYTES:,} bytes", context=str(path))
    found = authorities(root, str(path))
    repository.put(SIGSTORE_ROOT, root)
    repository.commit(now)
    return len(found)


def yank(repository: Repository, name: str, version: str, reason: str, now: datetime) -> int:
    """Take a version back, for all base models: how many files that are. Raises RequestError."""
    try:
        name, version = check_name(name), check_version(version)
        check_line(reason, "the reason")
    except ValueError as error:
        raise RequestError(str(error)) from error
    shard = repository.shard(name)
    found = [entry for entry in shard.releases if entry.version == version]
    if not found or not reason:
        known = sorted({entry.version for entry in shard.releases})
        otherwise = f"versions are {', '.join(known)}" if known else "the index has no patch of this name"
        hint = did_you_mean(version, known, otherwise)
        raise RequestError(f"there is no {name} {version}" if reason else "a reason is needed", hint=hint)
    for entry in found:
        shard = shard.with_release(replace(entry, yanked=reason))
    repository.put(shard_path(name), shard.to_bytes())
    repository.commit(now)
    return len(found)


def unsigned(repository: Repository, names: Iterable[str]) -> list[str]:
    """The files of some names that users refuse, as nobody who has the name now has signed them."""
    publishers = repository.publishers
    found = []
    for name in sorted(set(names)):
        owner = publishers.owner(name)
        releases = repository.shard(name).releases
        found += [entry.file for entry in releases if owner is None or entry.publisher not in owner.ids]
    return found


def add_publisher(
    repository: Repository,
    name: str,
    signers: Sequence[str | Identity],
    names: Sequence[str],
    now: datetime,
    *,
    instead: bool,
) -> Publisher:
    """Let a publisher have more public keys, identities and names, or these `instead` of those that it has. The targets
    key signs it.

    Raises RequestError: a name belongs to another publisher, there is no key and no identity, or nothing in the index
    says which Sigstore instance vouches for one.
    """
    keys = [one for one in signers if isinstance(one, str)]
    identities = [one for one in signers if isinstance(one, Identity)]
    if identities and repository.read(SIGSTORE_ROOT) is None:
        raise _no_sigstore(repository)
    publishers = repository.publishers
    try:
        name, wanted = check_name(name), [check_name(one) for one in names]
        for one in wanted:
            owner = publishers.owner(one)
            if owner is not None and owner.name != name:
                raise RequestError(f"{one} belongs to {owner.name}", hint="a name has one publisher")
        before = publishers.find(name)
        kept = before if before is not None and not (instead and signers) else None
        kept_names = before.names if before is not None and not (instead and wanted) else ()
        publisher = Publisher(
            name,
            tuple(dict.fromkeys((*(kept.keys if kept else ()), *keys))),
            tuple(sorted({*kept_names, *wanted})),
            tuple(dict.fromkeys((*(kept.identities if kept else ()), *identities))),
        )
        repository.put_publishers(publishers.having(publisher))
    except ValueError as error:
        raise RequestError(str(error), hint="name a public key with --key, or --identity and --issuer") from error
    repository.commit(now)
    return publisher
