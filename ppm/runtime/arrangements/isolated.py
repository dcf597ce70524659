"""Isolated blocks: each by itself, as if no other were there, and a text that sees all of them."""

from collections.abc import Sequence

import torch

from ppm.bank import ArrangementName
from ppm.runtime.arrangements.base import Layers, Prefill, Run

__all__ = ["Isolated"]


class Isolated:
    """Blocks that don't see each other: the keys and values of each come from a pass of its own.

    They are aligned at their ends, so that each stands as far from the text as it does alone. Where positions are
    learned, a shorter block among longer ones has others than it has alone. What is said right after the blocks, before
    any token of the text, the last one says.
    """

    name: ArrangementName = "isolated"

    def room(self, sizes: Sequence[int]) -> int:
        return max(sizes)

    def prefill(self, blocks: Sequence[torch.Tensor], lead: torch.Tensor | None, run: Run) -> Prefill:
        first = 0 if lead is None else len(lead)
        end = first + max(len(block) for block in blocks)
        device = blocks[0].device
        layers: list[Layers] = []
        positions: list[torch.Tensor] = []
        for number, block in enumerate(blocks):
            own = torch.cat([torch.arange(first, device=device), torch.arange(end - len(block), end, device=device)])
            embeds = block if lead is None else torch.cat([lead, block])
            found, last = run(embeds[None], own[None])
            skipped = first if number else 0  # the token before them stands there once
            layers.append(_from(found, skipped))
            positions.append(own[skipped:])
        return Prefill(_beside(layers), torch.cat(positions), end, last)


def _from(layers: Layers, start: int) -> Layers:
    return tuple(None if layer is None else (layer[0][:, :, start:], layer[1][:, :, start:]) for layer in layers)


def _beside(parts: Sequence[Layers]) -> Layers:
    """The keys and values of several runs, side by side."""
    joined = []
    for same in zip(*parts, strict=True):
        kept = [layer for layer in same if layer is not None]
        joined.append((torch.cat([k for k, _ in kept], 2), torch.cat([v for _, v in kept], 2)) if kept else None)
    return tuple(joined)
