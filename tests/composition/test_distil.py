"""Distillation: its schedule, its options, and what it holds out."""

from dataclasses import replace

import pytest
import torch
from recipes import made, own, strategy

from ppm.composition.distil import Schedule, shaken
from ppm.composition.objective import spread
from ppm.errors import ManifestError
from ppm.evaluation.scoring import ScoredText, log_probabilities
from ppm.runtime.model import attach


def rates(schedule, divergences):
    """The rates of a whole schedule that is told these divergences, one every ten steps."""
    found = []
    told = iter(divergences)
    while not schedule.ended:
        found.append(schedule.rate)
        schedule.step()
        if len(found) % 10 == 0:
            schedule.checked(next(told))
    return found


def test_the_rate_rises_stays_and_decays():
    found = rates(Schedule(100, 0), [1.0] * 10)
    assert len(found) == 100
    assert found[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
    assert set(found[10:70]) == {1.0}
    assert found[70:] == sorted(found[70:], reverse=True)
    assert found[-1] < 0.05


def test_training_ends_early_once_the_divergence_stops_falling():
    falling = rates(Schedule(200, 2), [0.9**i for i in range(20)])
    stuck = rates(Schedule(200, 2), [1.0, 0.8, 0.6, 0.6, 0.6, *[0.6] * 15])
    assert len(falling) == 200
    # told at 50 that it has not fallen twice; then it decays for half as long as it has run
    assert len(stuck) == 75
    assert stuck[49] == 1.0
    assert stuck[-1] < 0.1


def test_a_slow_fall_is_a_fall():
    """Two per cent a check: every other check it has fallen by three per cent since it last had."""
    assert len(rates(Schedule(100, 2), [0.98**i for i in range(10)])) == 100


def test_a_stop_at_the_end_is_the_planned_decay():
    assert len(rates(Schedule(100, 2), [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.4, 0.4, 0.4])) == 100


@pytest.mark.parametrize(
    "options",
    [
        {"direction": "forward"},
        {"noise": 0.0},
        {"temperature": 0.5},
        {"weights": [1.0, 0.0]},
        {"refresh": 2},
        {"patience": 0},
    ],
)
def test_each_option_changes_what_is_learned(context, options):
    plain = {"steps": 6, "samples": 1, "max_new_tokens": 4}
    usual = made(strategy(("average", {}), ("distil", plain)), context)
    other = made(strategy(("average", {}), ("distil", {**plain, **options})), context)
    assert not usual.equal(other)


def test_how_long_it_took_is_noted(context):
    fresh = replace(context, notes={})
    made(strategy(("average", {}), ("distil", {"steps": 30, "samples": 1, "max_new_tokens": 4})), fresh)
    assert fresh.notes["distil"]["steps"] == 30
    assert fresh.notes["distil"]["held_out"] > 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"direction": "backward"}, "reverse, forward"),
        ({"weights": [1.0]}, "2 numbers"),
        ({"refresh": -1}, "0 or more"),
        ({"noise": -1.0}, "0 or more"),
        ({"temperature": 0.0}, "above 0"),
        ({"max_new_tokens": 5000}, "max_new_tokens"),
    ],
)
def test_a_wrong_option_is_refused(context, options, words):
    with pytest.raises(ManifestError, match=words):
        made(strategy(("average", {}), ("distil", options)), context)


def test_with_too_few_prompts_to_hold_out_it_trains_to_the_end(context):
    few = replace(
        context,
        specialists=tuple(replace(s, replay=s.replay[:5]) for s in context.specialists),
        retention=context.retention[:5],
    )
    made(strategy(("average", {}), ("distil", {"steps": 110, "batch_size": 2})), few)
    assert few.notes["distil"] == {"steps": 110, "noise": 0.3}


def test_a_token_that_is_far_off_does_not_hide_among_others():
    found = spread(torch.tensor([0.4, 0.0, 0.3, 0.3, -1e-7]), [2, 2, 1])
    assert found.tolist() == pytest.approx([0.4 / 2**0.5, 0.3, 0.0], abs=1e-6)


def distilled(context, **options):
    plain = {"steps": 60, "samples": 1, "max_new_tokens": 4, "patience": 0}
    return made(strategy(("average", {}), ("distil", {**plain, **options})), context)


def entropy(context, prefix):
    """The mean entropy of the first token of answers to the first specialist's prompts."""
    prompts = [tuple(context.base.tokenizer(pair.prompt).input_ids) for pair in context.specialists[0].replay]
    patched = attach(context.base.model, [prefix], placement=context.placement)
    with torch.no_grad():
        found = log_probabilities(patched, [ScoredText(prompt, (1,)) for prompt in prompts])
    return -(found.exp() * found).sum(-1).mean().item()


def distance(context, prefix, specialist):
    """KL(specialist || composition) of the first token of answers to a specialist's prompts, in nats."""
    prompts = [tuple(context.base.tokenizer(pair.prompt).input_ids) for pair in specialist.replay]
    texts = [ScoredText(prompt, (1,)) for prompt in prompts]
    with torch.no_grad():
        ours, theirs = (
            log_probabilities(attach(context.base.model, [p], placement=context.placement), texts)
            for p in (prefix, own(specialist))
        )
    return (theirs.exp() * (theirs - ours)).sum(-1).mean().item()


def test_noise_is_a_share_of_each_tokens_length_and_goes_again():
    still = torch.linspace(0.1, 10, 200)[:, None] * torch.randn(200, 64, generator=torch.Generator().manual_seed(0))
    learned = still.clone().requires_grad_()
    with shaken(learned, 0.3, torch.Generator().manual_seed(0)):
        shares = (learned.detach() - still).norm(dim=1) / still.norm(dim=1)
    assert shares.mean().item() == pytest.approx(0.3, rel=0.05)
    assert shares.std().item() < 0.05
    assert learned.equal(still)


@pytest.mark.parametrize(("times", "noise"), [(1, 0.3), (3, 0.15)])
def test_a_crowded_prefix_gets_less_noise(context, times, noise):
    """The average of two specialists has half of their tokens; that of six has a sixth."""
    crowd = replace(context, specialists=context.specialists * times)
    distilled(crowd, steps=1)
    assert crowd.notes["distil"]["noise"] == noise


def test_a_low_temperature_makes_answers_surer(context):
    sure, usual = (entropy(context, distilled(context, temperature=t)) for t in (0.1, 1.0))
    assert sure < 0.8 * usual


def test_a_specialist_without_weight_is_not_learned_from(context):
    """The specialist that counts alone is the one whose distributions the composition comes near to."""
    options = {"temperature": 1.0, "noise": 0.0}
    first, second = (distilled(context, weights=weights, **options) for weights in ([1.0, 0.0], [0.0, 1.0]))
    a, b = context.specialists
    assert distance(context, first, a) < 0.7 * distance(context, second, a)
    assert distance(context, second, b) < 0.7 * distance(context, first, b)
