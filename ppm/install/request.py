"""What a user asks for: requirements, typed or in files, and what the choice of versions keeps to besides them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ppm.encoding import decode
from ppm.errors import IntegrityError, RequestError
from ppm.moment import Moment
from ppm.names import exact_pin, expand
from ppm.package import read_package
from ppm.requirement import Requirement, parse_name, read_requirement
from ppm.resolve import Pin
from ppm.running import UNSAID, Running

__all__ = ["Line", "Request", "check_hashes", "read_constraints", "read_limits", "read_lines"]

MAX_FILE_BYTES = 1_000_000
HASH = re.compile(r"--hash=(?:sha256:([0-9a-f]{64}))?(\S*)")


@dataclass(frozen=True)
class Line:
    """One requirement of a file, and the SHA-256 that its package file may have."""

    requirement: Requirement
    hashes: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Request:
    """What the user typed, parsed once.

    `hashes` are the digests that a patch's package file may have, by name; with `require_hashes` every package file
    that is not deployed yet must have one of them. `prefer` are priorities, as `preferred` reads them, `objective` is
    what an automatic choice prefers, and `more_prompts` the files of further prompts for suites, by label; an empty one
    drops what was brought before. A search for versions is given up after `search_seconds`. `running` says how the base
    is run; a dtype that is not named is the recorded one, else the faster one.
    """

    requirements: tuple[Requirement, ...] = ()
    find_links: tuple[Path, ...] = ()
    strategy: str | None = None
    prefer: tuple[str, ...] = ()
    objective: str = ""
    more_prompts: Mapping[str, str] = field(default_factory=dict)
    constraints: tuple[Requirement, ...] = ()
    overrides: tuple[Requirement, ...] = ()
    exclude_newer: Moment | None = None
    exclude_newer_package: Mapping[str, Moment] = field(default_factory=dict)
    hashes: Mapping[str, frozenset[str]] = field(default_factory=dict)
    require_hashes: bool = False
    search_seconds: float = 30.0
    running: Running = UNSAID

    def asking(self, texts: Sequence[str], files: Sequence[Path] = ()) -> "Request":
        """The same with the requirements of a command line and of its files. Raises RequestError."""
        lines = [line for path in files for line in read_lines(path)]
        hashes: dict[str, frozenset[str]] = {}
        for line in lines:
            if line.hashes:
                wish = line.requirement
                name = read_package(expand(wish.text)).manifest.name if wish.is_file else wish.name
                hashes[name] = hashes.get(name, frozenset()) | line.hashes
        typed = tuple(read_requirement(text) for text in texts)
        return replace(self, requirements=(*typed, *(line.requirement for line in lines)), hashes=hashes)


def read_limits(texts: Sequence[str]) -> dict[str, Moment]:
    """The moments that are meant for single names, each as NAME=DATE. Raises RequestError."""
    found = {}
    for text in texts:
        name, equals, date = text.partition("=")
        if not equals:
            hint = "for example --exclude-newer-package 'toxicity=1 day'"
            raise RequestError(f"{text[:80]!r} is not a name and a date", hint=hint)
        found[parse_name(name.strip())] = Moment.from_text(date.strip())
    return found


def read_lines(path: Path) -> list[Line]:
    """The requirements of a file: one a line, `#` begins a comment, `--hash=sha256:...` may follow, as in pip's files.

    Raises RequestError naming the file, and the line where one is wrong.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise RequestError(f"has more than {MAX_FILE_BYTES:,} bytes", context=str(path))
        text = decode(data)
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(
            f"can't be read ({getattr(error, 'strerror', None) or 'not UTF-8'})",
            context=str(path),
            hint="name a file with one requirement per line",
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
                "a hash must be --hash=sha256: followed by 64 hexadecimal digits",
                context=origin,
                hint="`ppm freeze --hashes` writes them",
            )
        hashes.add(digest)
    bare = HASH.sub("", text).strip()
    if bare.startswith("-"):
        raise RequestError(
            f"{bare.split()[0]!r} is an option, but a requirements file may hold only requirements",
            context=origin,
            hint="give options on the command line, or in ppm.toml",
        )
    return Line(read_requirement(bare, origin), frozenset(hashes))


def read_constraints(files: Iterable[Path]) -> tuple[Requirement, ...]:
    """The requirements of files of constraints or overrides. Raises RequestError."""
    lines = [line for path in files for line in read_lines(path)]
    for line in lines:
        where = line.requirement.origin
        if line.hashes:
            raise RequestError("hashes have no effect here", context=where, hint="pass the file with -r instead")
        if line.requirement.is_file:
            raise RequestError(f"{line.requirement.text!r} is a path, but only a name is allowed here", context=where)
        if line.requirement.address is not None:
            raise RequestError(f"{line.requirement.text!r} is a URL, but only a name is allowed here", context=where)
    return tuple(line.requirement for line in lines)


def check_hashes(pins: Sequence[Pin], new: Sequence[Pin], request: Request) -> None:
    """Whether all files are those that were asked for, and the `new` ones were asked for by their digests.

    Raises IntegrityError for a package file with another digest, RequestError for a new one without any.
    """
    for pin in pins:
        allowed = request.hashes.get(pin.release.name)
        if allowed is not None and pin.release.sha256 not in allowed:
            raise IntegrityError(
                f"has the SHA-256 {pin.release.sha256}, not the one you asked for",
                context=f"{pin.release.pin} in {pin.release.source}",
                hint="find out who changed the file; use the new hash only if the change was intended",
            )
    lacking = [pin.release for pin in new if pin.release.name not in request.hashes]
    if lacking and (request.require_hashes or request.hashes):
        lines = "\n".join(f"  {exact_pin(c.name, c.version)} --hash=sha256:{c.sha256}" for c in lacking)
        raise RequestError(
            "a package file would be installed without a hash to check it against",
            hint=f"if it is the right file, add to the requirements file:\n{lines}",
        )
