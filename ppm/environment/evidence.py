"""Files that decide what may be deployed: what was cut, edited or deleted in them is noticed.

The first line of such a file says how many entries follow, how often it was written, and the digest of the rest. A
witness beside it says the same, so that a file that is gone, or was put back from an older copy, is missed. The file
is written before its witness: of the two, the witness may be the older one. Files without such a line are from before
there was one; they are read as they are, and get it when they are next written. Nothing here knows what entries mean.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from ppm.disk import disk_errors, replace_file
from ppm.errors import IntegrityError
from ppm.names import LONGEST_NUMBER, canonical_digest
from ppm.package import sha256

__all__ = ["MEND", "WITNESS", "Sealed", "read", "remove", "salvage", "witness_fault", "write"]

MEND = "`ppm verify --mend` keeps what is still readable, and counts what was lost"
WITNESS = ".witness"
_KEYS = {"entries", "revision", "digest"}


@dataclass(frozen=True)
class Sealed:
    """The content of such a file; `entries` is None where it is from before there were digests."""

    content: bytes
    entries: int | None


@dataclass(frozen=True)
class _Seal:
    entries: int
    revision: int
    digest: str

    def line(self) -> bytes:
        return json.dumps(vars(self)).encode() + b"\n"

    @staticmethod
    def parse(line: bytes) -> "_Seal | None":
        try:
            table = json.loads(line)
            seal = _Seal(**table)
        except (ValueError, TypeError, RecursionError):
            return None
        numbers = (seal.entries, seal.revision)
        if set(table) != _KEYS or not all(type(n) is int and 0 <= n < 10**LONGEST_NUMBER for n in numbers):
            return None
        return seal if isinstance(seal.digest, str) else None


def read(path: Path, *, comment: bytes = b"") -> Sealed | None:
    """What a file holds; None when there is none and never was.

    `comment` is what begins a comment where the content is not made of JSON. Raises IntegrityError when it was cut,
    edited, deleted or replaced by an older one, DiskError when it can't be read.
    """
    witness, damaged = _read_witness(path)  # first: whoever writes it meanwhile writes it last
    data = _bytes(path)
    if data is None:
        if witness is not None or damaged:
            raise IntegrityError("was deleted", context=str(path), hint=MEND)
        return None
    seal, content = _parted(data, comment)
    if seal is None:
        if witness is not None or damaged or data.startswith(comment + b'{"entries"'):
            raise IntegrityError("was truncated or edited: it lacks its first line", context=str(path), hint=MEND)
        return Sealed(content, None)
    if sha256(content) != seal.digest:
        raise IntegrityError("was truncated or edited: its digest does not match", context=str(path), hint=MEND)
    if witness is not None and witness.revision > seal.revision:
        raise IntegrityError("is an older copy: a newer one was there before", context=str(path), hint=MEND)
    return Sealed(content, seal.entries)


def write(path: Path, content: bytes, entries: int, *, comment: bytes = b"") -> None:
    """Put a file with these entries in place of what is there. Raises OSError.

    The caller has read it, and is the only one who writes it.
    """
    data = _bytes(path)
    before = (_read_witness(path)[0], _parted(data, comment)[0] if data is not None else None)
    seal = _Seal(entries, 1 + max((s.revision for s in before if s is not None), default=0), sha256(content))
    replace_file(path, comment + seal.line() + content, sole_writer=True)
    replace_file(_witness(path), _witness_line(seal), sole_writer=True)


def remove(path: Path) -> None:
    """Take a file away for good. Raises OSError."""
    _witness(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def salvage(path: Path, *, comment: bytes = b"") -> Sealed:
    """What is left of a damaged file, and how many entries it had as far as that is known. Raises DiskError."""
    witness, _ = _read_witness(path)
    data = _bytes(path) or b""
    seal, content = _parted(data, comment)
    line, _, rest = data.partition(b"\n")
    if seal is None and b"revision" in line:  # what is left of a seal is no entry
        content = rest
    return Sealed(content, max((s.entries for s in (witness, seal) if s is not None), default=0))


def witness_fault(path: Path, *, comment: bytes = b"") -> str | None:
    """What is wrong with the witness of a sound file, which then serves all the same. Raises DiskError."""
    data = _bytes(path)
    witness, damaged = _read_witness(path)
    if damaged:
        return "its witness file is damaged"
    sealed = data is not None and _parted(data, comment)[0] is not None
    return "its witness file is missing" if sealed and witness is None else None


def _bytes(path: Path) -> bytes | None:
    with disk_errors("can't be read", path):
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None


def _parted(data: bytes, comment: bytes) -> tuple[_Seal | None, bytes]:
    """The first line, if it is a seal, and what it is of."""
    line, _, rest = data.partition(b"\n")
    seal = _Seal.parse(line.removeprefix(comment)) if line.startswith(comment) else None
    return (seal, rest) if seal is not None else (None, data)


def _witness(path: Path) -> Path:
    return path.with_name(path.name + WITNESS)


def _witness_line(seal: _Seal) -> bytes:
    """The witness has a digest of its own: of the numbers that it stands for."""
    return _Seal(seal.entries, seal.revision, canonical_digest([seal.entries, seal.revision])).line()


def _read_witness(path: Path) -> tuple[_Seal | None, bool]:
    """The witness of a file, if there is one that is sound, and whether there is one that is not."""
    try:
        data = _witness(path).read_bytes()
    except FileNotFoundError:
        return None, False
    except OSError:
        return None, True
    seal = _Seal.parse(data)
    sound = seal is not None and data == _witness_line(seal)
    return (seal, False) if sound else (None, True)
