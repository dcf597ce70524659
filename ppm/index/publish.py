"""Putting package files into an index, taking versions back, and saying who may publish what."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from securesystemslib.signer import CryptoSigner

from ppm.disk import disk_errors, replace_file
from ppm.errors import IntegrityError, PackageError, RequestError, did_you_mean
from ppm.index.layout import STATEMENT, file_path, shard_path, statement_path
from ppm.index.publishers import Publisher, Publishers
from ppm.index.repository import Repository
from ppm.index.shard import Entry, Provider
from ppm.index.statement import check_statement, make_statement
from ppm.names import check_line, check_name, check_version
from ppm.package import Package, read_package, sha256

__all__ = ["Signed", "add_publisher", "publish", "sign_packages", "write_signed", "yank"]


@dataclass(frozen=True)
class Signed:
    """A package and its publisher's statement."""

    package: Package
    statement: bytes


def sign_packages(paths: Sequence[Path], signer: CryptoSigner | None) -> list[Signed]:
    """Package files with their statements: made with the publisher's key, else those that lie beside the files.

    Raises PackageError or RequestError.
    """
    found = []
    for path in paths:
        package = read_package(path)
        if package.manifest.composition is not None:
            raise RequestError(
                "is a composition, which has to be tested where it is deployed",
                context=str(path),
                hint="publish the patches that it was made of",
            )
        beside = path.with_name(path.name + STATEMENT)
        if signer is not None:
            found.append(Signed(package, make_statement(package, signer)))
        elif beside.is_file():
            found.append(Signed(package, beside.read_bytes()))
        else:
            raise RequestError("is not signed", context=str(path), hint="name the publisher's key with --key")
    return found


def write_signed(files: Sequence[Signed], folder: Path) -> list[Path]:
    """Write packages with their statements beside them into a folder. Raises DiskError."""
    written = []
    for signed in files:
        path = folder / signed.package.file_name
        with disk_errors("can't be written", path):
            replace_file(path, signed.package.data)
            replace_file(path.with_name(path.name + STATEMENT), signed.statement)
        written.append(path)
    return written


def publish(repository: Repository, files: Sequence[Signed], now: datetime) -> list[str]:
    """Put packages into an index, all or none: the pins of those that are new.

    Raises IntegrityError when a package is not signed by the publisher of its name, or differs from what was published
    before under its version; RequestError for a name that nobody may publish.
    """
    publishers = repository.publishers
    new = []
    for signed in files:
        if _add(repository, publishers, signed, now):
            new.append(signed.package.manifest.pin)
    if new:
        repository.commit(now)
    return new


def _add(repository: Repository, publishers: Publishers, signed: Signed, now: datetime) -> bool:
    package = signed.package
    name, file = package.manifest.name, package.file_name
    owner = publishers.owner(name)
    if owner is None:
        raise RequestError(
            f"nobody has the right to publish {name}",
            context=file,
            hint=f"ppm index add-publisher {repository.folder} PUBLISHER --names {name}",
        )
    keyid = check_statement(signed.statement, package, owner.keys)
    try:
        entry = Entry.of(package, statement=sha256(signed.statement), publisher=keyid, published=now)
    except ValueError as error:
        raise PackageError(f"can't be listed: {error}", context=file) from error
    shard = repository.shard(name)
    before = shard.find(file)
    if before is not None:
        if before.sha256 == entry.sha256:
            return False
        raise IntegrityError(
            "was published before with other content", context=file, hint="give what is new a version of its own"
        )
    for other in sorted(entry.stands_for):
        its = publishers.owner(other)
        if its is not None and its.name != owner.name:
            raise IntegrityError(f"stands for {other}, which belongs to {its.name}", context=file)
    repository.put(file_path(entry.sha256, file), package.data)
    repository.put(statement_path(entry.sha256, file), signed.statement)
    repository.put(shard_path(name), shard.with_release(entry).to_bytes())
    for other in sorted(entry.stands_for - {name}):
        provider = Provider(name, entry.base.fingerprint)
        repository.put(shard_path(other), repository.shard(other).with_provider(provider).to_bytes())
    return True


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
        hint = did_you_mean(version, known, f"versions are {', '.join(known) or 'none'}")
        raise RequestError(f"there is no {name} {version}" if reason else "a reason is needed", hint=hint)
    for entry in found:
        shard = shard.with_release(replace(entry, yanked=reason))
    repository.put(shard_path(name), shard.to_bytes())
    repository.commit(now)
    return len(found)


def add_publisher(
    repository: Repository, name: str, keys: Sequence[str], names: Sequence[str], now: datetime, *, instead: bool
) -> Publisher:
    """Let a publisher have more keys and names, or these `instead` of those that it has. The targets key signs it.

    Raises RequestError: a name belongs to another publisher, or there is no key.
    """
    publishers = repository.publishers
    try:
        name, wanted = check_name(name), [check_name(one) for one in names]
        for one in wanted:
            owner = publishers.owner(one)
            if owner is not None and owner.name != name:
                raise RequestError(f"{one} belongs to {owner.name}", hint="a name has one publisher")
        before = publishers.find(name)
        kept_keys = before.keys if before is not None and not (instead and keys) else ()
        kept_names = before.names if before is not None and not (instead and wanted) else ()
        publisher = Publisher(name, tuple(dict.fromkeys((*kept_keys, *keys))), tuple(sorted({*kept_names, *wanted})))
        repository.put_publishers(publishers.having(publisher))
    except ValueError as error:
        raise RequestError(str(error), hint="name a public key with --key PUBLIC.pem") from error
    repository.commit(now)
    return publisher
