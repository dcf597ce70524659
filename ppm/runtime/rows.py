"""Banks in memory, as a backbone holds them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ppm.bank import Router
from ppm.bank_table import Turn
from ppm.runtime.arrangements.base import Arrangement

__all__ = ["Row"]


@dataclass(frozen=True)
class Row:
    """A bank in memory: its blocks, each (virtual_tokens, hidden_size), and their arrangement. No block is no patch.

    With a `router` they stand in front of the prompts for which it picks them. Without one, `answers_to` is the turn
    after which a text sees them, the last of its kind; None where all of it does.
    """

    blocks: tuple[torch.Tensor, ...]
    arrangement: Arrangement
    router: Router | None = None
    answers_to: Turn | None = None

    @property
    def several(self) -> bool:
        """Whether a prompt may meet several blocks that don't see each other."""
        together = self.arrangement.name == "isolated" if self.router is None else self.router.several
        return together and len(self.blocks) > 1

    def seen_after(self, numbers: Sequence[int]) -> Turn | None:
        """After which turn a text sees those of its blocks, the last of its kind; None where all of it does."""
        return self.answers_to if self.router is None else self.router.seen_after(numbers)

    @property
    def turn_seen(self) -> Turn | None:
        """The turn after which a text sees those of its blocks that are for answers alone; None where none is."""
        return self.answers_to if self.router is None else self.router.seen_after(self.router.answers_only)

    @property
    def columns(self) -> int:
        """How many columns of keys and values it takes at most."""
        sizes = [len(block) for block in self.blocks]
        return sum(sizes) if self.router is None or self.router.several else max(sizes)
