"""Benign texts: prompts on which a patch must leave the base as it is, with the base's own answers."""

from collections.abc import Sequence

from ppm.evaluation.generation import Request, encode, generate, noise_key
from ppm.evaluation.scoring import ScoredText
from ppm.jsonl import Benign, Text
from ppm.runtime.loading import LoadedBase
from ppm.runtime.model import UNPATCHED, attach
from ppm.suite import Decoding

__all__ = ["benign_texts", "join"]


def benign_texts(base: LoadedBase, rows: Sequence[Benign], *, seed: int) -> list[ScoredText]:
    """Benign prompts with completions; the base model writes those that are not given."""
    prompts = [encode(base.tokenizer, row.prompt) for row in rows]
    bare = attach(base.model)
    open_ = [i for i, row in enumerate(rows) if row.completion is None]
    decoding = Decoding(max_new_tokens=32)
    requests = [Request(UNPATCHED, prompts[i], decoding, noise_key("retention", str(i), 0, seed)) for i in open_]
    written = dict(zip(open_, generate(bare, base.tokenizer, requests), strict=True))
    texts = []
    for i, row in enumerate(rows):
        if row.completion is not None:
            joined = join(row.prompt, row.completion)
            completion = tuple(base.tokenizer(joined, add_special_tokens=False).input_ids)
        else:
            completion = written[i]
        end = () if base.tokenizer.eos_token_id is None else (base.tokenizer.eos_token_id,)
        texts.append(ScoredText(prompts[i], (*completion, *end)))
    return texts


def join(prompt: Text, answer: str) -> str:
    """The answer with the space that sets it off from a plain prompt."""
    if not isinstance(prompt, str) or not prompt or prompt[-1].isspace() or answer[:1].isspace():
        return answer
    return f" {answer}"
