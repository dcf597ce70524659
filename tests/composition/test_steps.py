"""Steps on a tiny model: what they make, and what they refuse."""

from dataclasses import replace

import pytest
import torch
from recipes import made, own, strategy

from ppm.bank import EMPTY, Bank, Block
from ppm.composition.recipe import run_strategy
from ppm.composition.registry import STEPS
from ppm.composition.strategy import read_strategy
from ppm.errors import ManifestError, RequestError, TrainingError
from ppm.runtime.model import attach
from ppm.runtime.tensors import bank_of, prefix_of


def divergence(context, prefix):
    """Mean KL(specialist || composition) over the first answer token, each specialist on its own prompts."""
    total = 0.0
    with torch.no_grad():
        for specialist in context.specialists:
            ids = context.base.tokenizer([str(p.prompt) for p in specialist.replay], padding=True, return_tensors="pt")
            two = [
                torch.log_softmax(attach(context.base.model, [p])(**ids).logits[:, -1], dim=-1)
                for p in (own(specialist), prefix)
            ]
            total += float((two[0].exp() * (two[0] - two[1])).sum(-1).mean())
    return total / len(context.specialists)


def test_distilling_brings_the_composition_closer_to_its_specialists(context):
    averaged = made(strategy(("average", {})), context)
    distilled = made(strategy(("average", {}), ("distil", {"steps": 120, "temperature": 1.0})), context)
    assert distilled.shape == averaged.shape
    assert divergence(context, distilled) < 0.5 * divergence(context, averaged)


def test_distilling_is_the_same_for_the_same_seed(context):
    recipe = strategy(("average", {}), ("distil", {"steps": 5}))
    assert made(recipe, context).equal(made(recipe, context))


def test_distilling_needs_a_start_and_pairs(context):
    with pytest.raises(RequestError, match="start from"):
        made(strategy(("distil", {})), context)
    bare = replace(context, specialists=tuple(replace(s, replay=()) for s in context.specialists))
    with pytest.raises(RequestError, match="needs replay pairs"):
        made(strategy(("average", {}), ("distil", {})), bare)


def test_a_loss_that_is_no_number_is_stopped(context):
    with pytest.raises(TrainingError):
        made(strategy(("average", {}), ("distil", {"steps": 20, "learning_rate": 1e6})), context)


def test_sequential_training_starts_from_the_first_patch(context):
    options = {"sft_steps": 3, "dpo_steps": 2, "share": 0.5}
    result = made(strategy(("train", options)), context)
    first = own(context.specialists[0])
    assert result.shape == first.shape
    assert not result.equal(first)
    still = made(strategy(("train", {"sft_steps": 0, "dpo_steps": 0})), context)
    assert still.equal(first)
    with pytest.raises(ManifestError, match="below 1"):
        made(strategy(("train", {"share": 1.0})), context)


def test_an_automatic_strategy_is_not_run_here(context):
    with pytest.raises(RequestError, match="only `ppm install` can use it"):
        made(read_strategy("auto"), context)


def test_stacking_leaves_the_blocks_below_as_they_are(context):
    result = made(strategy(("train", {"grow": True, "sft_steps": 3, "dpo_steps": 2})), context)
    first, second = (own(s) for s in context.specialists)
    assert result[: len(first)].equal(first)
    assert result[len(first) :].shape == second.shape
    assert not result[len(first) :].equal(second)


def test_training_starts_with_the_patch_that_comes_first_in_the_order(context):
    options = {"sft_steps": 0, "dpo_steps": 0, "order": ["b", "a"]}
    assert made(strategy(("train", options)), context).equal(own(context.specialists[1]))
    with pytest.raises(ManifestError, match="each patch once"):
        made(strategy(("train", {**options, "order": ["b", "c"]})), context)


def test_what_was_replayed_is_noted(context):
    recipe = strategy(("train", {"sft_steps": 1, "dpo_steps": 0, "share": 0.5, "buffer": "reservoir", "capacity": 8}))
    made(recipe, context)
    assert context.notes["replay"] == [{"patch": "b", "pairs": 20, "replayed": {"a": 20}}]


def test_joint_training_learns_all_risks_from_a_start(context):
    start = made(strategy(("average", {})), context)
    result = made(strategy(("average", {}), ("joint", {"sft_steps": 40, "dpo_steps": 2})), context)
    assert loss(context, result) < 0.7 * loss(context, start)
    with pytest.raises(RequestError, match="start from"):
        made(strategy(("joint", {})), context)


