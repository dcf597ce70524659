"""The self-check of an export: what was written must answer as the patched model of ppm does."""

from collections.abc import Sequence
from pathlib import Path

import torch

from ppm.bank import Bank
from ppm.errors import ModelError
from ppm.manifest import Placement
from ppm.runtime.export.base import Target
from ppm.runtime.loading import LoadedBase
from ppm.runtime.model import attach

__all__ = ["GREEDY", "prove_export"]

GREEDY = 12
"""How many tokens are compared after each prompt."""
TOLERANCE = 1e-3
"""How far two logits may be apart, as a share of the largest: what other orders of summing make of float32."""


@torch.inference_mode()
def prove_export(
    base: LoadedBase,
    bank: Bank,
    placement: Placement,
    target: Target,
    folder: Path,
    prompts: Sequence[tuple[int, ...]],
) -> float:
    """The largest difference between the logits of the two, after each prompt and on its own.

    Raises ModelError where the next token's logits differ by more than rounding, or a greedy token does.
    """
    patched = attach(base.model, [bank], placement=placement, kept=base.kept)
    tolerance = TOLERANCE if base.model.dtype == torch.float32 else 0.05
    farthest = 0.0
    for prompt in prompts:
        logits, made = _own(patched, prompt, base.model.device)
        theirs, tokens = target.answer(base.model, folder, prompt, GREEDY)
        apart = float((logits - theirs).abs().max())
        farthest = max(farthest, apart)
        if not tokens or made[: len(tokens)] != tokens or not apart <= tolerance * max(1.0, float(logits.abs().max())):
            raise ModelError(
                f"what was exported does not answer as the patched model does (logits differ by {apart:.2g})",
                context=str(getattr(base.model, "name_or_path", "")),
                hint="serve it with ppm (`ppm.load`): on this model the other form is not exact",
            )
    return farthest


def _own(
    patched: torch.nn.Module, prompt: tuple[int, ...], device: torch.device
) -> tuple[torch.Tensor, tuple[int, ...]]:
    """The next token's logits, and the greedy tokens, each from the whole text."""
    made: list[int] = []
    first = None
    for _ in range(GREEDY):
        ids = torch.tensor([(*prompt, *made)], device=device)
        logits = patched(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, -1].float()
        first = logits if first is None else first
        made.append(int(logits.argmax()))
    assert first is not None
    return first, tuple(made)
