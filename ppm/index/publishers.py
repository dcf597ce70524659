"""Who may publish what: the list of publishers, their keys and their names, which the offline targets key signs."""

import re
from dataclasses import dataclass, replace
from functools import cached_property

from ppm.index.layout import PUBLISHERS
from ppm.index.parsing import read_json, write_json
from ppm.names import check_name

__all__ = ["Publisher", "Publishers"]

SCHEMA = 1
_KEY = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Publisher:
    """One publisher: its public ed25519 keys in hexadecimal, and the names that are its own."""

    name: str
    keys: tuple[str, ...]
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in (self.name, *self.names):
            if check_name(name) != name:
                raise ValueError(f"{name!r} is not in its normal form")
        if not self.keys or not all(_KEY.fullmatch(key) for key in self.keys):
            raise ValueError("keys must be public ed25519 keys of 64 hexadecimal digits, at least one")


@dataclass(frozen=True)
class Publishers:
    """All publishers of an index. A name has one publisher."""

    publishers: tuple[Publisher, ...] = ()
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        names = [publisher.name for publisher in self.publishers]
        owned = [name for publisher in self.publishers for name in publisher.names]
        for kind, words in (("publisher", names), ("name", owned)):
            if len(set(words)) < len(words):
                raise ValueError(f"a {kind} is listed twice")

    @staticmethod
    def parse(data: bytes, origin: str = PUBLISHERS) -> "Publishers":
        """From JSON. Raises IntegrityError."""
        return read_json(Publishers, data, origin, schema=SCHEMA)

    def to_bytes(self) -> bytes:
        """As JSON."""
        return write_json(self)

    @cached_property
    def _owners(self) -> dict[str, Publisher]:
        return {name: publisher for publisher in self.publishers for name in publisher.names}

    @cached_property
    def names(self) -> frozenset[str]:
        """Every name that a publisher has."""
        return frozenset(self._owners)

    def owner(self, name: str) -> Publisher | None:
        """The publisher of a name."""
        return self._owners.get(name)

    def find(self, name: str) -> Publisher | None:
        """The publisher that is called so."""
        return next((publisher for publisher in self.publishers if publisher.name == name), None)

    def having(self, publisher: Publisher) -> "Publishers":
        """The same with a publisher, in the place of the one that is called so. Raises ValueError."""
        others = (p for p in self.publishers if p.name != publisher.name)
        return replace(self, publishers=tuple(sorted((*others, publisher), key=lambda p: p.name)))
