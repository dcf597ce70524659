"""Who may publish what: publishers, what they sign with and their names, in lists that the offline targets key signs.

A name is in the list that its digest says, so that nobody has to fetch the others.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from ppm.errors import IntegrityError
from ppm.index.identity import Identity
from ppm.index.keys import key_id
from ppm.index.layout import PUBLISHERS, publishers_path
from ppm.index.parsing import read_json, write_json
from ppm.names import check_name

__all__ = ["Publisher", "Publishers"]

SCHEMA = 1
_KEY = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Publisher:
    """One publisher: its public ed25519 keys in hexadecimal or its Sigstore identities, and the names that are its own.

    What it signs with is known by the id of that key or identity.
    """

    name: str
    keys: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    identities: tuple[Identity, ...] = ()

    def __post_init__(self) -> None:
        for name in (self.name, *self.names):
            if check_name(name) != name:
                raise ValueError(f"{name!r} is not in its normal form")
        if not all(_KEY.fullmatch(key) for key in self.keys):
            raise ValueError("keys must be public ed25519 keys of 64 hexadecimal digits")
        if not self.keys and not self.identities:
            raise ValueError("a publisher must have at least one key or identity")

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """What it may sign with, sorted."""
        return tuple(sorted((*map(key_id, self.keys), *(one.id for one in self.identities))))

    def identity(self, id_: str) -> Identity | None:
        """The identity with an id."""
        return next((one for one in self.identities if one.id == id_), None)

    def shown(self, id_: str) -> str:
        """An identity, or the beginning of a key's id, for messages."""
        return str(self.identity(id_) or f"{id_[:12]}...")


@dataclass(frozen=True)
class Publishers:
    """Publishers of an index, all or those of one list. A name has one publisher."""

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

    @staticmethod
    def join(lists: Iterable["Publishers"]) -> "Publishers":
        """All publishers of several lists. Raises IntegrityError: they contradict each other."""
        found: dict[str, tuple[Publisher, list[str]]] = {}
        for publisher in (publisher for one in lists for publisher in one.publishers):
            first, names = found.setdefault(publisher.name, (publisher, []))
            if (first.keys, first.identities) != (publisher.keys, publisher.identities):
                raise IntegrityError(f"has two lists of the keys of {publisher.name}", context=PUBLISHERS)
            names += publisher.names
        try:
            return Publishers(
                tuple(replace(first, names=tuple(sorted(names))) for _, (first, names) in sorted(found.items()))
            )
        except ValueError as error:
            raise IntegrityError(str(error), context=PUBLISHERS) from error

    def split(self) -> dict[str, "Publishers"]:
        """The lists by their paths. A publisher is in those of its names, and in that of its own name in any case."""
        found: dict[str, list[Publisher]] = {}
        for publisher in sorted(self.publishers, key=lambda one: one.name):
            names: dict[str, list[str]] = {publishers_path(publisher.name): []}
            for name in publisher.names:
                names.setdefault(publishers_path(name), []).append(name)
            for path, own in names.items():
                found.setdefault(path, []).append(replace(publisher, names=tuple(own)))
        return {path: Publishers(tuple(publishers)) for path, publishers in sorted(found.items())}

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
