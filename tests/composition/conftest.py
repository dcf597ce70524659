"""A composition's ingredients on a tiny model: two specialists with pairs of their own."""

import pytest
import tiny
import torch

from ppm.base import identify
from ppm.composition.steps import Context, Specialist
from ppm.evaluation.benign import benign_texts
from ppm.jsonl import Benign, Pair
from ppm.runtime.loading import load_base
from ppm.runtime.tensors import bank_of


@pytest.fixture(scope="package")
def base(tmp_path_factory):
    folder = tiny.train_base(tmp_path_factory.mktemp("base") / "tiny", "llama", steps=120)
    return load_base(identify(folder, name="tiny"))


@pytest.fixture
def context(base):
    """Two specialists that answer two kinds of prompts in ways of their own."""
    torch.manual_seed(1)
    width = base.hidden_size
    pairs = [
        [Pair(f"say {word} w1 :", "good .", "bad .") for word in tiny.WORDS[:20]],
        [Pair(f"nice say {word} w2 :", "good .", "bad .") for word in tiny.WORDS[:20]],
    ]
    specialists = tuple(
        Specialist(name, bank_of(torch.randn(4, width) * 0.5), tuple(rows), torch.randn(4, width) * 0.1)
        for name, rows in zip(("a", "b"), pairs, strict=True)
    )
    texts = benign_texts(base, [Benign(f"sum {word} :") for word in tiny.WORDS[:10]], seed=0)
    return Context(base, "before-bos", specialists, tuple(texts))