def loss(context, prefix):
    """Mean loss of the first word of every chosen answer."""
    total = 0.0
    for specialist in context.specialists:
        for pair in specialist.replay:
            ids = context.base.tokenizer(str(pair.prompt), return_tensors="pt")
            wanted = context.base.tokenizer(pair.chosen, add_special_tokens=False).input_ids[0]
            with torch.no_grad():
                logits = attach(context.base.model, [prefix])(**ids).logits[0, -1]
            total -= float(torch.log_softmax(logits, dim=-1)[wanted])
    return total / sum(len(s.replay) for s in context.specialists)


@pytest.mark.parametrize("step", ["train", "joint", "distil"])
def test_a_patch_without_pairs_is_named_with_what_to_use_instead(context, step):
    bare = replace(context, specialists=(context.specialists[0], replace(context.specialists[1], replay=())))
    with pytest.raises(RequestError, match=f"the step '{step}' needs") as caught:
        made(strategy(("average", {}), (step, {})), bare)
    assert "concat or merged" in caught.value.hint


def test_a_step_of_another_package_that_makes_no_prefix_is_refused(context, monkeypatch):
    for wrong in (torch.zeros(3), EMPTY, bank_of(torch.ones(2, 3))):
        monkeypatch.setitem(STEPS, "broken", lambda context, bank, wrong=wrong: wrong)
        with pytest.raises(ManifestError, match="instead of a bank of width 48"):
            made(strategy(("broken", {})), context)
    endless = Bank((Block((1, 48), b"\xff" * 4 * 48),))
    monkeypatch.setitem(STEPS, "broken", lambda context, bank: endless)
    with pytest.raises(TrainingError, match="not finite numbers"):
        made(strategy(("broken", {})), context)


def test_a_step_may_keep_several_blocks_and_joining_them_makes_one(context, monkeypatch):
    def apart(context, bank):
        return Bank(tuple(block for specialist in context.specialists for block in specialist.bank.blocks))

    monkeypatch.setitem(STEPS, "apart", apart)
    two = run_strategy(strategy(("apart", {})), context)
    assert [block.shape for block in two.blocks] == [(4, 48), (4, 48)]
    twice = replace(context, specialists=(replace(context.specialists[0], bank=two), context.specialists[1]))
    joined = run_strategy(strategy(("concatenate", {})), twice)
    assert [block.shape for block in joined.blocks] == [(12, 48)]
    assert prefix_of(joined)[:8].equal(prefix_of(two))


def test_an_error_inside_a_step_is_not_blamed_on_the_strategy(context, monkeypatch):
    def broken(context, bank):
        raise ValueError("a bug")

    monkeypatch.setitem(STEPS, "broken", broken)
    with pytest.raises(ValueError, match="a bug"):
        made(strategy(("broken", {})), context)


def test_an_option_without_a_default_must_be_given(context, monkeypatch):
    def scaled(context, bank, *, factor):
        return bank_of(factor * context.prefix(context.specialists[0].bank))

    monkeypatch.setitem(STEPS, "scaled", scaled)
    with pytest.raises(ManifestError, match="needs the option 'factor'"):
        made(strategy(("scaled", {})), context)
    assert made(strategy(("scaled", {"factor": 2.0})), context).equal(2 * own(context.specialists[0]))


def test_merging_deltas_needs_to_know_what_training_started_from(context):
    unknown = replace(context, specialists=tuple(replace(s, initial=None) for s in context.specialists))
    with pytest.raises(RequestError, match="does not record what its training started from"):
        made(strategy(("task-arithmetic", {})), unknown)


@pytest.mark.parametrize(
    ("use", "options", "words"),
    [
        ("train", {"batch_size": 0}, "batch_size"),
        ("joint", {"sft_steps": -1}, "steps"),
        ("train", {"grow": True, "sft_learning_rate": 0.0}, "learning_rate"),
        ("train", {"retention_weight": -1.0}, "retention_weight"),
        ("average", {"weights": ["a", "b"]}, "a list of numbers"),
        ("distil", {"weights": [1.0, "b"]}, "a list of numbers"),
        ("concatenate", {"order": [1, "a"]}, "a list of strings"),
    ],
)
def test_a_value_that_cant_be_is_one_message(context, use, options, words):
    with pytest.raises(ManifestError, match=words):
        made(strategy(("average", {}), (use, options)), context)


def test_distilling_twins_into_themselves_is_quiet(context):
    """The divergence is zero up to rounding, which may be negative."""
    one = context.specialists[0]
    twins = replace(context, specialists=(one, replace(one, name="b")))
    result = made(strategy(("average", {}), ("distil", {"steps": 30, "temperature": 1.0})), twins)
    assert torch.isfinite(result).all()
