"""Distillation: its schedule, its options, and what it holds out."""

from dataclasses import replace

import pytest
from recipes import strategy

from ppm.composition.distil import Schedule
from ppm.composition.steps import run_strategy
from ppm.errors import ManifestError


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


def test_a_stop_at_the_end_is_the_planned_decay():
    assert len(rates(Schedule(100, 2), [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.4, 0.4, 0.4])) == 100


@pytest.mark.parametrize(
    "options",
    [
        {"direction": "forward"},
        {"norm_weight": 0.0},
        {"temperature": 0.5},
        {"weights": [1.0, 0.0]},
        {"refresh": 2},
        {"patience": 0},
    ],
)
def test_each_option_changes_what_is_learned(context, options):
    plain = {"steps": 6, "samples": 1, "max_new_tokens": 4}
    usual = run_strategy(strategy(("average", {}), ("distil", plain)), context)
    other = run_strategy(strategy(("average", {}), ("distil", {**plain, **options})), context)
    assert not usual.equal(other)


def test_how_long_it_took_is_noted(context):
    fresh = replace(context, notes={})
    run_strategy(strategy(("average", {}), ("distil", {"steps": 30, "samples": 1, "max_new_tokens": 4})), fresh)
    assert fresh.notes["distil"]["steps"] == 30
    assert fresh.notes["distil"]["held_out"] > 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"direction": "backward"}, "reverse, forward"),
        ({"weights": [1.0]}, "2 numbers"),
        ({"refresh": -1}, "0 or more"),
        ({"norm_weight": -1.0}, "0 or more"),
        ({"temperature": 0.0}, "above 0"),
    ],
)
def test_a_wrong_option_is_refused(context, options, words):
    with pytest.raises(ManifestError, match=words):
        run_strategy(strategy(("average", {}), ("distil", options)), context)


def test_with_too_few_prompts_to_hold_out_it_trains_to_the_end(context):
    few = replace(
        context,
        specialists=tuple(replace(s, replay=s.replay[:5]) for s in context.specialists),
        retention=context.retention[:5],
    )
    run_strategy(strategy(("average", {}), ("distil", {"steps": 110, "batch_size": 2})), few)
    assert few.notes["distil"] == {"steps": 110}
