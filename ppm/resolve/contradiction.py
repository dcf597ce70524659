"""What contradicts what, when no set of patches fits: facts that suffice to prove it.

A set of versions of one name is a bit mask, as a universe has it.
"""

from dataclasses import dataclass

from packaging.version import Version

from ppm.requirement import Requirement

__all__ = ["Asked", "Clashes", "Contradiction", "Crowd", "Fact", "Needs", "Stays"]


@dataclass(frozen=True)
class Asked:
    """The request holds this requirement."""

    requirement: Requirement


@dataclass(frozen=True)
class Stays:
    """A hold keeps this patch in, at this version."""

    name: str
    version: Version


@dataclass(frozen=True)
class Needs:
    """These versions of a patch depend on a name."""

    name: str
    mask: int
    needed: str


@dataclass(frozen=True)
class Clashes:
    """These versions of a patch rule out those of another."""

    name: str
    mask: int
    other: str
    other_mask: int


@dataclass(frozen=True)
class Crowd:
    """All of these patches are needed, and each of their versions is in a group of which no two go together.

    There are fewer groups than patches. A group has versions by name. That no two of a group go together follows from
    the other facts.
    """

    names: tuple[str, ...]
    groups: tuple[tuple[tuple[str, int], ...], ...]


Fact = Asked | Stays | Needs | Clashes | Crowd


class Contradiction(Exception):
    """No set of patches satisfies the requirements; `facts` alone suffice to prove it."""

    def __init__(self, facts: tuple[Fact, ...]) -> None:
        super().__init__("no solution")
        self.facts = facts
