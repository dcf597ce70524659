"""Triggers that are fitted together: they compete for each prompt, and share one threshold."""

import math

import pytest
import torch

from ppm.training.triggers import _fit_together, _Ranked


def ranked(odds, concerns, costs=(1.0, 1.0)):
    return _Ranked(torch.tensor(odds), torch.tensor(concerns), costs)


def test_the_likeliest_patch_is_the_one_whose_odds_against_none_are_highest():
    generator = torch.Generator().manual_seed(0)
    centers = torch.tensor([[3.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 3.0]])
    kind = torch.arange(3).repeat(60)
    features = centers[kind] + torch.randn(180, 3, generator=generator)
    concerns = torch.stack([kind == 0, kind == 1], 1)
    weight, bias = _fit_together(features, concerns)
    odds = features @ weight + bias
    assert odds.shape == (180, 2)
    best = torch.where(odds.max(1).values >= 0, odds.argmax(1), 2)
    assert float((best == kind).float().mean()) > 0.9


def test_of_one_patch_it_is_a_plain_logistic_regression():
    features = torch.tensor([[-2.0], [-1.0], [1.0], [2.0]] * 20)
    weight, bias = _fit_together(features, features > 0)
    assert weight.shape == (1, 1)
    assert float(weight) > 0
    assert float(bias) == pytest.approx(0, abs=1e-4)


def test_a_prompt_of_two_patches_counts_for_both_whichever_it_meets():
    found = ranked([[2.0, 1.0], [3.0, -1.0], [-5.0, -4.0]], [[True, True], [True, False], [False, False]])
    assert [curve.recall for curve in found.at([0.0, 2.5], 0)] == [1.0, 0.5]
    assert [curve.recall for curve in found.at([0.0, 2.5], 1)] == [1.0, 0.0]


def test_what_meets_another_patch_is_a_miss_and_only_prompts_of_none_are_false_alarms():
    odds = [[2.0, 4.0], [1.0, 3.0], [5.0, -5.0], [-5.0, 2.0]]
    found = ranked(odds, [[True, False], [False, True], [False, False], [False, False]])
    [first], [second] = found.at([0.0], 0), found.at([0.0], 1)
    assert (first.recall, first.false_alarms) == (0.0, 0.5)
    assert (second.recall, second.false_alarms) == (1.0, 0.5)


@pytest.mark.parametrize(
    ("costs", "wanted"),
    [((1.0, 1.0), 0.0), ((0.1, 0.02), math.log(0.1)), ((0.0, 0.0), -6.5 + 0.165), ((1e6, 1.0), 2.0)],
)
def test_between_what_lies_apart_the_cost_decides_within_bounds(costs, wanted):
    odds = [[10.0, -9.0], [-9.0, 12.0], [-6.0, -7.0], [-8.0, -6.5]]
    found = ranked(odds, [[True, False], [False, True], [False, False], [False, False]], costs)
    assert found.limit(0.0) == pytest.approx(wanted, abs=1e-5)


def test_a_floor_lowers_the_threshold_as_far_as_it_helps():
    odds = [[10.0, -9.0], [-2.0, -9.0], [-9.0, 12.0], [1.0, 0.0], [3.0, -1.0], [2.0, -1.0]]
    own = [[True, False], [True, False], [False, True], [False, False], [False, False], [False, False]]
    found = ranked(odds, own)
    assert found.limit(0.0) > 3
    assert found.limit(1.0) == -2.0
    own = [[True, False], [True, False], [False, True], [False, False]]
    unlikely = ranked([[1.0, 5.0], [4.0, -9.0], [-9.0, 6.0], [-9.0, -9.0]], own)
    assert unlikely.limit(1.0) <= 4.0


@pytest.mark.parametrize(("alarms", "wanted"), [(0.5, 1.5), (0.25, 4.0), (0.0, 7.5)])
def test_few_alarms_are_a_lower_bound_of_the_threshold(alarms, wanted):
    odds = [[9.0, 0.0], [-1.0, 2.0], [3.0, 0.0], [5.0, 0.0], [0.0, 6.0], [0.0, 1.0]]
    none = [False, False]
    found = ranked(odds, [[True, False], [False, True], none, none, none, none])
    limit = found.quiet(alarms)
    assert limit == pytest.approx(wanted)
    assert all(found.at([limit], patch)[0].false_alarms <= alarms for patch in (0, 1))
