"""What an export target is: it writes a bank in a form of its own, or refuses what would not be exact there."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch

from ppm.bank import Bank
from ppm.errors import ModelError
from ppm.manifest import Placement

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Exported", "Reading", "Target", "check_joined"]

Exported = tuple[torch.Tensor, tuple[int, ...]]
"""What a form says after a prompt: the next token's logits (vocabulary), and the most likely tokens, one by one."""


@dataclass(frozen=True)
class Reading:
    """How a form is read: Python that does it, and what whoever does has to mind."""

    code: str
    pitfalls: tuple[str, ...]


class Target(Protocol):
    """A form in which other software reads a bank. What it offers is listed in `ppm.runtime.export.registry`."""

    summary: str
    """One line for lists."""

    def check(self, bank: Bank, placement: Placement) -> None:
        """Raises ModelError for a bank that can't be exact in this form. Needs no model."""

    def write(self, bank: Bank, placement: Placement, folder: Path, *, base: str = "") -> list[Path]:
        """Write the bank into a folder, and return the files once they have been read back and compared.

        `base` is what the base model is called. Raises ModelError for a bank that can't be exact in this form, and
        EnvironmentStateError where the disk fails.
        """
        ...

    def answer(self, model: "PreTrainedModel", folder: Path, prompt: tuple[int, ...], tokens: int) -> Exported:
        """What was written makes of a prompt, read as others read it: so many greedy tokens, or up to an end token."""
        ...

    def reading(self, placement: Placement) -> Reading:
        """How it is read."""
        ...


_IN_THE_WAY = {
    "routed": "what is to be exported stands behind triggers",
    "isolated": "the blocks of what is to be exported stand side by side",
    "joined": "answers alone see what is to be exported",
}
"""What a plain row of embeddings can't hold, by a bank's arrangement."""


def check_joined(bank: Bank, target: str) -> None:
    """Raises ModelError for no bank, and for one that is not a plain row of embeddings."""
    if not bank:
        raise ModelError("there is no patch to export", hint="install one first")
    if bank.arrangement != "joined" or bank.answers_to is not None:
        raise ModelError(
            f"{_IN_THE_WAY[bank.arrangement]}, but {target} takes a plain row of embeddings, which is always on",
            hint="serve it with ppm (`ppm.load`), or deploy one prefix: ppm install PATCHES --strategy exportable",
        )
