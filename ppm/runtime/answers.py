"""Whether answers alone can see a prefix on a model: tried on the model at hand, not looked up by name.

The prefix stands at positions before the text's first one then, so positions must count relative to each other. What it
does is compared with what it does in front of a whole text of which a mask hides it from the first tokens.
"""

from typing import TYPE_CHECKING

import torch

from ppm.bank_table import Turn
from ppm.errors import ModelError
from ppm.manifest import Placement
from ppm.runtime.selftest import LENGTHS, PREFIX, Trial, settled
from ppm.runtime.shell import backbone_of
from ppm.runtime.turns import turn_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from ppm.runtime.loading import LoadedBase

__all__ = ["answers_alone", "prove_answers", "turn_for_answers"]

TABLES = ("embed_positions", "wpe", "position_embeddings")
"""What modules and buffers are called in which positions are looked up, as none below 0 can be."""


def prove_answers(model: "PreTrainedModel", placement: Placement) -> None:
    """Raises ModelError unless a prefix that the end of a text sees alone is exact on a model."""
    if not answers_alone(model, placement):
        raise ModelError(
            f"a patch that answers alone see is not exact on this architecture ({type(model).__name__})",
            context=str(getattr(model, "name_or_path", "") or "the base model"),
            hint="it takes relative positions, a prefix before the first token, and attention that takes masks: load "
            'the model with attn_implementation="sdpa" or "eager", or build the patch for this base',
        )


def answers_alone(model: "PreTrainedModel", placement: Placement) -> bool:
    """Whether a prefix that the end of a text sees alone is exact on a model; tried once for a configuration."""
    return placement == "before-bos" and settled(model, placement, "answers", lambda: _as_masked(model, placement))


def turn_for_answers(base: "LoadedBase", placement: Placement) -> Turn | None:
    """The turn after which answers alone can see a prefix on a base; None where it has none, or they can't."""
    turn = turn_of(base.tokenizer)
    return turn.whole if turn is not None and answers_alone(base.model, placement) else None


def _as_masked(model: "PreTrainedModel", placement: Placement) -> bool:
    named = (name for part in (model.named_modules(), model.named_buffers()) for name, _ in part)
    # Below the first entry of a table a GPU does not raise: it fails for the rest of the process.
    if any(name.rpartition(".")[2] in TABLES for name in named):
        return False
    try:
        return _agrees(Trial(model, placement))
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception:  # whatever an architecture raises on positions below 0, or on masks
        return False


def _agrees(trial: Trial) -> bool:
    ids, width = trial.cases[1].ids, LENGTHS[1]  # shorter than windows are, of which the mask knows nothing
    blind = width // 2
    embeds = torch.cat([trial.prefix, trial.table(ids)])[None].detach()
    columns = torch.arange(PREFIX + width, device=ids.device)
    mine = columns[:, None]
    sees = (columns <= mine) & ~((columns < PREFIX) & (mine >= PREFIX) & (mine < PREFIX + blind))
    mask = torch.zeros(sees.shape, dtype=embeds.dtype, device=ids.device)
    mask = mask.masked_fill(~sees, torch.finfo(embeds.dtype).min)[None, None]
    given = {"inputs_embeds": embeds, "attention_mask": mask, "use_cache": False}
    wanted, moved = (
        trial.model(**given, position_ids=columns[None] + shift).logits[0, PREFIX:].float() for shift in (0, PREFIX)
    )
    if (wanted - moved).abs().max() > trial.allowed:
        return False
    backbone = backbone_of(trial.patched)
    backbone.answers_to = [Turn((int(ids[0]),), (int(ids[0]),))]
    with backbone.select([0], unseeing=[blind]):
        found = trial.patched(input_ids=ids[None]).logits[0].float()
    return bool((wanted - found).abs().max() <= trial.allowed)
