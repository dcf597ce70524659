"""Retention: how far a prefix moves the base on benign texts, KL(base || patched)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from ppm.bank import Bank
from ppm.evaluation.scoring import ScoredText
from ppm.manifest import Placement
from ppm.runtime.model import attach
from ppm.training.passes import divergences, reader_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["RETENTION_SCALE", "retention_of"]

RETENTION_SCALE = 0.1
"""A mean divergence on benign texts, in nats a token, that counts as much as a whole margin."""


@torch.no_grad()
def retention_of(
    model: "PreTrainedModel", bank: Bank | torch.Tensor, texts: Sequence[ScoredText], placement: Placement
) -> float:
    """Mean over benign texts of KL(base || patched) a token, in nats.

    For a bank that is always on, or a prefix (virtual_tokens, hidden_size), that is not being trained.
    """
    base, patched = reader_of(attach(model)), reader_of(attach(model, [bank], placement=placement))
    total = 0.0
    for start in range(0, len(texts), 32):
        part = texts[start : start + 32]
        total += float(divergences(patched, patched.hidden(part), base, base.hidden(part)).sum())
    return total / sum(len(text.completion) for text in texts)
