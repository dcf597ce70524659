"""Benign texts: prompts on which a patch must leave the base as it is, with the base's own answers."""

from collections.abc import Sequence

from ppm.evaluation.generation import Completion, generate, noise_key
from ppm.evaluation.scoring import ScoredText
from ppm.jsonl import Benign
from ppm.runtime.loading import LoadedBase
from ppm.runtime.model import UNPATCHED, attach
from ppm.runtime.text import encoder_of
from ppm.suite import Decoding

__all__ = ["ANSWER_TOKENS", "benign_texts"]

ANSWER_TOKENS = 32
"""How long the base's own answers may get."""


def benign_texts(base: LoadedBase, rows: Sequence[Benign], *, seed: int) -> list[ScoredText]:
    """Benign prompts with completions; the base model writes those that are not given."""
    encoder = encoder_of(base)
    prompts = [encoder.prompt(row.prompt) for row in rows]
    bare = attach(base.model, kept=base.kept)
    open_ = [i for i, row in enumerate(rows) if row.completion is None]
    decoding = Decoding(max_new_tokens=ANSWER_TOKENS)
    requests = [Completion(UNPATCHED, prompts[i], decoding, noise_key("retention", str(i), 0, seed)) for i in open_]
    written = dict(zip(open_, generate(bare, base.tokenizer, requests, memory=base.memory), strict=True))
    texts = []
    for i, row in enumerate(rows):
        if row.completion is not None:
            completion = encoder.answer(row.prompt, row.completion)
        else:
            completion = (*written[i], *encoder.ending(row.prompt))
        texts.append(ScoredText(prompts[i], completion))
    return texts
