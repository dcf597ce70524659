"""Replay: which pairs of earlier patches are mixed into the training on a later one."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from ppm.composition.options import Policy
from ppm.jsonl import Pair

__all__ = ["ReplayBuffer", "mix"]


@dataclass
class ReplayBuffer:
    """Pairs of the patches seen so far, at most `capacity` of them (0: all).

    `balanced` keeps the same number of pairs of each patch, and at least one. `reservoir` keeps every pair seen so far
    with the same probability, so it keeps more pairs of a patch that has more (Vitter 1985, algorithm R).
    """

    rng: random.Random
    policy: Policy = "balanced"
    capacity: int = 0
    kept: dict[str, list[Pair]] = field(default_factory=dict)
    seen: int = 0

    def add(self, name: str, pairs: Sequence[Pair]) -> None:
        """Take in the pairs of one more patch."""
        if self.policy == "balanced" or self.capacity == 0:
            self.kept[name] = list(pairs)
            share = max(1, self.capacity // len(self.kept)) if self.capacity else None
            for other, rows in self.kept.items():
                self.kept[other] = rows if share is None or len(rows) <= share else self.rng.sample(rows, share)
            return
        slots = [(other, pair) for other, rows in self.kept.items() for pair in rows]
        for pair in pairs:
            self.seen += 1
            if len(slots) < self.capacity:
                slots.append((name, pair))
            elif (place := self.rng.randrange(self.seen)) < self.capacity:
                slots[place] = (name, pair)
        self.kept = {}
        for other, pair in slots:
            self.kept.setdefault(other, []).append(pair)

    def draw(self, count: int) -> dict[str, list[Pair]]:
        """`count` pairs by patch: evenly from each when balanced, else evenly from all that is kept.

        A patch that has too few pairs repeats them.
        """
        if self.policy == "balanced":
            shares = {
                name: count // len(self.kept) + (index < count % len(self.kept)) for index, name in enumerate(self.kept)
            }
        else:
            owners = [name for name, rows in self.kept.items() for _ in rows]
            drawn = [owners[i % len(owners)] for i in self.rng.sample(range(max(count, len(owners))), count)]
            shares = {name: drawn.count(name) for name in self.kept}
        return {
            name: [rows[i % len(rows)] for i in self.rng.sample(range(max(shares[name], len(rows))), shares[name])]
            for name, rows in self.kept.items()
        }


def mix(current: Sequence[Pair], buffer: ReplayBuffer, share: float) -> tuple[list[Pair], dict[str, int]]:
    """The current patch's pairs and enough replayed ones to make up `share` of them all, shuffled.

    Also how many pairs of each patch were replayed.
    """
    wanted = round(len(current) * share / (1 - share)) if buffer.kept else 0
    replayed = buffer.draw(wanted) if wanted else {}
    mixed = [*current, *(pair for rows in replayed.values() for pair in rows)]
    buffer.rng.shuffle(mixed)
    return mixed, {name: len(rows) for name, rows in replayed.items()}
