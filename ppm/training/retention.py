"""Retention: how far a prefix moves the base on benign texts, KL(base || patched)."""

from collections.abc import Sequence
from typing import Any

import torch

from ppm.evaluation.scoring import ScoredText, log_probabilities
from ppm.manifest import Placement
from ppm.prefix.model import UNPATCHED, attach, backbone_of

__all__ = ["retention_loss", "retention_of"]


def retention_loss(patched: Any, texts: Sequence[ScoredText]) -> torch.Tensor:
    """Mean over the completions' tokens of KL(base || patched), in nats; gradients reach the prefix only."""
    with torch.no_grad(), backbone_of(patched).select([UNPATCHED] * len(texts)):
        target = log_probabilities(patched, texts)
    found = log_probabilities(patched, texts)
    return torch.nn.functional.kl_div(found, target, reduction="batchmean", log_target=True)


@torch.inference_mode()
def retention_of(model: Any, prefix: torch.Tensor, texts: Sequence[ScoredText], placement: Placement) -> float:
    """Mean over benign texts of KL(base || patched) a token, in nats, for a prefix that is not being trained."""
    patched = attach(model, [prefix], placement=placement)
    parts = [list(texts[i : i + 32]) for i in range(0, len(texts), 32)]
    tokens = [sum(len(text.completion) for text in part) for part in parts]
    return sum(float(retention_loss(patched, part)) * n for part, n in zip(parts, tokens, strict=True)) / sum(tokens)
