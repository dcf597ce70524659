"""Names, versions, paths and digests: their one form, and what is refused."""

import hashlib
import json
import re
from functools import lru_cache
from pathlib import Path, PurePosixPath

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from ppm.errors import RequestError

__all__ = [
    "LONGEST_NAME",
    "LONGEST_NUMBER",
    "LONGEST_VERSION",
    "MOST_SEED",
    "base_tag",
    "canonical_digest",
    "check_digest",
    "check_line",
    "check_name",
    "check_path",
    "check_seed",
    "check_sha256",
    "check_specifiers",
    "check_version",
    "cut",
    "exact_pin",
    "exists",
    "expand",
    "is_folder",
    "is_url",
    "parse_specifiers",
    "parse_version",
    "without_logins",
]

LONGEST_NAME = LONGEST_VERSION = 100
LONGEST_NUMBER = 12
MOST_SEED = 2**63 - 1
"""Characters of names and versions, digits of numbers: Python refuses to read a number of thousands of digits."""
_MOST_SPECIFIERS = 100
_NAME = re.compile(rf"[A-Za-z0-9]([A-Za-z0-9._-]{{0,{LONGEST_NAME - 2}}}[A-Za-z0-9])?")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
_LOGIN = re.compile(r"(?<=://)(?:[^/\s]*@|[^/\s:\[]*:(?!\d{1,5}/)[^\s@]*@)")
"""A name and a password in an address; also a password that holds a slash, which makes it no address."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_DIGEST = re.compile(rf"sha256:{_SHA256.pattern}")


@lru_cache
def base_tag(model: str, fingerprint: str) -> str:
    """A base tag: the model's short name and 12 hexadecimal digits of its fingerprint."""
    short = re.sub(r"[^A-Za-z0-9.]+", "-", PurePosixPath(model).name).strip("-.") or "model"
    return f"{short.lower()}-{fingerprint.removeprefix('sha256:')[:12]}"


def check_name(name: str) -> str:
    """The normalised name (PEP 503). Raises ValueError when it is not a name."""
    if not _NAME.fullmatch(name):
        shown = repr(name) if len(name) <= 2 * LONGEST_NAME else f"{name[:20]!r}..."
        raise ValueError(f"{shown} is not a name: letters, digits, '-', '_' and '.', at most {LONGEST_NAME} of them")
    return str(canonicalize_name(name))


def expand(text: str) -> Path:
    """A path in which `~` is a user's home. Raises RequestError for a URL, and where there is no such user."""
    if is_url(text):
        hint = "download it, and give its path; for a base model on the hub, write NAME@COMMIT"
        raise RequestError("is a URL, but URLs are not supported yet", context=text[:80], hint=hint)
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise RequestError("there is no such user", context=text, hint="give the whole path") from error


def is_url(text: str) -> bool:
    """Whether a text is a URL, be it one that has become a path and lost a slash by that."""
    return bool(_URL.match(text))


def without_logins(text: str) -> str:
    """Text in which no address has a name or a password before its host."""
    return _LOGIN.sub("", text)


def exists(path: Path) -> bool:
    """Whether there is anything at a path; a name that is too long for one has nothing."""
    try:
        return path.exists()
    except OSError:
        return False


def is_folder(path: Path) -> bool:
    """Whether there is a folder; a name that is too long for one is none."""
    try:
        return path.is_dir()
    except OSError:
        return False


def exact_pin(name: str, version: object) -> str:
    """The requirement that this very version meets and no local one of it: == lets in 1.0+site for 1.0."""
    return f"{name}==={version}"


def canonical_digest(value: object) -> str:
    """`sha256:` and the digest of plain data, the same for any order of keys; JSON can spell half a character."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def check_version(text: str) -> str:
    """The normalised version (PEP 440). Raises ValueError when it is not a version."""
    return str(parse_version(text))


def parse_version(text: str) -> Version:
    """A version (PEP 440) of at most LONGEST_VERSION characters. Raises InvalidVersion, which is a ValueError."""
    if len(text) > LONGEST_VERSION:
        raise InvalidVersion(f"{text[:20]!r}... is not a version: it is longer than {LONGEST_VERSION} characters")
    try:
        return Version(text)
    except InvalidVersion as error:
        raise InvalidVersion(f"{text!r} is not a PEP 440 version such as 1.2.0") from error


def parse_specifiers(text: str) -> SpecifierSet:
    """PEP 440 specifiers, where '*' is any version. Raises InvalidSpecifier, which is a ValueError."""
    parts = text.split(",")
    if len(parts) > _MOST_SPECIFIERS:
        raise InvalidSpecifier(f"has {len(parts):,} specifiers; at most {_MOST_SPECIFIERS} are read")
    if any(len(part.strip(" <>=!~")) > LONGEST_VERSION for part in parts):
        raise InvalidSpecifier(f"has a version of more than {LONGEST_VERSION} characters: {text[:20]!r}...")
    return SpecifierSet("" if text == "*" else text)


def check_specifiers(table: dict[str, str], what: str) -> dict[str, str]:
    """Normalised names and PEP 440 specifiers; `what` is the table's name. Raises ValueError."""
    result = {}
    for name, specifier in table.items():
        normal = check_name(name)
        if normal in result:
            raise ValueError(f"{what} names {normal!r} twice")
        try:
            result[normal] = str(parse_specifiers(specifier)) or "*"
        except InvalidSpecifier as error:
            shown = repr(specifier) if len(specifier) <= LONGEST_VERSION else f"{specifier[:20]!r}..."
            raise ValueError(f"{what}.{name}: {shown} is not a PEP 440 specifier such as '>=1,<2' or '*'") from error
    return result


def check_digest(value: str | None, key: str) -> None:
    """Raises ValueError when the value of `key` is neither None nor `sha256:` and a digest."""
    if value is not None and not _DIGEST.fullmatch(value):
        raise ValueError(f"{key} must be 'sha256:' followed by 64 hexadecimal digits, not {value!r}")


def check_sha256(value: str, key: str) -> None:
    """Raises ValueError when the value of `key` is not a hexadecimal SHA-256."""
    if not _SHA256.fullmatch(value):
        raise ValueError(f"{key} must be 64 hexadecimal digits, not {value!r}")


def check_line(value: str, key: str) -> None:
    """Raises ValueError when the value of `key` could pass for another line of a message, or hides what it is."""
    if not value.isprintable():
        raise ValueError(f"{key} must be one line of printable characters, not {value!r}")


def check_seed(value: int) -> None:
    """Raises ValueError for a seed that no generator of random numbers takes."""
    if not 0 <= value <= MOST_SEED:
        raise ValueError(f"seed must be between 0 and {MOST_SEED}, not {value}")


def cut(text: str, most: int = 200) -> str:
    """A text that somebody else wrote, of which no more than so many characters are shown."""
    return text if len(text) <= most else f"{text[:most]}..."


def check_path(value: str, key: str) -> None:
    """Raises ValueError when the value of `key` is not a relative path that stays inside its folder."""
    path = PurePosixPath(value)
    if is_url(value):
        raise ValueError(f"{key} must be a path inside the patch's folder, but {value[:80]!r} is a URL")
    if not value or "\\" in value or "\0" in value or path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{key} must be a path inside the patch's folder, not {value!r}")
