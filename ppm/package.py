"""Package files: a patch as one file, written reproducibly and read as hostile input.

A package file is a zip of `patch.toml`, `prefix.safetensors`, `suites/`, `replay.jsonl`, `retention.jsonl`
and `RECORD`, which lists the SHA-256 and size of every other member.
"""

import hashlib
import io
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

from ppm.bank import Bank
from ppm.disk import disk_errors, make_folder, replace_file
from ppm.document import MAX_DOCUMENT_BYTES
from ppm.errors import IntegrityError, PackageError
from ppm.jsonl import Benign, Pair, Prompt, check_leakage, read_benign, read_pairs, read_prompts
from ppm.manifest import Manifest
from ppm.names import base_tag
from ppm.suite import Suite

__all__ = [
    "MAX_PACKAGE_BYTES",
    "SKETCH",
    "SUFFIX",
    "Package",
    "file_name",
    "file_name_of",
    "parse_file_name",
    "read_bounded",
    "read_metadata",
    "read_package",
    "sha256",
    "write_package",
]

MAX_PACKAGE_BYTES = 32 * 2**20
MAX_DATA_BYTES = 8 * 2**20
"""Of one file of prompts or pairs."""
_PIECE = 2**20
MAX_MEMBERS = 2_000
SUFFIX = ".ppm"
_MANIFEST, _BANK, _RECORD = "patch.toml", "prefix.safetensors", "RECORD"
_MEMBER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*){0,7}")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_END_OF_ZIP = struct.Struct("<4s4H2LH")
_RECORD_LINE = re.compile(r"([^,\r\n]+),sha256:([0-9a-f]{64}),(\d{1,12})")


