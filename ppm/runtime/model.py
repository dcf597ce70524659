"""Puts banks in front of a causal LM of transformers, which stays an ordinary one and shares its weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ppm.bank import Bank
from ppm.errors import ModelError
from ppm.manifest import Placement
from ppm.runtime.answers import prove_answers
from ppm.runtime.arrangements.registry import find_arrangement
from ppm.runtime.backbone import UNPATCHED, PrefixedBackbone
from ppm.runtime.router import check_router
from ppm.runtime.rows import Row
from ppm.runtime.selftest import prove, prove_apart
from ppm.runtime.shell import backbone_of, shell

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["UNPATCHED", "PrefixedBackbone", "attach", "backbone_of"]


def attach(
    model: "PreTrainedModel",
    banks: Sequence[Bank | torch.Tensor] = (),
    *,
    placement: Placement = "before-bos",
    trainable: bool = False,
    kept: Path | None = None,
) -> "PreTrainedModel":
    """A causal LM with banks in front of its inputs, and its weights shared with `model`.

    `model` itself stays as it is. A tensor (virtual_tokens, hidden_size) is a bank of one joined block, and is copied.
    With `trainable` the blocks are the only parameters that take gradients. `backbone_of(result)` chooses the row of
    each sequence; an empty bank is no patch, and without any bank every sequence runs as in the base. Raises ModelError
    for an architecture on which this is not exact, found by a test when a model of its configuration is first used;
    that one is exact is kept in the folder `kept`. Raises it for a bank that was made for another base, too.

    A routed bank stands in front of the prompts for which its router fires, which reads each whole prompt in the base
    itself when it is first run (`ppm.runtime.router`). Its blocks are trained without the router, always on, and all of
    a text sees them then; those of a bank without a router as the bank says.
    """
    with torch.inference_mode(False):
        rows = [_row(bank.always_on if trainable and isinstance(bank, Bank) else bank, model.device) for bank in banks]
    prove(model, placement, kept=kept)
    _check_shapes(model, rows)
    if any(row.several for row in rows):
        prove_apart(model, placement)
    if any(row.turn_seen for row in rows):
        prove_answers(model, placement)
    patched = shell(model, rows, placement)
    for router in dict.fromkeys(row.router for row in rows if row.router is not None):
        check_router(backbone_of(patched).inner, router, str(getattr(model, "name_or_path", "") or "the base model"))
    if trainable:
        for parameter in patched.parameters():
            parameter.requires_grad_(False)
        for parameter in backbone_of(patched).bank:
            parameter.requires_grad_(True)
    return patched


def _check_shapes(model: "PreTrainedModel", rows: Sequence[Row]) -> None:
    width = int(model.get_input_embeddings().embedding_dim)
    for shape in (tuple(block.shape) for row in rows for block in row.blocks):
        if len(shape) != 2 or shape[0] < 1 or shape[1] != width:
            raise ModelError(
                f"takes blocks of shape (virtual_tokens, {width}), not {shape}",
                context=str(getattr(model, "name_or_path", "") or "the base model"),
                hint="the bank was made for another base model",
            )


def _row(bank: Bank | torch.Tensor, device: torch.device) -> Row:
    if isinstance(bank, torch.Tensor):
        return Row((bank.detach().clone().float().to(device),), find_arrangement("joined"))
    blocks = (torch.frombuffer(bytearray(b.values), dtype=torch.float32).view(b.shape) for b in bank.blocks)
    arrangement = find_arrangement(bank.arrangement)
    return Row(tuple(block.to(device) for block in blocks), arrangement, bank.router, bank.answers_to)
