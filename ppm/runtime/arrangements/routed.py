"""Routed blocks: a router picks one of them for each prompt, or none."""

from collections.abc import Sequence

import torch

from ppm.bank import ArrangementName
from ppm.runtime.arrangements.base import Prefill, Run
from ppm.runtime.arrangements.joined import Joined

__all__ = ["Routed"]


class Routed:
    """Blocks of which each stands in front of a prompt as a joined one does, where it is picked."""

    name: ArrangementName = "routed"

    def room(self, sizes: Sequence[int]) -> int:
        return max(sizes)

    def prefills(self, blocks: Sequence[torch.Tensor], lead: torch.Tensor | None, run: Run) -> list[Prefill]:
        return [found for block in blocks for found in Joined().prefills([block], lead, run)]
