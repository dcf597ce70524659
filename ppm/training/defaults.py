"""What a source manifest leaves out, from the base: virtual tokens, stages, when a stage ends, benign prompts.

A prefix is moved by Adam, whose updates are as large as the learning rate whatever the loss. So rates are given in
units of the base's embeddings, as its layers get them: 0.2 and 0.05 of their root mean square, which is 0.14 for the
lab and SmolLM2, and 1.0 for Gemma 3. Wider bases take more virtual tokens, and smaller batches, as each text costs more
there. docs/build-a-patch.md has the figures.
"""

from dataclasses import replace

import torch

from ppm.base import BaseModel
from ppm.evaluation.ordinary import ordinary_benign, takes_requests
from ppm.jsonl import normalised
from ppm.runtime.loading import LoadedBase
from ppm.training.source import SourcePatch
from ppm.training_table import Stage, StageTable, Training

__all__ = ["embedding_scale", "patience_of", "settled", "stages_of", "virtual_tokens_for"]

NARROW, WIDE = 256, 2048
SFT_RATE, DPO_RATE = 0.2, 0.05
"""Learning rates, in units of the root mean square of the base's embeddings."""
PATIENCE = 5
"""At how many checks of 20 the loss on pairs held out may fail to improve."""
ROWS_AT_ONCE = 4096


def virtual_tokens_for(width: int) -> int:
    """How many virtual tokens a patch has for a base with embeddings of this width."""
    return 20 if width < NARROW else 30 if width < WIDE else 50


def settled(source: SourcePatch, base: BaseModel, width: int) -> SourcePatch:
    """The source with what needs no weights: its virtual tokens, and benign prompts for chats where it names none."""
    manifest = source.manifest
    if not manifest.prefix.virtual_tokens:
        prefix = replace(manifest.prefix, virtual_tokens=virtual_tokens_for(width))
        source = replace(source, manifest=replace(manifest, prefix=prefix))
    if source.training.benign is None and takes_requests(base) and source.has_chats:
        taken = {normalised(prompt.prompt) for prompt in source.tested()}
        taken |= {normalised(pair.prompt) for pair in (*source.pairs, *source.ranking)}
        taken |= {normalised(text) for text in source.prompts}
        source = replace(source, benign=tuple(row for row in ordinary_benign() if normalised(row.prompt) not in taken))
    return source


def stages_of(training: Training, base: LoadedBase) -> dict[str, Stage]:
    """SFT and DPO, with the manifest's numbers where it states them."""
    scale = embedding_scale(base)
    small = base.hidden_size < NARROW
    sft = Stage(300 if small else 200, _rounded(SFT_RATE * scale), 16 if small else 8)
    dpo = Stage(100 if small else 60, _rounded(DPO_RATE * scale), 12 if small else 6)
    return {"sft": training.sft.settled(sft), "dpo": training.dpo.settled(dpo)}


def patience_of(training: Training, stage: StageTable) -> int:
    """At how many checks a stage's loss on pairs held out may fail to improve; 0 where it never ends early."""
    if training.patience is not None:
        return training.patience
    return PATIENCE if stage.steps is None else 0


@torch.no_grad()
def embedding_scale(base: LoadedBase) -> float:
    """The root mean square over all entries of the vector that the base's layers get for one."""
    embeddings = base.model.get_input_embeddings()
    device, total = embeddings.weight.device, 0.0
    for start in range(0, embeddings.num_embeddings, ROWS_AT_ONCE):
        ids = torch.arange(start, min(start + ROWS_AT_ONCE, embeddings.num_embeddings), device=device)
        total += float(embeddings(ids).float().pow(2).mean(-1).sum())
    return float((total / embeddings.num_embeddings) ** 0.5)


def _rounded(rate: float) -> float:
    """Two digits, so that machines agree on it."""
    return float(f"{rate:.2g}")
