"""What a user asks for: requirements in files, and what the choice of versions keeps to besides them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ppm.errors import IntegrityError, RequestError
from ppm.install.fetch import is_path
from ppm.names import exact_pin, expand
from ppm.package import read_package
from ppm.resolve import Pin, Requirement, parse_requirement

__all__ = ["Asked", "Line", "Options", "check_hashes", "parse_date", "read_lines", "read_requirements"]

MAX_FILE_BYTES = 1_000_000
HASH = re.compile(r"--hash=(?:sha256:([0-9a-f]{64}))?(\S*)")


@dataclass(frozen=True)
class Line:
    """One requirement of a file: its text, where it stands, and the SHA-256 that its package file may have."""

    text: str
    origin: str
    hashes: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Options:
    """How versions are chosen and composed, as options of a command say it.

    `constraints` and `overrides` are files of requirements. `hashes` are the digests that a patch's package file may
    have, by name; with `require_hashes` every package file that is not deployed yet must have one of them. A search for
    versions is given up after `search_seconds`.
    """

    find_links: Sequence[Path] = ()
    strategy: str | None = None
    constraints: Sequence[Path] = ()
    overrides: Sequence[Path] = ()
    exclude_newer: datetime | None = None
    hashes: Mapping[str, frozenset[str]] = field(default_factory=dict)
    require_hashes: bool = False
    search_seconds: float = 30.0


@dataclass(frozen=True)
class Asked:
    """The requirements of a command line and of its files, and the digests that the files give."""

    requirements: tuple[str, ...]
    hashes: Mapping[str, frozenset[str]]

    @staticmethod
    def read(requirements: Sequence[str], files: Sequence[Path]) -> "Asked":
        """Both together. Raises RequestError."""
        lines = [line for path in files for line in read_lines(path)]
        hashes: dict[str, frozenset[str]] = {}
        for line in lines:
            if is_path(line.text):
                name = read_package(expand(line.text)).manifest.name if line.hashes else ""
            else:
                name = parse_requirement(line.text, line.origin).name
            if line.hashes:
                hashes[name] = hashes.get(name, frozenset()) | line.hashes
        return Asked((*requirements, *(line.text for line in lines)), hashes)


def read_lines(path: Path) -> list[Line]:
    """The requirements of a file: one a line, `#` begins a comment, `--hash=sha256:...` may follow, as in pip's files.

    Raises RequestError naming the file, and the line where one is wrong.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise RequestError(f"has more than {MAX_FILE_BYTES:,} bytes", context=str(path))
        text = data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(
            f"can't be read ({getattr(error, 'strerror', None) or 'not UTF-8'})",
            context=str(path),
            hint="give a file of one requirement a line",
        ) from error
    found, begun, first = [], "", 0
    for number, raw in enumerate(text.splitlines(), 1):
        line = re.sub(r"(^|\s)#.*$", "", raw).strip()
        first = first if begun else number
        begun = " ".join(filter(None, (begun, line.removesuffix("\\").strip())))
        if not line.endswith("\\") and begun:
            found.append(_line(begun, f"{path}, line {first}"))
            begun = ""
    return [*found, _line(begun, f"{path}, line {first}")] if begun else found


def _line(text: str, origin: str) -> Line:
    hashes = set()
    for digest, rest in HASH.findall(text):
        if not digest or rest:
            raise RequestError(
                "a hash must be --hash=sha256: and 64 hexadecimal digits",
                context=origin,
                hint="`ppm freeze --hashes` writes them",
            )
        hashes.add(digest)
    bare = HASH.sub("", text).strip()
    if bare.startswith("-"):
        raise RequestError(
            f"{bare.split()[0]!r} is an option, and a file holds requirements alone",
            context=origin,
            hint="give options on the command line, or in ppm.toml",
        )
    return Line(bare, origin, frozenset(hashes))


def read_requirements(files: Iterable[Path]) -> list[Requirement]:
    """The requirements of files of constraints or overrides. Raises RequestError."""
    lines = [line for path in files for line in read_lines(path)]
    for line in lines:
        if line.hashes:
            raise RequestError("a hash has no effect here", context=line.origin, hint="give the file with -r instead")
    return [parse_requirement(line.text, line.origin) for line in lines]


def parse_date(text: str, origin: str = "") -> datetime:
    """A moment in ISO 8601, in UTC unless it says otherwise; a day means all of it. Raises RequestError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        hint = "write it as 2026-06-01, or as 2026-06-01T12:00:00Z"
        raise RequestError(f"{text!r} is no date", context=origin, hint=hint) from error
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment + timedelta(days=1, microseconds=-1) if re.fullmatch(r"\d{4}-?\d\d-?\d\d", text) else moment


def check_hashes(pins: Sequence[Pin], new: Sequence[Pin], options: Options) -> None:
    """Whether all files are those that were asked for, and the `new` ones were asked for by their digests.

    Raises IntegrityError for a package file with another digest, RequestError for a new one without any.
    """
    for pin in pins:
        allowed = options.hashes.get(pin.release.name)
        if allowed is not None and pin.release.sha256 not in allowed:
            raise IntegrityError(
                f"has the SHA-256 {pin.release.sha256}, which is not the one that was asked for",
                context=f"{pin.release.pin} in {pin.release.source}",
                hint="find out who changed the file; only if the change was meant, write the new hash down",
            )
    lacking = [pin.release for pin in new if pin.release.name not in options.hashes]
    if lacking and (options.require_hashes or options.hashes):
        lines = "\n".join(f"  {exact_pin(c.name, c.version)} --hash=sha256:{c.sha256}" for c in lacking)
        raise RequestError(
            "a package file would come in whose hash was not asked for",
            hint=f"if it is the right one, add to the file of requirements:\n{lines}",
        )