def sha256(data: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Package:
    """A patch in memory: its manifest, its bank, its data files by path."""

    manifest: Manifest
    bank: Bank
    files: Mapping[str, bytes]

    @cached_property
    def data(self) -> bytes:
        """The package file's bytes: as they were read, else as `to_bytes` makes them."""
        return self.to_bytes()

    @cached_property
    def sha256(self) -> str:
        """Hexadecimal digest of the package file's bytes."""
        return sha256(self.data)

    @property
    def prefix(self) -> bytes:
        """The bank as the package file has it: the bytes of `prefix.safetensors`."""
        return self.bank.to_bytes()

    @property
    def file_name(self) -> str:
        return file_name(self.manifest)

    def to_bytes(self) -> bytes:
        """The package file: the same content gives the same bytes."""
        members = {
            _MANIFEST: self.manifest.render().encode(),
            _BANK: self.prefix,
            **dict(sorted(self.files.items())),
        }
        record = "".join(f"{path},sha256:{sha256(data)},{len(data)}\n" for path, data in members.items())
        buffer = io.BytesIO()
        # Stored, not deflated: compressed bytes differ between versions of zlib.
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            for path, data in (*members.items(), (_RECORD, record.encode())):
                info = zipfile.ZipInfo(path, date_time=(1980, 1, 1, 0, 0, 0))
                info.external_attr = 0o644 << 16
                info.create_system = 3
                archive.writestr(info, data)
        return buffer.getvalue()

    def prompts(self, suite: Suite) -> tuple[Prompt, ...]:
        """The prompts of one of the manifest's suites."""
        return read_prompts(self.files[suite.prompts], f"{self.manifest.pin}, {suite.prompts}")

    @cached_property
    def replay(self) -> tuple[Pair, ...]:
        """The packaged pairs; empty when the patch has none."""
        path = self.manifest.replay.pairs if self.manifest.replay else None
        return read_pairs(self.files[path], f"{self.manifest.pin}, {path}") if path else ()

    @cached_property
    def retention(self) -> tuple[Benign, ...]:
        """The packaged benign prompts; empty when the patch has none."""
        path = self.manifest.retention.prompts if self.manifest.retention else None
        return read_benign(self.files[path], f"{self.manifest.pin}, {path}") if path else ()


def _tag(manifest: Manifest) -> str:
    if manifest.base.fingerprint is None:
        raise PackageError(
            "has no fingerprint for its base model",
            context=manifest.pin,
            hint="`ppm build` writes it; use the package that it built",
        )
    return base_tag(manifest.base.model, manifest.base.fingerprint)


def file_name(manifest: Manifest) -> str:
    """`NAME-VERSION-BASETAG.ppm`, with '-' inside a part written '_'."""
    return file_name_of(manifest.name, manifest.version, _tag(manifest))


def file_name_of(name: str, version: str, tag: str) -> str:
    """The file name of a version of a patch for the base model with a tag."""
    return "-".join(part.replace("-", "_") for part in (name, version, tag)) + SUFFIX


def parse_file_name(name: str) -> tuple[str, str, str] | None:
    """(name, version, base tag) of a package file's name; None when it is not one."""
    parts = name.removesuffix(SUFFIX).split("-")
    if not name.endswith(SUFFIX) or len(parts) != 3 or not all(parts):
        return None
    return parts[0].replace("_", "-"), parts[1], parts[2].replace("_", "-")


def write_package(package: Package, folder: Path) -> Path:
    """Write the package file into `folder`, whole or not at all, and return its path.

    Raises PackageError when it could not be read back, DiskError when it can't be written.
    """
    data = package.to_bytes()
    read_package(data, origin=package.manifest.pin)
    target = folder / package.file_name
    with disk_errors("can't be written", target):
        make_folder(folder)
        replace_file(target, data)
    return target


def read_package(source: Path | bytes, *, origin: str = "", expected_sha256: str | None = None) -> Package:
    """Read and check a package file.

    Raises IntegrityError when its bytes are not what they should be, or are hostile; ManifestError when the
    manifest or a data file is malformed; PackageError when the file can't be read.
    """
    origin = origin or (str(source) if isinstance(source, Path) else "the package file")
    data = read_bounded(source, origin) if isinstance(source, Path) else source
    if expected_sha256 is not None and sha256(data) != expected_sha256:
        raise IntegrityError(
            f"has SHA-256 {sha256(data)[:12]}..., but {expected_sha256[:12]}... is pinned",
            context=origin,
            hint="the file was changed or damaged; fetch it again, and don't use it if that does not help",
        )
    members = _unpack(data, origin)
    _check_record(members, origin)
    manifest = Manifest.parse(members[_MANIFEST], f"{origin}, {_MANIFEST}")
    files = {path: content for path, content in members.items() if path not in (_MANIFEST, _BANK, _RECORD)}
    package = Package(manifest, Bank.parse(members[_BANK], f"{origin}, {_BANK}", manifest.bank), files)
    _check(package, origin)
    package.__dict__["data"] = data
    return package


def read_metadata(path: Path) -> tuple[Manifest, str]:
    """The manifest and the file's SHA-256, without unpacking or checking the rest; `read_package` does that.

    Raises IntegrityError when the zip or its manifest is damaged or hostile, ManifestError when the manifest
    is malformed, PackageError when the file can't be read.
    """
    origin = str(path)
    data = read_bounded(path, origin)
    content = _unpack(data, origin, only=_MANIFEST)[_MANIFEST]
    return Manifest.parse(content, f"{origin}, {_MANIFEST}"), sha256(data)


def read_bounded(path: Path, origin: str) -> bytes:
    """The bytes of a file that is no larger than a package file may be. Raises PackageError or IntegrityError."""
    try:
        if not path.is_file():
            reason = "is not a file" if path.exists() else "does not exist"
            raise PackageError(reason, context=origin, hint="give the path of a .ppm file")
        with path.open("rb") as stream:
            data = stream.read(MAX_PACKAGE_BYTES + 1)
    except OSError as error:
        raise PackageError(f"can't be read: {error.strerror}", context=origin) from error
    if len(data) > MAX_PACKAGE_BYTES:
        raise IntegrityError(f"is larger than {MAX_PACKAGE_BYTES:,} bytes", context=origin)
    return data


def _unpack(data: bytes, origin: str, only: str | None = None) -> dict[str, bytes]:
    """The members of the zip in memory, or `only` one of them; nothing is trusted and nothing written."""

    def hostile(message: str) -> IntegrityError:
        return IntegrityError(message, context=origin, hint="don't use this file; fetch it again from its vendor")

    # zipfile reads the whole list of members before they can be counted, at some 500 bytes of memory each,
    # so its length is bounded first, in the one form of a zip's end that `to_bytes` writes.
    end = data[-_END_OF_ZIP.size :]
    if not end.startswith(b"PK\5\6") or len(end) < _END_OF_ZIP.size or end[-2:] != b"\0\0":
        raise IntegrityError("is not a whole package file", context=origin, hint="it may be truncated; fetch it again")
    if _END_OF_ZIP.unpack(end)[5] > MAX_MEMBERS * 1024 or data[-_END_OF_ZIP.size - 20 :].startswith(b"PK\6\7"):
        raise hostile(f"has more than {MAX_MEMBERS:,} members")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            if len(entries) > MAX_MEMBERS:
                raise hostile(f"has {len(entries):,} members; at most {MAX_MEMBERS:,} are read")
            if sum(entry.file_size for entry in entries) > MAX_PACKAGE_BYTES:
                raise hostile(f"unpacks to more than {MAX_PACKAGE_BYTES:,} bytes")
            members: dict[str, bytes] = {}
            folded: set[str] = set()
            for entry in entries:
                name = entry.orig_filename
                parts = name.split("/")
                if not _MEMBER.fullmatch(name) or any(_RESERVED.fullmatch(p) or p.endswith(".") for p in parts):
                    raise hostile(f"has a member with an unsafe path: {name[:80]!r}")
                if name not in (*_KNOWN, SKETCH) and not name.startswith("suites/") and not name.endswith(".jsonl"):
                    raise hostile(f"has an unexpected member: {name!r}")
                if name.casefold() in folded:
                    raise hostile(f"has two members named {name!r}")
                folded.add(name.casefold())
                if (entry.external_attr >> 16) & 0o170000 not in (0, 0o100000) or entry.flag_bits & 0x1:
                    raise hostile(f"has a member that is not a plain file: {name!r}")
                if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise hostile(f"has a member with an unknown compression: {name!r}")
                if only is not None and name != only:
                    continue
                most = MAX_DOCUMENT_BYTES if name in (_MANIFEST, _RECORD) else MAX_DATA_BYTES
                if entry.file_size > most and name != _BANK:
                    raise hostile(f"has a {name} of more than {most:,} bytes")
                with archive.open(entry) as stream:
                    content = b"".join(_pieces(stream, entry.file_size + 1))
                if len(content) != entry.file_size:
                    raise hostile(f"declares the wrong size for {name!r}")
                members[name] = content
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, NotImplementedError) as error:
        raise IntegrityError(
            f"is not a whole package file ({error})", context=origin, hint="it may be truncated; fetch it again"
        ) from error
    except (RuntimeError, OverflowError, LookupError) as error:
        raise hostile(f"is not a well-formed zip ({error})") from error
    missing = [name for name in (_KNOWN if only is None else (only,)) if name not in members]
    if missing:
        raise hostile(f"lacks {', '.join(missing)}")
    return members


