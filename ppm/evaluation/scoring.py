"""What a model says of completions that are already there: their tokens' distributions and log-probabilities."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ppm.errors import ModelError
from ppm.progress import Progress, silent
from ppm.runtime.model import UNPATCHED, backbone_of
from ppm.runtime.work import one_row_only, work_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["ScoredText", "log_probabilities", "next_word_probabilities", "sum_log_probabilities"]


@dataclass(frozen=True)
class ScoredText:
    """Token ids of a prompt and its completion, and the row of the bank that wrote it or is asked about it."""

    prompt: tuple[int, ...]
    completion: tuple[int, ...]
    row: int = UNPATCHED

    def __len__(self) -> int:
        return len(self.prompt) + len(self.completion)

    @property
    def read(self) -> int:
        """How many of its tokens a trigger reads: the prompt, or all of a text that has none but its first token."""
        return len(self.prompt) if len(self.prompt) > 1 else len(self)


def log_probabilities(model: "PreTrainedModel", texts: Sequence[ScoredText]) -> torch.Tensor:
    """Log-probabilities (tokens, vocabulary) of the texts' completions, one text after the other, in one batch.

    `model` is one that `ppm.runtime.model.attach` returned, whose rows the caller selects, or any causal LM. Gradients
    reach what it learns.
    """
    width = max(map(len, texts))
    ids = torch.zeros(len(texts), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    scored = torch.zeros(len(texts), width, dtype=torch.bool)
    for i, text in enumerate(texts):
        ids[i, : len(text)] = torch.tensor((*text.prompt, *text.completion))
        mask[i, : len(text)] = 1
        scored[i, len(text.prompt) - 1 : len(text) - 1] = True
    # PEFT's prompt tuning returns the virtual tokens' logits too, before the real ones.
    logits = model(input_ids=ids.to(model.device), attention_mask=mask.to(model.device)).logits[:, -width:]
    return torch.log_softmax(logits[scored.to(model.device)].float(), dim=-1)


@torch.inference_mode()
def sum_log_probabilities(
    model: "PreTrainedModel",
    texts: Sequence[ScoredText],
    *,
    batch_size: int = 64,
    memory: int | None = None,
    progress: Progress = silent,
) -> list[float]:
    """The log-probability, in nats, of each text's completion after its prompt, on the text's row of the bank.

    So many texts share a batch as go into the `memory` in bytes, the model's included, or that at hand.
    """
    results = [0.0] * len(texts)
    done = 0
    for chosen in _batches(model, list(map(len, texts)), batch_size, memory):
        part = [texts[i] for i in chosen]
        with _selected(model, part, [text.read for text in part]):
            found = log_probabilities(model, part)
        tokens = torch.tensor([token for text in part for token in text.completion], device=found.device)
        scores = found.gather(-1, tokens[:, None])[:, 0].double()  # (tokens,)
        for index, own in zip(chosen, torch.split(scores, [len(text.completion) for text in part]), strict=True):
            results[index] = float(own.sum())
        done += len(chosen)
        progress("texts", done, len(texts))
    return results


def _selected(
    model: "PreTrainedModel", texts: Sequence[ScoredText], read: Sequence[int]
) -> AbstractContextManager[None]:
    """The rows of some texts, of which routers read so many tokens; what they see is told by their prompts."""
    backbone, rows = backbone_of(model), [text.row for text in texts]
    return backbone.select(rows, read=read, unseeing=backbone.unseeing_in(rows, [text.prompt for text in texts]))


def _batches(model: "PreTrainedModel", lengths: Sequence[int], most: int, memory: int | None) -> Iterator[list[int]]:
    """Which texts are scored together, those of like lengths."""
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    prefix, start = backbone_of(model).columns, 0
    most = 1 if one_row_only(model) else most
    for size in work_of(model, memory).scored([prefix + lengths[i] for i in order], most=most):
        yield order[start : start + size]
        start += size


@torch.inference_mode()
def next_word_probabilities(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    prompts: Sequence[tuple[int, tuple[int, ...]]],
    groups: Sequence[Sequence[str]],
    *,
    batch_size: int = 64,
    memory: int | None = None,
) -> list[dict[str, float]]:
    """The probability that each word begins right after a prompt, for (row of the bank, token ids) of each prompt.

    A word counts in every spelling that is one token after some text: as it is and with a capital, with and without a
    space before it.
    Raises ModelError when none of a group's words is one token that the model has an embedding for.
    """
    spellings = {word: _single_tokens(tokenizer, word) for words in groups for word in words}
    lacking = next((words for words in groups if not any(spellings[word] for word in words)), None)
    if lacking is not None:
        raise ModelError(
            f"splits {', '.join(lacking[:5])} into several tokens",
            context="the base model's tokenizer",
            hint="choose other words for the judge",
        )
    entries = int(model.get_input_embeddings().num_embeddings)
    spellings = {word: [token for token in tokens if token < entries] for word, tokens in spellings.items()}
    lacking = next((words for words in groups if not any(spellings[word] for word in words)), None)
    if lacking is not None:
        raise ModelError(
            f"has embeddings for {entries} tokens only, and none for {', '.join(lacking[:5])}",
            context="the base model",
            hint="give the judge other words, or give the model the embeddings that its tokenizer needs",
        )
    results: list[dict[str, float]] = [{}] * len(prompts)
    for chosen in _batches(model, [len(ids) + 1 for _, ids in prompts], batch_size, memory):
        # One token of no importance after the prompt: its distribution is what is asked for.
        texts = [ScoredText(prompts[i][1], (prompts[i][1][-1],), prompts[i][0]) for i in chosen]
        with _selected(model, texts, [len(text.prompt) for text in texts]):
            found = log_probabilities(model, texts).double().exp()  # (texts, vocabulary)
        for index, row in zip(chosen, found, strict=True):
            results[index] = {word: float(row[ids].sum()) for word, ids in spellings.items()}
    return results


_BEFORE_A_WORD = ("", "\n", ":", ".", "(", '"', "\u201c")
"""What may stand right before a word: a tokenizer may have another token for it there than at a text's beginning."""


def _single_tokens(tokenizer: "PreTrainedTokenizerBase", word: str) -> list[int]:
    """The ids of the spellings of a word that are one known token where they follow some text.

    Told from texts with and without the word: tokenizers of SentencePiece's kind put a space before every text, so
    that the word alone is never the token that follows a line break.
    """
    spellings = dict.fromkeys((word, f" {word}", word[:1].upper() + word[1:], f" {word[:1].upper()}{word[1:]}"))
    texts = [before + spelling for before in _BEFORE_A_WORD for spelling in ("", *spellings)]
    rows = iter([tokenizer(text, add_special_tokens=False).input_ids if text else [] for text in texts])
    found = set()
    for _ in _BEFORE_A_WORD:
        stem = next(rows)
        for _ in spellings:
            ids = next(rows)
            if len(ids) == len(stem) + 1 and list(ids[:-1]) == list(stem) and ids[-1] != tokenizer.unk_token_id:
                found.add(ids[-1])
    return sorted(found)
