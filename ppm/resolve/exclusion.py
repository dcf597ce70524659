"""Why a release is out: facts with a type. `explanation` alone puts them into words."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from packaging.version import Version

from ppm.requirement import Requirement
from ppm.sources.base import Release

__all__ = [
    "Clash",
    "Constrained",
    "Exclusion",
    "ForAnotherBase",
    "Held",
    "PreRelease",
    "TooNew",
    "Undated",
    "Yanked",
    "clash",
    "is_any",
]


@dataclass(frozen=True)
class Constrained:
    """A constraint of the deployer's does not let it in."""

    by: Requirement


@dataclass(frozen=True)
class Held:
    """Its patch is held at another version."""

    at: Version


@dataclass(frozen=True)
class Yanked:
    """Its publisher took it back, for a reason in the publisher's own words ("" for none); a pin still gets it."""

    reason: str


@dataclass(frozen=True)
class TooNew:
    """It was published after the date that the deployer allows."""

    published: datetime
    limit: datetime


@dataclass(frozen=True)
class Undated:
    """Nobody knows whether it was published after the date that the deployer allows."""

    limit: datetime


@dataclass(frozen=True)
class PreRelease:
    """It is taken only when it is asked for, and a final version could be taken in its place."""


@dataclass(frozen=True)
class ForAnotherBase:
    """It was made for another base model: its tag, and the model's name and commit."""

    base_tag: str
    model: str
    revision: str | None


Exclusion = Constrained | Held | Yanked | TooNew | Undated | PreRelease


@dataclass(frozen=True)
class Clash:
    """A manifest rules another patch out: by `wish`, which that patch is or, when `provider` names it, provides."""

    kind: Literal["conflicts", "replaces"]
    wish: Requirement
    provider: str = ""


def clash(one: Release, other: Release) -> Clash | None:
    """How `one` rules `other` out, or None.

    A conflict with any version of a name also rules out what provides that name, as in Debian; a patch that
    replaces a name rules out only the real patch of that name.
    """
    if one.name == other.name:
        return None
    wish = one.conflicts.get(other.name)
    if wish is not None and wish.specifier.contains(other.version, prereleases=True):
        return Clash("conflicts", wish)
    wish = one.replaces.get(other.name)
    if wish is not None and wish.specifier.contains(other.version, prereleases=True):
        return Clash("replaces", wish)
    for name in other.provides:
        wish = one.conflicts.get(name)
        if wish is not None and name != one.name and is_any(wish):
            return Clash("conflicts", wish, other.name)
    return None


def is_any(requirement: Requirement) -> bool:
    """Whether a requirement lets in every version, and so what only provides the name."""
    return not len(requirement.specifier)
