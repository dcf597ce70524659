"""Routed blocks: a router picks them for each prompt, or none. So far there may be one, which is there or not."""

from collections.abc import Sequence

import torch

from ppm.bank import ArrangementName
from ppm.errors import ModelError
from ppm.runtime.arrangements.base import Prefill, Run
from ppm.runtime.arrangements.joined import Joined

__all__ = ["Routed"]


class Routed:
    """One block, which stands in front of a prompt as a joined one does where it is picked."""

    name: ArrangementName = "routed"

    def room(self, sizes: Sequence[int]) -> int:
        """Raises ModelError where there are several blocks, which would have to be picked one by one."""
        if len(sizes) > 1:
            raise ModelError("this version of ppm can't route between several blocks", hint="upgrade ppm")
        return sum(sizes)

    def prefill(self, blocks: Sequence[torch.Tensor], lead: torch.Tensor | None, run: Run) -> Prefill:
        return Joined().prefill(blocks, lead, run)
