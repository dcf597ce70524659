"""How much memory work on a model takes, and how many sequences fit beside each other in what there is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ppm.machine import free_memory
from ppm.runtime.dtypes import OVERHEAD

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Work", "bytes_of", "one_row_only", "rows_at_once", "work_of"]

SHARE = 0.5
"""Of the memory at hand, where the user names no limit."""
FEWEST_TOKENS = 512
"""So many tokens go through the model at once at least: fewer would only take longer."""
MOST_TOKENS = 8192
"""So many tokens of prompts go through the model at once at most."""
ROWS, ROWS_ON_GPU = 128, 4096
"""So many completions are written at once at most; a GPU takes hardly longer for more."""
UNKNOWN = 4 * 2**30
"""Bytes for work where nobody says how much memory there is."""


@dataclass(frozen=True)
class Work:
    """The bytes that work may take, and what it takes of them, by a model's configuration.

    `kept`: keys and values of one token; `active`: one token on its way through the layers; `logits`: one row of them,
    with what is made of it.
    """

    limit: int
    kept: int
    active: int
    logits: int

    def batches(self, widths: Sequence[int], *, most: int) -> list[int]:
        """How many sequences each batch takes, of sequences in order of their widths in tokens; `most` at most."""
        sizes: list[int] = []
        start = 0
        while start < len(widths):
            end = start + 1
            while end < len(widths) and end - start < most and self._fits(end + 1 - start, widths[end]):
                end += 1
            sizes.append(end - start)
            start = end
        return sizes

    def _fits(self, rows: int, width: int) -> bool:
        # One layer's cache is there twice while it grows.
        return rows * (width * self.kept * 5 // 4 + self.logits) + FEWEST_TOKENS * self.active <= self.limit

    def columns(self, rows: int, width: int) -> int:
        """How many columns of a batch of prompts go through the model at once."""
        left = self.limit - rows * (width * self.kept * 5 // 4 + self.logits)
        tokens = min(max(left // self.active, FEWEST_TOKENS), MOST_TOKENS)
        return max(tokens // rows, 1)

    def scored(self, widths: Sequence[int], *, most: int) -> list[int]:
        """As `batches`, where all tokens go through the model at once and each of them needs its logits."""
        each = Work(self.limit, self.kept + self.active + self.logits, 0, 0)
        return each.batches(widths, most=most)


def bytes_of(model: "PreTrainedModel") -> int:
    """How many bytes a model's weights take; shared ones count once."""
    return sum(p.numel() * p.element_size() for p in {id(p): p for p in model.parameters()}.values())


def one_row_only(model: "PreTrainedModel") -> bool:
    """Whether what a sequence gives hangs on the others of its batch: dynamic int8 scales a batch by its largest."""
    return any(type(module).__module__.startswith("torch.ao.nn.quantized.dynamic") for module in model.modules())


def rows_at_once(model: "PreTrainedModel") -> int:
    """How many completions are written at once at most, where nobody says."""
    return ROWS if model.device.type == "cpu" else ROWS_ON_GPU


def work_of(model: "PreTrainedModel", memory: int | None = None) -> Work:
    """What work on a model takes. `memory` is how many bytes all may take, the model included."""
    config = model.config.get_text_config()
    table = model.get_input_embeddings().weight
    size = table.element_size()
    hidden, layers = int(config.hidden_size), int(config.num_hidden_layers)
    heads = int(getattr(config, "num_attention_heads", 1) or 1)
    shared = getattr(config, "num_key_value_heads", None)
    width = int(getattr(config, "head_dim", None) or hidden // heads)
    inner = getattr(config, "intermediate_size", None) or getattr(config, "ffn_dim", None) or 4 * hidden
    inner = max(inner) if isinstance(inner, list | tuple) else int(inner)
    return Work(
        limit=_limit(model, memory),
        kept=2 * layers * int(shared if isinstance(shared, int) else heads) * width * size,
        active=(16 * hidden + 4 * inner) * size,
        logits=int(table.shape[0]) * (size + 8),
    )


def _limit(model: "PreTrainedModel", memory: int | None) -> int:
    if memory is not None and model.device.type == "cpu":
        return max(memory - bytes_of(model) - OVERHEAD, 0)
    if model.device.type == "cuda":
        free, whole = torch.cuda.mem_get_info(model.device)
        kept = torch.cuda.memory_reserved(model.device) - torch.cuda.memory_allocated(model.device)
        limit = min(whole, memory) - torch.cuda.memory_allocated(model.device) if memory is not None else whole
        return max(min(int((free + kept) * SHARE), limit), 0)
    free_here = free_memory()
    return UNKNOWN if free_here is None else int(free_here * SHARE)
