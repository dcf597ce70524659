"""Alpha is made so small that the enumerated worst case is what is said."""

import pytest

from benchmarks.error_rates import exact_error
from ppm.evaluation.exact import exact_alpha, worst_error
from ppm.evaluation.statistics import clustered_interval, fewest_units, paired_interval


@pytest.mark.parametrize("n", [4, 20, 69, 116, 200, 300])
@pytest.mark.parametrize("margin", [0.03, 0.05])
@pytest.mark.parametrize("alpha", [0.05, 0.03, 0.00775])
def test_the_chance_of_a_wrong_pass_is_at_most_alpha(n, margin, alpha):
    shrunk = exact_alpha(n, margin, alpha)
    assert shrunk <= alpha
    assert exact_error(n, margin, shrunk) <= alpha + 1e-9  # which sums over every outcome
    assert n < 60 or shrunk > 0.75 * alpha


@pytest.mark.parametrize("margin", [-0.3, -0.1, 0.0, 0.05])
def test_the_worst_case_is_found_on_both_sides_of_nothing(margin):
    shrunk = exact_alpha(250, margin, 0.03)
    assert 0.02 < worst_error(250, margin, shrunk) <= 0.03
    assert worst_error(250, margin, 0.05) > worst_error(250, margin, 0.01)


def test_an_interval_is_wider_where_it_is_held_against_a_margin():
    first, second = [1.0] * 9 + [0.0] * 291, [0.0] * 300
    plain, held = (paired_interval(first, second, 0.03, margin=margin) for margin in (None, 0.05))
    assert held.high > plain.high
    assert held == paired_interval(first, second, exact_alpha(300, 0.05, 0.03))


@pytest.mark.parametrize(("margin", "alpha", "fewest"), [(0.05, 0.03, 70), (0.03, 0.03, 117), (0.05, 0.00775, 114)])
def test_as_many_as_are_asked_for_can_pass(margin, alpha, fewest):
    assert fewest_units(margin, alpha) == fewest
    assert paired_interval([0.0] * fewest, [0.0] * fewest, alpha, margin=margin).high < margin
    few = fewest - 1
    assert paired_interval([0.0] * few, [0.0] * few, alpha, margin=margin).high >= margin
    assert clustered_interval([0.0] * fewest, exact_alpha(fewest, margin, alpha)).high < margin


def test_a_reduction_of_everything_can_be_asked_for():
    assert exact_alpha(250, -1.0, 0.03) == 0.03
