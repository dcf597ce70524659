"""Benign texts: prompts on which a patch must leave the base as it is, with the base's own answers."""

from collections.abc import Sequence

from ppm.evaluation.generation import Completion, generate, noise_key
from ppm.evaluation.scoring import ScoredText
from ppm.jsonl import Benign
from ppm.progress import Progress, silent
from ppm.runtime.loading import LoadedBase
from ppm.runtime.model import UNPATCHED, attach
from ppm.runtime.text import encoder_of
from ppm.suite import Decoding

__all__ = ["ANSWER_TOKENS", "benign_texts"]

ANSWER_TOKENS = 32
"""How long the base's own answers may get."""


def benign_texts(
    base: LoadedBase,
    rows: Sequence[Benign],
    *,
    seed: int,
    longest: int = ANSWER_TOKENS,
    temperature: float = 1.0,
    beside: int = 0,
    progress: Progress = silent,
) -> list[ScoredText]:
    """Benign prompts with completions; the base model writes those that are not given.

    Its own have at most `longest` tokens, and no more than the context has room for beside a prefix of `beside` tokens.
    """
    encoder = encoder_of(base)
    prompts = [encoder.prompt(row.prompt) for row in rows]
    bare = attach(base.model, kept=base.kept)
    open_ = [i for i, row in enumerate(rows) if row.completion is None]
    requests = []
    for i in open_:
        room = longest if encoder.context is None else encoder.context - beside - len(prompts[i]) - 1
        decoding = Decoding(max_new_tokens=max(1, min(longest, room)), temperature=temperature)
        requests.append(Completion(UNPATCHED, prompts[i], decoding, noise_key("retention", str(i), 0, seed)))
    made = generate(bare, base.tokenizer, requests, memory=base.memory, progress=progress)
    written = dict(zip(open_, made, strict=True))
    texts = []
    for i, row in enumerate(rows):
        if row.completion is not None:
            completion = encoder.answer(row.prompt, row.completion)
        else:
            completion = (*written[i], *encoder.ending(row.prompt))
        texts.append(ScoredText(prompts[i], completion))
    return texts