_KNOWN = (_MANIFEST, _BANK, _RECORD)
SKETCH = "base.sketch"
"""The member in which a patch that accepts derived bases says what its own base is like (`ppm.sketch`)."""


def _pieces(stream: IO[bytes], size: int) -> Iterator[bytes]:
    """So many bytes at most, a piece at a time: unpacking all at once takes twice the memory."""
    while size > 0 and (piece := stream.read(min(size, _PIECE))):
        size -= len(piece)
        yield piece


def _check_record(members: Mapping[str, bytes], origin: str) -> None:
    hint = "the file was changed after it was built; fetch it again, and don't use it if that does not help"
    listed: dict[str, tuple[str, int]] = {}
    try:
        lines = members[_RECORD].decode("ascii").splitlines()
    except UnicodeDecodeError as error:
        raise IntegrityError("has a RECORD that is not ASCII", context=origin, hint=hint) from error
    for line in lines:
        match = _RECORD_LINE.fullmatch(line)
        if not match or match[1] in listed:
            raise IntegrityError(f"has a RECORD with a bad line: {line[:80]!r}", context=origin, hint=hint)
        listed[match[1]] = (match[2], int(match[3]))
    if set(listed) != set(members) - {_RECORD}:
        odd = sorted(set(listed) ^ (set(members) - {_RECORD}))
        raise IntegrityError(f"and its RECORD disagree about {', '.join(odd[:3])}", context=origin, hint=hint)
    for path, (digest, size) in listed.items():
        if len(members[path]) != size or sha256(members[path]) != digest:
            raise IntegrityError(f"has a {path} that differs from its RECORD", context=origin, hint=hint)


def _check(package: Package, origin: str) -> None:
    """What reading and writing both insist on: the prefix fits the manifest, and the data files are well-formed."""
    manifest = package.manifest
    _check_shape(package.bank, manifest.prefix.virtual_tokens, f"{origin}, {_BANK}")
    if package.bank.table != manifest.bank:
        raise IntegrityError("does not go with the [bank] of its manifest", context=f"{origin}, {_BANK}")
    _tag(manifest)
    if ("derived" in manifest.base.accepts) != (SKETCH in package.files):
        what = "accepts derived bases, but lacks" if manifest.base.accepts else "accepts no other base, but has"
        raise IntegrityError(f"{what} {SKETCH}", context=origin)
    needed = {file.path for file in manifest.without_training().data_files()}
    lacking = sorted(needed - set(package.files))
    if lacking:
        raise IntegrityError(f"lacks {lacking[0]}, which its manifest names", context=origin)
    for suite in manifest.suites:
        check_leakage(suite.name, package.prompts(suite), {origin: [*package.replay, *package.retention]})


def _check_shape(bank: Bank, virtual_tokens: int, origin: str) -> None:
    several = bank.arrangement != "joined"  # joined blocks are one
    if bank.virtual_tokens != virtual_tokens or not bank.blocks or (len(bank.blocks) > 1 and not several):
        shapes = ", ".join(str(block.shape) for block in bank.blocks) or "no block"
        raise IntegrityError(f"holds {shapes}; its manifest says {virtual_tokens} virtual tokens", context=origin)
