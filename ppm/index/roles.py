"""The roles of an index: who signs what, for how long, and what a new index begins with.

`root` and `targets` are offline: they say whose keys count, and who publishes what. `bins`, `snapshot` and `timestamp`
are online: whoever has their keys can withhold and reorder, but not forge, for publishers sign too.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Delegations, Root, Snapshot, SuccinctRoles, Targets, Timestamp

from ppm.index.layout import BINS

__all__ = [
    "LIFETIMES",
    "OFFLINE",
    "ROLES",
    "RoleName",
    "SignedRole",
    "bins_for",
    "bins_of",
    "expiry",
    "first_root",
    "first_targets",
    "renewal",
    "signed_roles",
]

RoleName = Literal["root", "targets", "bins", "snapshot", "timestamp"]
ROLES: tuple[RoleName, ...] = ("root", "targets", "bins", "snapshot", "timestamp")
OFFLINE = ("root", "targets")
FEWEST_BINS, MOST_BINS = 64, 2**14
"""How many bins are made where nobody says how many."""
LIFETIMES: Mapping[RoleName, timedelta] = {
    "root": timedelta(days=365),
    "targets": timedelta(days=365),
    "bins": timedelta(days=90),
    "snapshot": timedelta(days=14),
    "timestamp": timedelta(days=7),
}
"""How long what a role signs is valid: a client that gets nothing newer refuses it after that."""


@dataclass(frozen=True)
class SignedRole:
    """What a role has signed last: until when it counts, and how many of which keys must sign. `keys` are their ids."""

    name: RoleName
    version: int
    expires: datetime
    keys: tuple[str, ...]
    threshold: int


def signed_roles(
    root: Root, targets: Targets, snapshot: Snapshot, timestamp: Timestamp, bins: Iterable[Targets]
) -> list[SignedRole]:
    """How the roles of an index stand. Of the bins, the one that expires first."""
    first = min(bins, key=lambda one: one.expires)
    signed: Mapping[RoleName, Root | Targets | Snapshot | Timestamp] = {
        "root": root,
        "targets": targets,
        "bins": first,
        "snapshot": snapshot,
        "timestamp": timestamp,
    }
    found = []
    for name in ROLES:
        role = bins_of(targets) if name == "bins" else root.roles[name]
        last = signed[name]
        found.append(SignedRole(name, last.version, last.expires, tuple(sorted(role.keyids)), role.threshold))
    return found


def bins_of(targets: Targets) -> SuccinctRoles:
    """The bins of an index. Raises RepositoryError where what lists its publishers delegates otherwise."""
    delegations = targets.delegations
    if delegations is None or delegations.succinct_roles is None:
        raise RepositoryError("it has other roles than an index")
    return delegations.succinct_roles


def bins_for(names: int) -> int:
    """How many bins an index of so many names should have.

    A client fetches the list of all bins and a few bins whole, so both should grow with the root of the names.
    """
    return min(MOST_BINS, max(FEWEST_BINS, 1 << (math.isqrt(16 * names).bit_length() - 1)))


def expiry(role: RoleName, now: datetime) -> datetime:
    """Until when what a role signs now is valid: a whole second."""
    return (now + LIFETIMES[role]).replace(microsecond=0)


def renewal(role: RoleName, expires: datetime) -> datetime:
    """From when on what expires then is to be signed anew: half of its life before."""
    return expires - LIFETIMES[role] / 2


def first_root(
    root_keys: Sequence[CryptoSigner], threshold: int, others: Mapping[RoleName, CryptoSigner], now: datetime
) -> Root:
    """The first root: the keys of every role that it delegates to."""
    root = Root(version=1, expires=expiry("root", now), consistent_snapshot=True)
    for signer in root_keys:
        root.add_key(signer.public_key, Root.type)
    for role in (Targets.type, Snapshot.type, Timestamp.type):
        root.add_key(next(signer for name, signer in others.items() if name == role).public_key, role)
    root.roles[Root.type].threshold = threshold
    return root


def first_targets(bins_key: CryptoSigner, bit_length: int, now: datetime) -> Targets:
    """The top-level targets: no file yet, and everything else delegated to 2 ** bit_length bins."""
    key = bins_key.public_key
    bins = SuccinctRoles([key.keyid], 1, bit_length, BINS)
    delegations = Delegations({key.keyid: key}, succinct_roles=bins)
    return Targets(version=1, expires=expiry("targets", now), delegations=delegations)
