"""Advisories of publishers: signed, put into an index, and verified by whoever takes them from one."""

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from securesystemslib.signer import CryptoSigner

from ppm.disk import disk_errors
from ppm.errors import IntegrityError, RequestError
from ppm.index.advisory import MAX_BYTES, Advisory
from ppm.index.envelope import Kind, open_envelope, seal
from ppm.index.keys import key_id, public_hex
from ppm.index.layout import MAX_ADVISORY_BYTES, advisory_path, shard_path
from ppm.index.publishers import Publisher, Publishers
from ppm.index.repository import Repository
from ppm.index.shard import Notice
from ppm.package import sha256

__all__ = ["check_advisory", "publish_advisory", "read_advisory", "sign_advisory"]

_KIND = Kind(
    "application/vnd.ppm.advisory+json", "an advisory by its publisher", "advisory of a patch", MAX_ADVISORY_BYTES
)


def read_advisory(path: Path) -> tuple[bytes, Advisory]:
    """An advisory from a file of its publisher's: its bytes, and what they say. Raises DiskError, IntegrityError."""
    with disk_errors("can't be read", path), path.open("rb") as stream:
        data = stream.read(MAX_BYTES + 1)
    return data, Advisory.parse(data, str(path))


def sign_advisory(data: bytes, signer: CryptoSigner) -> bytes:
    """An advisory, signed by its publisher, as a JSON envelope."""
    return seal(data, _KIND, signer)


def check_advisory(
    data: bytes, name: str, owner_of: Callable[[str], Publisher | None], origin: str
) -> tuple[Advisory, str]:
    """A signed advisory on a patch, and the id of the key that signed it.

    `owner_of` says whose a name is. It is asked about other names only once the signature is checked.

    Raises IntegrityError: it is not signed by the publisher of the patch, is malformed, or is about a patch that is not
    the publisher's.
    """
    owner = owner_of(name)
    if owner is None:
        raise IntegrityError(f"is about {name}, which nobody has the right to publish", context=origin)
    payload, keyid = open_envelope(data, _KIND, owner.keys, name=name, origin=origin)
    advisory = Advisory.parse(payload, origin)
    if name not in advisory.names:
        raise IntegrityError(f"is not about {name}, which it is listed for", context=origin)
    _check_names(advisory, owner, owner_of, origin)
    return advisory, keyid


def _check_names(
    advisory: Advisory, owner: Publisher, owner_of: Callable[[str], Publisher | None], origin: str
) -> None:
    for name in sorted(advisory.names):
        its = owner_of(name)
        if its is None or (its.name, its.keys) != (owner.name, owner.keys):  # of names, a list has some alone
            whose = f"belongs to {its.name}" if its is not None else "belongs to nobody"
            hint = "a publisher may speak of its own patches only"
            raise IntegrityError(f"is about {name}, which {whose}", context=origin, hint=hint)


def publish_advisory(repository: Repository, data: bytes, signer: CryptoSigner, now: datetime, origin: str) -> Advisory:
    """Sign an advisory as the publisher of its patches, and put it into an index, in the place of an older one.

    Raises IntegrityError: it is malformed, is about a patch of somebody else, or is older than what there is.
    RequestError: a version that it names was never published, or there are too many advisories on a patch.
    """
    advisory = Advisory.parse(data, origin)
    publishers = repository.publishers
    own = key_id(public_hex(signer))
    owner = next((p for p in publishers.publishers if own in map(key_id, p.keys)), None)
    if owner is None:
        raise IntegrityError("the key is no publisher's of this index", context=origin, hint="name yours with --key")
    _check_names(advisory, owner, publishers.owner, origin)
    _check_versions(repository, advisory, origin)
    before = _before(repository, advisory.id, owner.names)
    for name, found in before.items():
        was = _sound(found, name, publishers)
        if was is not None and was.changed > advisory.changed:
            hint = f"it was modified {was.modified}; give the new one a later time"
            raise IntegrityError("is older than what was published before under its id", context=origin, hint=hint)
    envelope = sign_advisory(data, signer)
    notice = Notice(advisory.id, sha256(envelope))
    try:
        shards = {name: repository.shard(name).with_advisory(notice) for name in sorted(advisory.names)}
    except ValueError as error:
        hint = "one advisory may be about several versions; give it the id of one that there is"
        raise RequestError(f"can't be published: {error}", context=origin, hint=hint) from error
    for name in sorted(set(before) - advisory.names):
        repository.put(shard_path(name), repository.shard(name).without_advisory(advisory.id).to_bytes())
    repository.put(advisory_path(notice.sha256, notice.id), envelope)
    for name, shard in shards.items():
        repository.put(shard_path(name), shard.to_bytes())
    repository.commit(now)
    return advisory


def _check_versions(repository: Repository, advisory: Advisory, origin: str) -> None:
    for name in sorted(advisory.names):
        known = {entry.version for entry in repository.shard(name).releases}
        unknown = [version for version in advisory.versions(name) if version not in known]
        if unknown:
            hint = f"versions are {', '.join(sorted(known)) or 'none'}"
            raise RequestError(f"there is no {name} {unknown[0]}", context=origin, hint=hint)


def _sound(data: bytes, name: str, publishers: Publishers) -> Advisory | None:
    """What was published before, if it is signed by a key that its publisher still has."""
    try:
        return check_advisory(data, name, publishers.owner, name)[0]
    except IntegrityError:
        return None


def _before(repository: Repository, id_: str, names: Sequence[str]) -> dict[str, bytes]:
    """What is published under an id, by the names that it is listed for."""
    found = {}
    for name in names:
        for notice in repository.shard(name).advisories:
            data = repository.read(advisory_path(notice.sha256, notice.id)) if notice.id == id_ else None
            if data is not None:
                found[name] = data
    return found
