"""Joined blocks: one after the other, later ones see earlier ones."""

from collections.abc import Sequence

import torch

from ppm.bank import ArrangementName
from ppm.runtime.arrangements.base import Prefill, Run

__all__ = ["Joined"]


class Joined:
    """All blocks in one pass, as if they had been one matrix."""

    name: ArrangementName = "joined"

    def room(self, sizes: Sequence[int]) -> int:
        return sum(sizes)

    def prefill(self, blocks: Sequence[torch.Tensor], lead: torch.Tensor | None, run: Run) -> Prefill:
        embeds = torch.cat([*([] if lead is None else [lead]), *blocks])
        positions = torch.arange(len(embeds), device=embeds.device)
        layers, last = run(embeds[None], positions[None])
        return Prefill(layers, positions, len(embeds), last)
