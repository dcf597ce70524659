"""Where things lie in an index, and how large they may be. Both sides know this and no more of each other."""

import hashlib

from ppm.package import MAX_PACKAGE_BYTES

__all__ = [
    "BINS",
    "BUNDLE",
    "MAX_ADVISORY_BYTES",
    "MAX_PUBLISHERS_BYTES",
    "MAX_ROOT_BYTES",
    "MAX_SHARD_BYTES",
    "MAX_SIGSTORE_ROOT_BYTES",
    "MAX_STATEMENT_BYTES",
    "METADATA",
    "PUBLISHERS",
    "SIGSTORE_ROOT",
    "STATEMENT",
    "TARGETS",
    "TRUSTED_ROOT",
    "advisory_path",
    "file_path",
    "is_offline",
    "most_bytes",
    "publishers_path",
    "shard_path",
    "statement_path",
    "stored",
]

TRUSTED_ROOT = "1.root.json"
"""The first root in METADATA, kept beside the keys too: a host that exchanges the index's own is found out."""
MAX_ROOT_BYTES = 512_000
METADATA, TARGETS = "metadata", "targets"
"""The two folders of an index: what is signed, and the files that it speaks of."""
BINS = "bin"
"""What the names of the bins begin with."""
PUBLISHERS = "publishers/"
"""What the lists of publishers begin with. There are at most 256: one for all names whose digests begin alike."""
STATEMENT = ".intoto.json"
"""What a statement is called beside its package file: the file's name and this."""
BUNDLE = ".sigstore.json"
"""The same where the statement is in a Sigstore bundle."""
SIGSTORE_ROOT = "sigstore/trusted_root.json"
"""Where it is listed which Sigstore instance vouches for identities of publishers."""
_NAMES, _ADVISORIES = "names", "advisories"
MAX_PUBLISHERS_BYTES = 8 * 2**20
MAX_SHARD_BYTES = 8 * 2**20
MAX_STATEMENT_BYTES = 2**20
MAX_SIGSTORE_ROOT_BYTES = 2**20
MAX_ADVISORY_BYTES = 2 * 2**20


def publishers_path(name: str) -> str:
    """Where it is listed who publishes a name."""
    return f"{PUBLISHERS}{hashlib.sha256(name.encode()).hexdigest()[:2]}.json"


def shard_path(name: str) -> str:
    """Where all versions of a name are listed."""
    return f"{_NAMES}/{name}.json"


def file_path(sha256: str, file_name: str) -> str:
    """Where a package file is."""
    return f"files/{sha256}/{file_name}"


def statement_path(sha256: str, file_name: str, *, bundled: bool = False) -> str:
    """Where the publisher's statement on a package file is, signed with a key or `bundled` by Sigstore."""
    return file_path(sha256, file_name) + (BUNDLE if bundled else STATEMENT)


def is_offline(path: str) -> bool:
    """Whether the offline targets key lists a target, and the keys of the bins have no say."""
    return path.startswith(PUBLISHERS) or path == SIGSTORE_ROOT


def advisory_path(sha256: str, id_: str) -> str:
    """Where a publisher's signed advisory is, by the digest of its envelope."""
    return f"{_ADVISORIES}/{sha256}/{id_}.json"


def stored(path: str, sha256: str) -> str:
    """The file below TARGETS that holds a target: TUF's consistent snapshots put its digest before its name."""
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}{sha256}.{name}"


def most_bytes(path: str) -> int:
    """How large a target may be, whatever its metadata says."""
    if path.startswith(PUBLISHERS):
        return MAX_PUBLISHERS_BYTES
    if path.startswith(f"{_NAMES}/"):
        return MAX_SHARD_BYTES
    if path.startswith(f"{_ADVISORIES}/"):
        return MAX_ADVISORY_BYTES
    if path == SIGSTORE_ROOT:
        return MAX_SIGSTORE_ROOT_BYTES
    return MAX_STATEMENT_BYTES if path.endswith((STATEMENT, BUNDLE)) else MAX_PACKAGE_BYTES
