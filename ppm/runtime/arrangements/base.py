"""What an arrangement is: it turns a bank's blocks into keys and values that stand before a text."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from ppm.bank import ArrangementName

__all__ = ["Arrangement", "Layers", "Prefill", "Run"]

Layers = tuple[tuple[torch.Tensor, torch.Tensor] | None, ...]
"""Keys and values of every layer, each (1, heads, P, head_dim); None for a layer that uses another one's."""
Run = Callable[[torch.Tensor, torch.Tensor], tuple[Layers, torch.Tensor]]
"""The base's backbone on embeddings (1, P, hidden_size) at positions (1, P), all of which see what stands before: their
keys and values, and the last one's hidden state (hidden_size,)."""


@dataclass(frozen=True)
class Prefill:
    """What stands before a text: P columns of keys and values, and where they stand.

    `positions` (P,) are theirs, `end` is that of the text's first token. A token that sees any column sees all.
    `last` (hidden_size,) is the hidden state that says what comes right after them.
    """

    layers: Layers
    positions: torch.Tensor
    end: int
    last: torch.Tensor


class Arrangement(Protocol):
    """A way for blocks, each (virtual_tokens, hidden_size), to meet a prompt."""

    name: ArrangementName
    """As a bank has it."""

    def room(self, sizes: Sequence[int]) -> int:
        """How many positions blocks of these many virtual tokens take from the text."""
        ...

    def prefill(self, blocks: Sequence[torch.Tensor], lead: torch.Tensor | None, run: Run) -> Prefill:
        """The keys and values of the blocks that a text meets together.

        `lead` (1, hidden_size) is the real token that stands before them, if any. Where blocks take gradients, these
        reach them through the result.
        """
        ...
