"""Who signed what a user took of an index before, and which Sigstore authorities vouched for that: noted at the first
time, and asked about when it changes.
"""

from collections.abc import Callable

from ppm.errors import IntegrityError
from ppm.index.bundle import authorities
from ppm.index.keys import key_id
from ppm.index.publishers import Publisher
from ppm.index.trust import TrustedIndex, read_authorities, read_pins, shown_url, write_authorities, write_pin

__all__ = ["Pins"]


class Pins:
    """The pins of one index. `root` gives the trusted root of its Sigstore instance."""

    def __init__(self, index: TrustedIndex, root: Callable[[], bytes]) -> None:
        self._index = index
        self._root = root

    def check(self, name: str, signed_by: str, owner: Publisher, where: str) -> None:
        """Raises IntegrityError for a key or identity that is none of those that a name was accepted with."""
        accepted = read_pins(self._index).get(name)
        if accepted is None or signed_by in accepted:
            return
        now, then = owner.shown(signed_by), owner.shown(accepted[0])
        kind = "identity" if owner.identity(signed_by) is not None else "key"
        raise IntegrityError(
            f"is signed by another {kind} than {name} was before (now {now}, then {then})",
            context=where,
            hint=f"ask its publisher; if the change is right: {self._accepting(name)}",
        )

    def check_advisory(self, name: str, keyid: str, where: str) -> None:
        """Raises IntegrityError for another key than those of the patch."""
        accepted = read_pins(self._index).get(name)
        if accepted is not None and keyid not in accepted:
            hint = f"ask the publisher; if the change of keys is right: {self._accepting(name)}"
            raise IntegrityError("is signed by another key than its patch was", context=where, hint=hint)

    def take(self, name: str, signed_by: str, owner: Publisher, where: str) -> None:
        """The same as `check`, of what is taken: what comes first is noted, and another authority refused."""
        self.check(name, signed_by, owner, where)
        is_identity = owner.identity(signed_by) is not None
        if is_identity:
            self._check_authorities(name, where)
        if name not in read_pins(self._index):
            keys = map(key_id, owner.keys) if is_identity else ()  # its advisories are signed with one
            write_pin(self._index, name, (signed_by, *sorted(keys)))

    def accept(self, name: str, owner: Publisher) -> None:
        """Accept all keys and identities that the publisher of a name has now, and who vouches for these."""
        if owner.identities:
            write_authorities(self._index, self._authorities())
        write_pin(self._index, name, owner.ids)

    def _check_authorities(self, name: str, where: str) -> None:
        """Raises IntegrityError where others than before vouch for identities: they could sign as anybody."""
        found, accepted = self._authorities(), read_authorities(self._index)
        if not accepted:
            write_authorities(self._index, found)
        elif not set(found) <= set(accepted):
            raise IntegrityError(
                "is signed by an identity, and the index lets another Sigstore authority vouch for it than before",
                context=where,
                hint=f"ask whoever runs the index; if the change is right: {self._accepting(name)}",
            )

    def _authorities(self) -> tuple[str, ...]:
        return authorities(self._root(), shown_url(self._index.url))

    def _accepting(self, name: str) -> str:
        return f"ppm source accept {self._index.name} {name}"
