"""What a user asks for: a name and the versions that will do."""

from dataclasses import dataclass
from functools import lru_cache

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion

from ppm.errors import RequestError
from ppm.names import check_name, parse_specifiers, parse_version

__all__ = ["Requirement", "check_requirement", "parse_name", "parse_requirement", "parse_specifier", "phrase"]


_LONGEST_SHOWN = 500


@dataclass(frozen=True)
class Requirement:
    """A normalised name and a PEP 440 specifier; `text` is how the user put it, `origin` where, such as a file."""

    name: str
    specifier: SpecifierSet
    text: str
    origin: str = ""

    @property
    def pinned(self) -> str | None:
        """The one version that it names with == (or ===), as written; None when it lets several in."""
        exact = [s.version for s in self.specifier if s.operator in ("==", "===") and not s.version.endswith(".*")]
        return next((version for version in exact if _is_version(version)), None)


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


def parse_requirement(text: str, origin: str = "") -> Requirement:
    """`toxicity`, `toxicity>=1,<2` or `toxicity==1.0.0`. Raises RequestError for anything else."""
    # Imported here: it takes longer than everything else in this module.
    from packaging.requirements import InvalidRequirement
    from packaging.requirements import Requirement as Pep508

    hint = "write a name and, if need be, versions, such as 'toxicity>=1,<2'"
    shown = repr(text) if len(text) <= _LONGEST_SHOWN else f"{text[:20]!r}..."
    try:
        parsed = Pep508(text.strip())
        name = check_name(parsed.name)
        parse_specifiers(str(parsed.specifier))
    except (InvalidRequirement, InvalidSpecifier, ValueError) as error:
        raise RequestError(f"{shown} is not a requirement", context=origin, hint=hint) from error
    for part, found in (("extras", parsed.extras), ("a marker", parsed.marker), ("a URL", parsed.url)):
        if found:
            raise RequestError(f"{text!r} has {part}, which a patch does not have", context=origin, hint=hint)
    return Requirement(name, parsed.specifier, text.strip(), origin)


def parse_name(text: str) -> str:
    """A name alone, normalised. Raises RequestError, for versions too."""
    wish = parse_requirement(text)
    if str(wish.specifier):
        raise RequestError(f"{text!r} has versions, and only a name is meant", hint=f"say {wish.name}")
    return wish.name


def check_requirement(text: str, key: str) -> None:
    """Raises ValueError when an entry of the list `key` of ppm.toml or ppm.lock is not a requirement."""
    if text.endswith(".ppm") and key == "patches":
        return
    # Imported here: it takes longer than reading a lock.
    from packaging.requirements import InvalidRequirement, Requirement

    shown = repr(text) if len(text) <= _LONGEST_SHOWN else f"{text[:20]!r}..."
    try:
        parse_specifiers(str(Requirement(text).specifier))
    except (InvalidRequirement, ValueError) as error:
        raise ValueError(f"{key}: {shown} is not a requirement such as 'toxicity>=1,<2'") from error
