"""Generation with common random numbers: a completion depends on nothing but (weights, prefix, suite, prompt, sample).

Noise is a hash of (suite digest, prompt id, sample, position, vocabulary entry), as `sampling` says. So results
do not change with batch size, padding or order, and two prefixes answer the same prompt with the same luck.
"""

import hashlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import TYPE_CHECKING

import torch

from ppm.bank import Readings
from ppm.evaluation.sampling import draw
from ppm.jsonl import Text
from ppm.progress import Progress, silent
from ppm.runtime.loading import LoadedBase
from ppm.runtime.model import backbone_of
from ppm.runtime.router import Picked, picks
from ppm.runtime.text import TextEncoder, encoder_of
from ppm.runtime.work import one_row_only, rows_at_once, work_of
from ppm.suite import Decoding

if TYPE_CHECKING:
    from transformers import Cache, PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Completion", "answer", "generate", "noise_key"]


@dataclass(frozen=True)
class Completion:
    """One completion to make: a row of the bank, the prompt's token ids, how to decode, and the key of its noise."""

    row: int
    ids: tuple[int, ...]
    decoding: Decoding
    key: int


def noise_key(suite_digest: str, prompt_id: str, sample: int, seed: int) -> int:
    """The 64-bit key of one completion's noise."""
    text = f"{suite_digest}\0{prompt_id}\0{sample}\0{seed}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little", signed=True)


BUCKET = 16
"""In dtypes of less than 32 bits prompts are padded to whole multiples of so many columns, whatever stands beside them.

Matrix products of a row hang on no other row there, but attention sums over columns in groups, so that what a row says
hangs on the column that it begins in.
"""


def _last_logits(model: "PreTrainedModel") -> dict[str, torch.Tensor]:
    # A number would cut a view out of the hidden states, for which torch copies the head's weights once a row.
    known = "logits_to_keep" in inspect.signature(model.forward).parameters
    return {"logits_to_keep": torch.tensor([-1], device=model.device)} if known else {}


