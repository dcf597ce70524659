"""Who signed what a user took of an index before, and which Sigstore authorities vouched for that: noted at the first
time, and asked about when it changes.
"""

from collections.abc import Callable

from ppm.errors import IntegrityError
from ppm.index.bundle import authorities
from ppm.index.keys import key_id
from ppm.index.publishers import Publisher
from ppm.index.trust import (
    TrustedIndex,
    read_advisory_keys,
    read_authorities,
    read_pins,
    shown_url,
    write_authorities,
    write_pin,
)

__all__ = ["Pins"]


class Pins:
    """The pins of one index. `root` gives the trusted root of its Sigstore instance."""

    def __init__(self, index: TrustedIndex, root: Callable[[], bytes]) -> None:
        self._index = index
        self._root = root

    def check(self, name: str, signed_by: str, owner: Publisher, where: str) -> None:
        """Raises IntegrityError for a key or identity that is none of those that a name was accepted with.

        For an identity, also where another authority than before vouches for it: that one could sign as anybody.
        """
        accepted = read_pins(self._index).get(name)
        is_identity = owner.identity(signed_by) is not None
        if accepted is not None and signed_by not in accepted:
            now, then = owner.shown(signed_by), owner.shown(accepted[0])
            raise IntegrityError(
                f"is signed by another {'identity' if is_identity else 'key'} than {name} was before (now {now}, "
                f"then {then})",
                context=where,
                hint=f"ask its publisher; if the change is right: {self._accepting(name)}",
            )
        known = read_authorities(self._index)
        if is_identity and known and not set(self._authorities()) <= set(known):
            raise IntegrityError(
                "is signed by an identity, and the index lets another Sigstore authority vouch for it than before",
                context=where,
                hint="ask whoever runs the index; if the change is right, this accepts it for all of its patches: "
                + self._accepting(name),
            )

    def check_advisory(self, name: str, keyid: str, where: str) -> None:
        """Raises IntegrityError for another key than those of the patch."""
        accepted = read_pins(self._index).get(name)
        if accepted is not None and keyid not in (*accepted, *read_advisory_keys(self._index, name)):
            hint = f"ask the publisher; if the change of keys is right: {self._accepting(name)}"
            raise IntegrityError("is signed by another key than its patch was", context=where, hint=hint)

    def take(self, name: str, signed_by: str, owner: Publisher, where: str) -> None:
        """The same as `check`, of what is taken: what comes first is noted."""
        self.check(name, signed_by, owner, where)
        is_identity = owner.identity(signed_by) is not None
        if is_identity and not read_authorities(self._index):
            write_authorities(self._index, self._authorities())
        if name not in read_pins(self._index):
            # Nobody signs an advisory as an identity.
            write_pin(self._index, name, (signed_by,), tuple(sorted(map(key_id, owner.keys))) if is_identity else ())

    def accept(self, name: str, owner: Publisher) -> tuple[str, ...]:
        """Accept all keys and identities that the publisher of a name has now, and who vouches for these.

        Gives the digests of the authorities that count from now on, for all patches of the index, and did not before.
        """
        added: tuple[str, ...] = ()
        if owner.identities:
            known, found = read_authorities(self._index), self._authorities()
            added = tuple(digest for digest in found if digest not in known)
            write_authorities(self._index, found)
        write_pin(self._index, name, owner.ids)
        return added

    def _authorities(self) -> tuple[str, ...]:
        return authorities(self._root(), shown_url(self._index.url))

    def _accepting(self, name: str) -> str:
        return f"ppm source accept {self._index.name} {name}"
