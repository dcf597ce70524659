"""Generation with common random numbers: a completion depends on nothing but (weights, prefix, suite, prompt, sample).

Noise is a hash of (suite digest, prompt id, sample, position, vocabulary entry), as `sampling` says. So results
do not change with batch size, padding or order, and two prefixes answer the same prompt with the same luck.
"""

import hashlib
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ppm.evaluation.sampling import draw
from ppm.jsonl import Text
from ppm.progress import Progress, silent
from ppm.runtime.loading import LoadedBase
from ppm.runtime.model import backbone_of
from ppm.runtime.text import TextEncoder, encoder_of
from ppm.suite import Decoding

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

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


def _last_logits(model: "PreTrainedModel") -> dict[str, int]:
    return {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}


def generate(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    wanted: Sequence[Completion],
    *,
    batch_size: int = 128,
    progress: Progress = silent,
) -> list[tuple[int, ...]]:
    """The generated token ids of each completion, without the end-of-sequence token.

    `model` is one that `ppm.runtime.model.attach` returned; completions of different rows share batches. Raises
    ModelError for a token without an embedding, and where prefix, prompt and answer may be more than the context holds.
    """
    encoder, prefix = encoder_of(LoadedBase(model, tokenizer)), backbone_of(model).width
    for completion in wanted:
        encoder.known(completion.ids, "a prompt")
        encoder.check_room(prefix + len(completion.ids) + completion.decoding.max_new_tokens, "a prompt")
    order = sorted(range(len(wanted)), key=lambda i: (len(wanted[i].ids), i))
    results: list[tuple[int, ...]] = [()] * len(wanted)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        for index, ids in zip(chosen, _batch(model, encoder, [wanted[i] for i in chosen]), strict=True):
            results[index] = ids
        progress("completions", min(start + batch_size, len(order)), len(order))
    return results


@torch.inference_mode()
def _batch(model: "PreTrainedModel", encoder: TextEncoder, wanted: list[Completion]) -> list[tuple[int, ...]]:
    device = model.device
    size, width = len(wanted), max(len(r.ids) for r in wanted)
    ids = torch.zeros(size, width, dtype=torch.long)
    mask = torch.zeros(size, width, dtype=torch.long)
    for i, completion in enumerate(wanted):
        ids[i, width - len(completion.ids) :] = torch.tensor(completion.ids)
        mask[i, width - len(completion.ids) :] = 1
    ids, mask = ids.to(device), mask.to(device)
    stops = torch.tensor(sorted(encoder.stops), device=device)
    keys = torch.tensor([r.key for r in wanted], device=device)
    temperature = torch.tensor([r.decoding.temperature for r in wanted], device=device, dtype=torch.double)
    top_p = torch.tensor([r.decoding.top_p for r in wanted], device=device, dtype=torch.double)
    limits = torch.tensor([r.decoding.max_new_tokens for r in wanted], device=device)
    made: list[list[int]] = [[] for _ in wanted]
    alive = torch.arange(size, device=device)  # the completion that each remaining row of the batch is for
    last = _last_logits(model)
    with backbone_of(model).select([r.row for r in wanted]):
        output = model(input_ids=ids, attention_mask=mask, use_cache=True, **last)
    for step in range(int(limits.max())):
        logits = output.logits[:, -1]
        tokens = draw(logits, temperature[alive], top_p[alive], keys[alive], torch.full_like(alive, step))
        stopped = torch.isin(tokens, stops)
        for one, token, stop in zip(alive.tolist(), tokens.tolist(), stopped.tolist(), strict=True):
            if not stop:
                made[one].append(token)
        going = ~stopped & (step + 1 < limits[alive])
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
) -> list[str]:
    """The completion of each prompt as text, on one row of the bank of a model that `attach` returned."""
    encoder = encoder_of(LoadedBase(model, tokenizer))
    wanted = [
        Completion(row, encoder.prompt(text, "the prompt"), decoding, noise_key("answer", str(text), 0, decoding.seed))
        for text in texts
    ]
    made = generate(model, tokenizer, wanted)
    return [str(text).strip() for text in tokenizer.batch_decode([list(i) for i in made], skip_special_tokens=True)]
