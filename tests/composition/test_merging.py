"""Merging prefixes: each formula on small numbers that can be checked by hand."""

from dataclasses import replace

import pytest
import torch
from recipes import strategy

from ppm.composition.recipe import run_strategy
from ppm.composition.steps import Specialist
from ppm.errors import ManifestError, RequestError


def given(context, *rows):
    """The context with specialists of one virtual token each: (trained, initial)."""
    specialists = [
        Specialist(name, torch.tensor([trained]), (), torch.tensor([initial]))
        for name, (trained, initial) in zip("abc", rows, strict=False)
    ]
    return replace(context, specialists=tuple(specialists))


def run(context, name, **options):
    return run_strategy(strategy((name, options)), context)


def test_concatenate_keeps_the_order_asked_for(context):
    a, b = (s.prefix for s in context.specialists)
    assert run(context, "concatenate").equal(torch.cat([a, b]))
    assert run(context, "concatenate", order=["b", "a"]).equal(torch.cat([b, a]))
    with pytest.raises(ManifestError, match="'concatenate': order must name each patch once"):
        run(context, "concatenate", order=["b"])


def test_average_takes_weights(context):
    a, b = (s.prefix for s in context.specialists)
    assert torch.allclose(run(context, "average"), (a + b) / 2)
    assert torch.allclose(run(context, "average", weights=[3.0, 1.0]), (3 * a + b) / 4)
    with pytest.raises(ManifestError, match="'average': weights must have 2 numbers"):
        run(context, "average", weights=[1.0])


def test_a_shorter_prefix_is_repeated(context):
    long, short = context.specialists[0], replace(context.specialists[1], prefix=context.specialists[1].prefix[:2])
    result = run(replace(context, specialists=(long, short)), "average")
    assert torch.allclose(result, (long.prefix + short.prefix.repeat(2, 1)) / 2)


def test_task_arithmetic_adds_what_training_added(context):
    two = given(context, ([2.0, 1.0], [1.0, 1.0]), ([3.0, 6.0], [3.0, 5.0]))
    assert run(two, "task-arithmetic").tolist() == [[3.0, 4.0]]
    assert run(two, "task-arithmetic", scale=0.5).tolist() == [[2.5, 3.5]]


def test_ties_trims_elects_and_averages_what_agrees(context):
    start = [0.0, 0.0, 0.0, 0.0]
    three = given(
        context, ([4.0, 0.1, 3.0, -2.0], start), ([2.0, 5.0, -1.0, -0.1], start), ([0.2, 3.0, -4.0, 0.1], start)
    )
    # half of each is kept: [4, 0, 3, 0], [2, 5, 0, 0], [0, 3, -4, 0]; the third entry's sign is that of 3 - 4
    assert run(three, "ties", density=0.5).tolist() == [[3.0, 4.0, -4.0, 0.0]]
    assert run(three, "ties", density=0.5, scale=2.0).tolist() == [[6.0, 8.0, -8.0, 0.0]]
    with pytest.raises(ManifestError, match="density"):
        run(three, "ties", density=0.0)


def test_slerp_follows_the_arc_between_two(context):
    two = given(context, ([2.0, 0.0], [0.0, 0.0]), ([0.0, 4.0], [0.0, 0.0]))
    half = 3 * 0.5**0.5
    assert torch.allclose(run(two, "slerp"), torch.tensor([[half, half]]))
    assert torch.allclose(run(two, "slerp", share=0.0), torch.tensor([[2.0, 0.0]]))
    assert torch.allclose(run(two, "slerp", share=1.0), torch.tensor([[0.0, 4.0]]), atol=1e-6)
    same = given(context, ([1.0, 1.0], [0.0, 0.0]), ([1.0, 1.0], [0.0, 0.0]))
    assert torch.allclose(run(same, "slerp"), torch.tensor([[1.0, 1.0]]))


def test_slerp_is_for_two(context):
    three = given(context, *[([1.0, 0.0], [0.0, 0.0])] * 3)
    with pytest.raises(RequestError, match="two patches, but there are 3"):
        run(three, "slerp")
