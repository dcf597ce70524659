"""Banks in memory, as a backbone holds them."""

from dataclasses import dataclass

import torch

from ppm.bank import Router
from ppm.runtime.arrangements.base import Arrangement

__all__ = ["Row"]


@dataclass(frozen=True)
class Row:
    """A bank in memory: its blocks, each (virtual_tokens, hidden_size), and their arrangement. No block is no patch.

    With a `router` they stand in front of the prompts for which it picks them.
    """

    blocks: tuple[torch.Tensor, ...]
    arrangement: Arrangement
    router: Router | None = None

    @property
    def several(self) -> bool:
        """Whether a prompt may meet several blocks that don't see each other."""
        together = self.arrangement.name == "isolated" if self.router is None else self.router.several
        return together and len(self.blocks) > 1

    @property
    def columns(self) -> int:
        """How many columns of keys and values it takes at most."""
        sizes = [len(block) for block in self.blocks]
        return sum(sizes) if self.router is None or self.router.several else max(sizes)
