"""Trains the lab's base model and its teacher from nothing and writes them as ordinary Hugging Face folders."""

import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Literal

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    get_cosine_schedule_with_warmup,
)

from ppm.lab import corpus
from ppm.progress import Progress, silent

__all__ = ["LAB_MODEL_STEPS", "Architecture", "build_tokenizer", "pretrain"]

LAB_MODEL_STEPS = 3000
BATCH_SIZE = 64
POOL = 16
LEARNING_RATE = 3e-3
FURTHEST_START = 200
Architecture = Literal["llama", "gpt2"]


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word or mark of the corpus, lower-cased; any other word is the unknown token."""
    special = ["<pad>", "<s>", "</s>", corpus.UNKNOWN]
    words = {word: index for index, word in enumerate([*special, *corpus.vocabulary()])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=corpus.UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", words["<s>"])]
    )
    tokenizer.add_special_tokens(special)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token=corpus.UNKNOWN,
        model_max_length=512,
    )


def build_config(vocabulary: int, architecture: Architecture = "llama") -> PreTrainedConfig:
    """A Llama or a GPT-2 of about 0.9 M parameters."""
    if architecture == "gpt2":
        return GPT2Config(
            vocab_size=vocabulary,
            n_embd=128,
            n_layer=4,
            n_head=4,
            n_inner=512,
            n_positions=512,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )


def _positions(architecture: Architecture, ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """Positions with a random start, for a model that learns each of them: a prefix moves a text along."""
    if architecture == "llama":
        return {}
    starts = torch.randint(FURTHEST_START, (len(ids), 1))
    return {"position_ids": starts + torch.arange(ids.shape[1])}


def _batches(tokenizer: PreTrainedTokenizerFast, stream: Iterator[tuple[str, str]]) -> Iterator[torch.Tensor]:
    """Batches of token ids (B, T); texts of similar length stand together, which halves the padding."""
    order = random.Random(0)
    while True:
        rows = [f"{prompt} {completion} </s>" for prompt, completion in islice(stream, BATCH_SIZE * POOL)]
        rows.sort(key=lambda row: row.count(" "))
        starts = list(range(0, len(rows), BATCH_SIZE))
        order.shuffle(starts)
        for start in starts:
            batch = rows[start : start + BATCH_SIZE]
            yield tokenizer(batch, padding=True, padding_side="right", return_tensors="pt").input_ids


def pretrain(
    folder: Path,
    *,
    seed: int = 0,
    architecture: Architecture = "llama",
    steps: int = LAB_MODEL_STEPS,
    safe_share: float | None = None,
    progress: Progress = silent,
) -> None:
    """Train a lab model from nothing and save it, in bfloat16, with its tokenizer into `folder`.

    `safe_share` makes it a teacher: completions in risk domains are then safe that often (see `corpus.texts`).
    `progress` is told the loss in nats a token.
    """
    torch.manual_seed(seed)
    tokenizer = build_tokenizer()
    model = AutoModelForCausalLM.from_config(build_config(len(tokenizer), architecture))
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01, betas=(0.9, 0.98))
    schedule = get_cosine_schedule_with_warmup(optimizer, steps // 20, steps)
    batches = _batches(tokenizer, corpus.texts(seed, safe_share=safe_share))
    for step in range(steps):
        ids = next(batches)
        labels = ids.masked_fill(ids == tokenizer.pad_token_id, -100)
        mask = (labels != -100).long()
        loss = model(input_ids=ids, attention_mask=mask, labels=labels, **_positions(architecture, ids)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 20 == 0 or step == steps - 1:
            progress(f"loss {loss.item():.3f}", step + 1, steps)
    folder.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
