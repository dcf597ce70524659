"""Steps on a tiny model: what they make, and what they refuse."""

import random

import pytest
import tiny
import torch

from ppm.base import identify
from ppm.composition.sequential import replay_mix
from ppm.composition.steps import Context, Specialist, run_strategy
from ppm.composition.strategy import StepCall, Strategy, read_strategy
from ppm.errors import RequestError, TrainingError
from ppm.evaluation.benign import benign_texts
from ppm.jsonl import Benign, Pair
from ppm.prefix.loading import load_base
from ppm.prefix.model import attach


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tiny.train_base(tmp_path_factory.mktemp("base") / "tiny", "llama", steps=60)
    return load_base(identify(folder, name="tiny"))


@pytest.fixture
def context(base):
    """Two specialists that answer two kinds of prompts in ways of their own."""
    model, tokenizer = base
    torch.manual_seed(1)
    width = model.get_input_embeddings().embedding_dim
    pairs = [
        [Pair(f"say {word} w1 :", "good .", "bad .") for word in tiny.WORDS[:20]],
        [Pair(f"nice say {word} w2 :", "good .", "bad .") for word in tiny.WORDS[:20]],
    ]
    specialists = tuple(
        Specialist(name, torch.randn(4, width) * 0.5, tuple(rows)) for name, rows in zip(("a", "b"), pairs, strict=True)
    )
    texts = benign_texts(model, tokenizer, [Benign(f"sum {word} :") for word in tiny.WORDS[:10]], seed=0)
    return Context(model, tokenizer, "before-bos", specialists, tuple(texts))


def strategy(*steps):
    return Strategy(schema=1, name="mine", steps=tuple(StepCall(use, options) for use, options in steps))


def divergence(context, prefix):
    """Mean KL(specialist || composition) over the first answer token, each specialist on its own prompts."""
    total = 0.0
    with torch.no_grad():
        for specialist in context.specialists:
            ids = context.tokenizer([str(p.prompt) for p in specialist.replay], padding=True, return_tensors="pt")
            two = [
                torch.log_softmax(attach(context.model, [p])(**ids).logits[:, -1], dim=-1)
                for p in (specialist.prefix, prefix)
            ]
            total += float((two[0].exp() * (two[0] - two[1])).sum(-1).mean())
    return total / len(context.specialists)


def test_concatenate_keeps_the_order_asked_for(context):
    a, b = (s.prefix for s in context.specialists)
    assert run_strategy(strategy(("concatenate", {})), context).equal(torch.cat([a, b]))
    assert run_strategy(strategy(("concatenate", {"order": ["b", "a"]})), context).equal(torch.cat([b, a]))
    with pytest.raises(RequestError, match="each patch once"):
        run_strategy(strategy(("concatenate", {"order": ["b"]})), context)


def test_average_takes_weights(context):
    a, b = (s.prefix for s in context.specialists)
    assert torch.allclose(run_strategy(strategy(("average", {})), context), (a + b) / 2)
    assert torch.allclose(run_strategy(strategy(("average", {"weights": [3.0, 1.0]})), context), (3 * a + b) / 4)
    with pytest.raises(RequestError, match="2 numbers"):
        run_strategy(strategy(("average", {"weights": [1.0]})), context)


def test_distilling_brings_the_composition_closer_to_its_specialists(context):
    averaged = run_strategy(strategy(("average", {})), context)
    distilled = run_strategy(strategy(("average", {}), ("distil", {"steps": 120, "temperature": 1.0})), context)
    assert distilled.shape == averaged.shape
    assert divergence(context, distilled) < 0.5 * divergence(context, averaged)


def test_distilling_is_the_same_for_the_same_seed(context):
    recipe = strategy(("average", {}), ("distil", {"steps": 5}))
    assert run_strategy(recipe, context).equal(run_strategy(recipe, context))


def test_distilling_needs_a_start_and_pairs(context):
    with pytest.raises(RequestError, match="start from"):
        run_strategy(strategy(("distil", {})), context)
    bare = Context(
        context.model, context.tokenizer, "before-bos", (Specialist("a", context.specialists[0].prefix, ()),), ()
    )
    with pytest.raises(RequestError, match="no replay pairs"):
        run_strategy(strategy(("average", {}), ("distil", {})), bare)


def test_a_loss_that_is_no_number_is_stopped(context):
    with pytest.raises(TrainingError):
        run_strategy(strategy(("average", {}), ("distil", {"steps": 20, "learning_rate": 1e38})), context)


def test_sequential_training_starts_from_the_first_patch(context):
    options = {"sft_steps": 3, "dpo_steps": 2, "share": 0.5}
    result = run_strategy(strategy(("train", options)), context)
    first = context.specialists[0].prefix
    assert result.shape == first.shape
    assert not result.equal(first)
    still = run_strategy(strategy(("train", {"sft_steps": 0, "dpo_steps": 0})), context)
    assert still.equal(first)
    with pytest.raises(RequestError, match="below 1"):
        run_strategy(strategy(("train", {"share": 1.0})), context)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.75])
def test_replay_makes_up_its_share_evenly(share):
    rows = [[Pair(f"{name}{i}", "x", "y") for i in range(count)] for name, count in (("c", 60), ("a", 10), ("b", 200))]
    mixed = replay_mix(rows[0], rows[1:] if share else [], share, random.Random(0))
    counts = {name: sum(str(p.prompt).startswith(name) for p in mixed) for name in "abc"}
    assert counts["c"] == 60
    assert (counts["a"] + counts["b"]) / len(mixed) == pytest.approx(share, abs=0.01)
    assert abs(counts["a"] - counts["b"]) <= 1


def test_an_automatic_strategy_is_not_run_here(context):
    with pytest.raises(RequestError, match="only `ppm install` does"):
        run_strategy(read_strategy("auto"), context)
