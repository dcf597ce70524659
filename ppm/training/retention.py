"""Retention: how far a prefix moves the base on benign texts, KL(base || patched)."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from ppm.evaluation.scoring import ScoredText, log_probabilities
from ppm.manifest import Placement
from ppm.runtime.model import UNPATCHED, attach, backbone_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Target", "divergence", "retention_of", "unpatched_target"]

Target = Callable[[Sequence[ScoredText]], torch.Tensor]
"""The base's log-probabilities (tokens, vocabulary) of the completions of some texts."""


def unpatched_target(patched: "PreTrainedModel") -> Target:
    """The base's own view, from a model that `attach` returned: its rows without any prefix."""

    def target(texts: Sequence[ScoredText]) -> torch.Tensor:
        with torch.no_grad(), backbone_of(patched).select([UNPATCHED] * len(texts)):
            return log_probabilities(patched, texts)

    return target


def divergence(model: "PreTrainedModel", texts: Sequence[ScoredText], target: Target) -> torch.Tensor:
    """Sum over the completions' tokens of KL(base || model), in nats."""
    wanted = target(texts)
    return torch.nn.functional.kl_div(log_probabilities(model, texts), wanted, reduction="sum", log_target=True)


@torch.inference_mode()
def retention_of(
    model: "PreTrainedModel", prefix: torch.Tensor, texts: Sequence[ScoredText], placement: Placement
) -> float:
    """Mean over benign texts of KL(base || patched) a token, in nats, for a prefix that is not being trained."""
    patched = attach(model, [prefix], placement=placement)
    target = unpatched_target(patched)
    parts = [list(texts[i : i + 32]) for i in range(0, len(texts), 32)]
    return sum(float(divergence(patched, part, target)) for part in parts) / sum(len(t.completion) for t in texts)