def generate(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    wanted: Sequence[Completion],
    *,
    batch_size: int | None = None,
    memory: int | None = None,
    readings: Readings | None = None,
    progress: Progress = silent,
) -> list[tuple[int, ...]]:
    """The generated token ids of each completion, without the end-of-sequence token.

    `model` is one that `ppm.runtime.model.attach` returned; completions of different rows share batches, at most
    `batch_size` of them (by default what suits the device) and as many as go into the `memory` in bytes, the model's
    included, or that at hand. What is asked twice is written once, and what the `readings` of the base hold is not read
    again. Raises ModelError for a token without an embedding, and where prefix, prompt and answer may be more than the
    context holds.
    """
    encoder, prefix = encoder_of(LoadedBase(model, tokenizer)), backbone_of(model).width
    for completion in wanted:
        encoder.known(completion.ids, "a prompt")
        encoder.check_room(prefix + len(completion.ids) + completion.decoding.max_new_tokens, "a prompt")
    picked = _picked(model, wanted, readings)
    different = list(picked)
    results: dict[Completion, tuple[int, ...]] = {}
    for batch in _batches(model, different, batch_size, memory):

        def finished(rows: int, before: int = len(results)) -> None:
            progress("completions", (before + rows) * len(wanted) // len(different), len(wanted))

        rows, blocks = [r.row for r in batch.wanted], [picked[r] for r in batch.wanted]
        unseeing = backbone_of(model).unseeing_in(rows, [one.ids for one in batch.wanted])
        with backbone_of(model).select(rows, picked=blocks, unseeing=unseeing):
            results |= zip(batch.wanted, _batch(model, encoder, batch, finished), strict=True)
    return [results[one] for one in wanted]


def _picked(
    model: "PreTrainedModel", wanted: Sequence[Completion], readings: Readings | None
) -> dict[Completion, Picked]:
    """The different completions, and the blocks of its row that each prompt meets."""
    backbone = backbone_of(model)
    routers = [backbone.routers[one.row] if 0 <= one.row < len(backbone.routers) else None for one in wanted]
    return dict(zip(wanted, picks(backbone.inner, routers, [one.ids for one in wanted], readings), strict=True))


@dataclass(frozen=True)
class _Batch:
    """Completions that are written together, their prompts padded to a `width`.

    At most `columns` of the prompts go through the model at once.
    """

    wanted: tuple[Completion, ...]
    width: int
    columns: int


def _batches(
    model: "PreTrainedModel", wanted: Sequence[Completion], most: int | None, memory: int | None
) -> Iterator[_Batch]:
    """The completions by the lengths of their prompts and of what they may take."""
    step = 1 if model.dtype == torch.float32 else BUCKET
    widths = [-(-len(one.ids) // step) * step for one in wanted]
    order = sorted(range(len(wanted)), key=lambda i: (widths[i], wanted[i].decoding.max_new_tokens, i))
    work, prefix = work_of(model, memory), backbone_of(model).columns
    most = 1 if one_row_only(model) else most or rows_at_once(model)
    # Where buckets count, those of a batch must have one width.
    for _, alike in groupby(order, key=lambda i: widths[i] if step > 1 else 0):
        group = list(alike)
        whole = [prefix + widths[i] + wanted[i].decoding.max_new_tokens for i in group]
        start = 0
        for size in work.batches(list(accumulate(whole, max)), most=most):
            chosen = group[start : start + size]
            width = max(widths[i] for i in chosen)
            columns = work.columns(size, max(whole[start : start + size]))
            start += size
            yield _Batch(tuple(wanted[i] for i in chosen), width, columns)


def _prompts(batch: _Batch, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask (B, width) of the prompts, padded on the left."""
    ids = torch.zeros(len(batch.wanted), batch.width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, completion in enumerate(batch.wanted):
        ids[i, batch.width - len(completion.ids) :] = torch.tensor(completion.ids)
        mask[i, batch.width - len(completion.ids) :] = 1
    return ids.to(device), mask.to(device)


@torch.inference_mode()
def _batch(
    model: "PreTrainedModel", encoder: TextEncoder, batch: _Batch, finished: Callable[[int], None]
) -> list[tuple[int, ...]]:
    device, wanted = model.device, batch.wanted
    ids, mask = _prompts(batch, device)
    stops = torch.tensor(sorted(encoder.stops), device=device)
    keys = torch.tensor([r.key for r in wanted], device=device)
    temperature = torch.tensor([r.decoding.temperature for r in wanted], device=device, dtype=torch.double)
    top_p = torch.tensor([r.decoding.top_p for r in wanted], device=device, dtype=torch.double)
    limits = torch.tensor([r.decoding.max_new_tokens for r in wanted], device=device)
    made: list[list[int]] = [[] for _ in wanted]
    alive = torch.arange(len(wanted), device=device)  # the completion that each remaining row of the batch is for
    last = _last_logits(model)
    cache: Cache | None = None
    for start in range(0, batch.width, batch.columns):
        part = slice(start, start + batch.columns)
        output = model(
            input_ids=ids[:, part],
            attention_mask=mask[:, : part.stop],
            past_key_values=cache,
            use_cache=True,
            **last,
        )
        cache = output.past_key_values
    for step in range(int(limits.max())):
        tokens = draw(output.logits[:, -1], temperature[alive], top_p[alive], keys[alive], torch.full_like(alive, step))
        stopped = torch.isin(tokens, stops)
        for one, token, stop in zip(alive.tolist(), tokens.tolist(), stopped.tolist(), strict=True):
            if not stop:
                made[one].append(token)
        going = ~stopped & (step + 1 < limits[alive])
        if not bool(going.all()):
            finished(len(wanted) - int(going.sum()))
        if not bool(going.any()):
            break
        cache = output.past_key_values
        if not bool(going.all()):
            kept = going.nonzero()[:, 0]
            alive, tokens, mask = alive[kept], tokens[kept], mask[kept]
            cache.batch_select_indices(kept)
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        output = model(input_ids=tokens[:, None], attention_mask=mask, past_key_values=cache, use_cache=True, **last)
    return [tuple(ids) for ids in made]


def answer(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    texts: Sequence[Text],
    decoding: Decoding,
    *,
    row: int = 0,
    progress: Progress = silent,
) -> list[str]:
    """The completion of each prompt as text, on one row of the bank of a model that `attach` returned."""
    encoder = encoder_of(LoadedBase(model, tokenizer))
    wanted = [
        Completion(row, encoder.prompt(text, "the prompt"), decoding, noise_key("answer", str(text), 0, decoding.seed))
        for text in texts
    ]
    made = generate(model, tokenizer, wanted, progress=progress)
    return [str(text).strip() for text in tokenizer.batch_decode([list(i) for i in made], skip_special_tokens=True)]
