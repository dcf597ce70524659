"""What a user asks for, parsed once: a name and the versions that will do, or the path of a package file."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import PurePath

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion

from ppm.errors import RequestError
from ppm.names import check_name, exact_pin, parse_specifiers, parse_version, without_logins
from ppm.package import SUFFIX, parse_file_name

__all__ = [
    "Address",
    "Requirement",
    "exactly",
    "parse_name",
    "parse_requirement",
    "parse_specifier",
    "phrase",
    "read_requirement",
    "texts_of",
]

_SHAPE = re.compile(r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?P<rest>.*)", re.DOTALL)
_HINT = "write a name and, if you like, versions, such as 'toxicity>=1,<2'"
_BEYOND = {"[": "extras", "@": "a URL", ";": "a marker"}
"""What PEP 508 lets follow a name, and patches don't have."""
MAX_LENGTH = 1_000
LONGEST_HINT = 80
"""Of a text, in characters, for a hint to say what was meant by it."""


_ADDRESS = re.compile(r"(?P<name>[^\s@]+)\s*@\s*(?P<url>(?:https?|file)://[^\s#?]+)(?:#(?P<fragment>\S*))?")
_DIGEST = re.compile(r"sha256=([0-9a-f]{64})")


@dataclass(frozen=True)
class Address:
    """Where one package file is, and the hexadecimal digest that it must have."""

    url: str
    sha256: str


@dataclass(frozen=True)
class Requirement:
    """A normalised name and a PEP 440 specifier; `text` is how the user put it, `origin` where, such as a file.

    With `is_file` it is the path of a package file, whose name is what its file name says, "" when that says none. With
    an `address` it is the package file there.
    """

    name: str
    specifier: SpecifierSet
    text: str
    origin: str = field(default="", compare=False)
    is_file: bool = False
    address: Address | None = None

    @property
    def pinned(self) -> str | None:
        """The one version that it names with == (or ===), as written; None when it lets several in."""
        exact = [s.version for s in self.specifier if s.operator in ("==", "===") and not s.version.endswith(".*")]
        return next((version for version in exact if _is_version(version)), None)

    @staticmethod
    def from_text(text: str) -> "Requirement":
        """As ppm.toml and ppm.lock hold it. Raises RequestError."""
        return read_requirement(text)

    def to_toml(self) -> str:
        return self.text

    def __str__(self) -> str:
        return self.text


def texts_of(requirements: Iterable[Requirement]) -> tuple[str, ...]:
    """Requirements as their users put them."""
    return tuple(requirement.text for requirement in requirements)


def exactly(name: str, version: object, origin: str = "") -> Requirement:
    """The requirement that this very version of a patch meets, and no local one of it."""
    return parse_requirement(exact_pin(name, version), origin)


def _is_version(text: str) -> bool:
    try:
        parse_version(text)
    except InvalidVersion:
        return False
    return True


@lru_cache(maxsize=4096)
def parse_specifier(text: str) -> SpecifierSet:
    """A specifier as manifests hold it, where '*' is any version. Raises InvalidSpecifier."""
    return parse_specifiers(text)


def phrase(name: str, specifier: str) -> str:
    """A name with the versions asked of it, as a user would type it: `name` alone for any version."""
    if specifier in ("", "*"):
        return name
    # The text of a set of specifiers has no order of its own; a lower bound reads best first.
    parts = sorted(specifier.split(","), key=lambda part: (not part.startswith((">", "~", "=")), part))
    return name + ",".join(parts)


def read_requirement(text: str, origin: str = "") -> Requirement:
    """A requirement, or a package file: its path, or `NAME @ URL#sha256=DIGEST`. Raises RequestError."""
    if "://" in text:
        return _addressed(text, origin)
    if not text.endswith(SUFFIX) and "/" not in text:
        return parse_requirement(text, origin)
    parts = parse_file_name(PurePath(text).name)
    return Requirement(parts[0] if parts else "", SpecifierSet(), text, origin, is_file=True)


def _addressed(text: str, origin: str) -> Requirement:
    """`toxicity @ https://example.org/toxicity.ppm#sha256=...`: never without the digest. Raises RequestError."""
    match = _ADDRESS.fullmatch(text.strip())
    digest = _DIGEST.fullmatch(match["fragment"] or "") if match is not None else None
    hint = "write NAME @ URL#sha256=DIGEST, with https://, http:// or file://; or download the file, and give its path"
    if match is None or digest is None or len(text) > MAX_LENGTH:
        lacking = "digest of 64 hexadecimal digits" if match is not None else "name, or not one that can be used"
        raise RequestError(f"{without_logins(text)[:80]!r} is a URL without a {lacking}", context=origin, hint=hint)
    named = parse_requirement(match["name"], origin)
    if str(named.specifier):
        raise RequestError(f"{without_logins(text)[:80]!r} has a URL and a version", context=origin, hint=hint)
    return Requirement(named.name, SpecifierSet(), text.strip(), origin, address=Address(match["url"], digest[1]))


def parse_requirement(text: str, origin: str = "") -> Requirement:
    """`toxicity`, `toxicity>=1,<2` or `toxicity==1.0.0`. Raises RequestError for anything else."""
    shown = repr(text if len(text) <= 80 else f"{text[:80]}...")
    match = _SHAPE.fullmatch(text.strip())
    if match is None or len(text) > MAX_LENGTH:
        raise RequestError(f"{shown} is not a requirement", context=origin, hint=_hint(text))
    rest = match["rest"].strip()
    beyond = next(
        (what for mark, what in _BEYOND.items() if rest.startswith(mark) or (mark == ";" and mark in rest)), ""
    )
    if beyond:
        raise RequestError(f"{shown} has {beyond}, which patches don't have", context=origin, hint=_hint(text))
    versions = rest[1:-1] if rest.startswith("(") and rest.endswith(")") else rest
    try:
        if versions and not all(part.strip() for part in versions.split(",")):
            raise InvalidSpecifier(versions)
        return Requirement(check_name(match["name"]), parse_specifiers(versions), text.strip(), origin)
    except (InvalidSpecifier, ValueError) as error:
        raise RequestError(f"{shown} is not a requirement", context=origin, hint=_hint(text)) from error


def _hint(text: str) -> str:
    """What was meant, where that is plain; else how requirements are written."""
    name, at, version = (part.strip() for part in text.partition("@"))
    words = text.split() if len(text) <= LONGEST_HINT else []
    try:
        if at and len(text) <= LONGEST_HINT:
            return f"write {check_name(name)}=={parse_version(version)}"
        if len(words) > 1 and all(map(check_name, words)):
            return f"if these are {len(words)} patches, give each as a requirement of its own"
    except ValueError:  # that was not meant
        pass
    return _HINT


def parse_name(text: str) -> str:
    """A name alone, normalised. Raises RequestError, for versions too."""
    wish = parse_requirement(text)
    if str(wish.specifier):
        raise RequestError(f"{text!r} has a version, but only a name is allowed here", hint=f"use {wish.name}")
    return wish.name
