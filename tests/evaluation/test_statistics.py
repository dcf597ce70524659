"""Intervals against published values, exact enumeration and scipy."""

import math
from functools import cache

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, multinomial

from ppm.evaluation.statistics import (
    Interval,
    clustered_interval,
    exact_upper,
    group_means,
    least_effect,
    mean_interval,
    paired_interval,
    paired_score_interval,
    power,
    prompts_for_power,
    prompts_needed,
    rate_interval,
    units_for_effect,
)


def test_the_paired_score_interval_gives_the_published_bounds():
    # Tango 1998; a two-sided 95 % interval is two one-sided bounds at 2.5 %.
    interval = paired_score_interval(40, 20, 160, 0.025)
    assert interval.value == pytest.approx(0.125)
    assert (interval.low, interval.high) == (pytest.approx(0.0309, abs=5e-5), pytest.approx(0.2181, abs=5e-5))


counts = st.integers(1, 300).flatmap(
    lambda n: st.integers(0, n).flatmap(lambda b: st.tuples(st.just(b), st.integers(0, n - b), st.just(n)))
)


@given(counts, st.sampled_from([0.05, 0.025, 0.01]))
def test_exchanging_the_two_sides_mirrors_the_paired_interval(sample, alpha):
    b, c, n = sample
    one, other = paired_score_interval(b, c, n, alpha), paired_score_interval(c, b, n, alpha)
    assert (one.value, one.low, one.high) == pytest.approx((-other.value, -other.high, -other.low), abs=1e-6)
    assert -1 <= one.low <= one.value <= one.high <= 1


@given(counts)
def test_a_smaller_alpha_widens_the_paired_interval(sample):
    narrow, wide = paired_score_interval(*sample, 0.05), paired_score_interval(*sample, 0.01)
    assert wide.low <= narrow.low + 1e-9
    assert narrow.high <= wide.high + 1e-9


def test_no_discordant_pair_is_not_certainty():
    z2 = 1.6448536**2
    for n in (20, 200):
        interval = paired_score_interval(0, 0, n, 0.05)
        assert interval.value == 0
        assert interval.high == pytest.approx(z2 / (n + z2), rel=1e-3)
        assert interval.low == pytest.approx(-interval.high, rel=1e-6)


# The score interval is not exact: in small samples its error is a little above its alpha (Tango 1998, table II).
ERROR_BOUND = 0.055


@cache
def _all_outcomes(n, alpha):
    """Every (b, c) of n prompts, and its upper bound."""
    pairs = [(b, c) for b in range(n + 1) for c in range(n + 1 - b)]
    return numpy.array(pairs), numpy.array([paired_score_interval(b, c, n, alpha).high for b, c in pairs])


@pytest.mark.parametrize("n", [30, 45, 60])
@pytest.mark.parametrize("margin", [0.05, 0.1])
@pytest.mark.parametrize("discordance", [0.12, 0.2, 0.3, 0.5, 0.8])
def test_a_composition_that_is_worse_by_the_margin_passes_at_most_so_often(n, margin, discordance):
    pairs, upper = _all_outcomes(n, 0.05)
    worse, better = (discordance + margin) / 2, (discordance - margin) / 2
    cells = numpy.column_stack([pairs, n - pairs.sum(axis=1)])
    chances = multinomial.pmf(cells, n, [worse, better, 1 - discordance])
    assert chances.sum() == pytest.approx(1)
    assert chances[upper < margin].sum() <= ERROR_BOUND


def test_counts_that_cant_be_are_refused():
    for b, c, n in ((3, 3, 5), (-1, 0, 5), (0, 0, 0)):
        with pytest.raises(ValueError, match="prompts"):
            paired_score_interval(b, c, n, 0.05)


@pytest.mark.parametrize(("failures", "n"), [(0, 100), (0, 320), (1, 20), (13, 50), (49, 50), (50, 50)])
@pytest.mark.parametrize("alpha", [0.05, 0.025])
def test_rates_have_exact_bounds(failures, n, alpha):
    theirs = binomtest(failures, n).proportion_ci(confidence_level=1 - 2 * alpha, method="exact")
    ours = rate_interval([1.0] * failures + [0.0] * (n - failures), alpha)
    assert (ours.value, ours.low, ours.high) == pytest.approx((failures / n, theirs.low, theirs.high))
    assert exact_upper(failures, n, alpha) == pytest.approx(theirs.high)


def test_no_failure_leaves_the_known_upper_bounds():
    assert exact_upper(0, 100, 0.025) == pytest.approx(0.036, abs=5e-4)
    assert exact_upper(0, 320, 0.025) == pytest.approx(0.0115, abs=5e-5)


def test_many_samples_a_prompt_are_clustered_by_prompt():
    values = numpy.array([0.0, 0.25, 0.5, 1.0, 0.75, 0.25] * 4)
    interval = clustered_interval(values, 0.05)
    half = 1.713872 * values.std(ddof=1) / math.sqrt(24)  # Student's t of 23 degrees of freedom
    assert (interval.low, interval.high) == pytest.approx((values.mean() - half, values.mean() + half), rel=1e-5)
    found = rate_interval(values, 0.05)
    assert found.low <= interval.low < interval.high <= found.high
    assert found.high - found.low < 1.6 * (interval.high - interval.low)


@pytest.mark.parametrize("n", [2, 50, 400])
def test_a_sample_without_variation_does_not_claim_certainty(n):
    z2 = 1.6448536**2
    interval = clustered_interval([0.25] * n, 0.05)
    assert interval.high - interval.value == pytest.approx(z2 / (n + z2), rel=1e-6)
    assert interval.value - interval.low == pytest.approx(z2 / (n + z2), rel=1e-6)
    assert 0 <= rate_interval([0.5] * n, 0.05).low <= rate_interval([0.5] * n, 0.05).high <= 1


def test_one_prompt_says_nothing():
    assert clustered_interval([0.5], 0.05) == Interval(0.5, -0.5, 1.5)
    assert rate_interval([0.5], 0.05) == Interval(0.5, 0.0, 1.0)


def test_pairs_of_single_samples_are_counted_and_others_are_clustered():
    first, second = [1, 1, 0, 0, 1, 0, 0, 0], [0, 1, 1, 0, 0, 0, 0, 0]
    assert paired_interval(first, second, 0.05) == paired_score_interval(2, 1, 8, 0.05)
    shares = [0.5, *second[1:]]
    differences = [a - b for a, b in zip(first, shares, strict=True)]
    found, student = paired_interval(first, shares, 0.05), clustered_interval(differences, 0.05)
    assert found.low <= student.low < student.high <= found.high
    assert found.value == pytest.approx(student.value)
    with pytest.raises(ValueError, match="same prompts"):
        paired_interval(first, second[1:], 0.05)


def test_nearly_single_samples_are_counted_nearly_as_single_ones():
    first = numpy.array([1.0] * 8 + [0.0] * 192)
    nearly = numpy.where(first > 0, 0.999, 0.0)
    single, several = (paired_interval(x, numpy.zeros(200), 0.05) for x in (first, nearly))
    assert several.high == pytest.approx(single.high, abs=2e-3)
    assert several.high > clustered_interval(nearly, 0.05).high + 5e-3


def test_few_units_that_make_the_difference_are_not_hidden_by_many_small_ones():
    noise = numpy.array([0.125, -0.125] * 20 + [0.0] * 80)
    differences = noise + numpy.array([0.0] * 118 + [1.0] * 2)
    found = paired_interval(differences.clip(0), (-differences).clip(0), 0.05)
    assert found.high > paired_score_interval(2, 0, 120, 0.05).high


def test_group_means_are_in_the_order_of_the_groups():
    assert group_means([1.0, 0.0, 0.5, 1.0], ["b", "a", "b", "b"]) == pytest.approx([2.5 / 3, 0.0])
    with pytest.raises(ValueError, match="needs a group"):
        group_means([1.0], [])


def test_differences_of_one_size_are_scored_in_units_of_it():
    halves, wholes = numpy.array([0.5] * 6 + [0.0] * 94), numpy.array([1.0] * 6 + [0.0] * 94)
    found = paired_interval(halves, numpy.zeros(100), 0.05)
    scored = 0.5 * paired_interval(wholes, numpy.zeros(100), 0.05).high
    assert found.high == pytest.approx(max(scored, clustered_interval(halves, 0.05).high))


@given(counts, st.floats(0.01, 0.3))
def test_the_prompts_needed_are_more_than_there_are_and_fewer_for_a_wider_margin(sample, margin):
    b, c, n = sample
    interval = paired_score_interval(b, c, n, 0.05)
    needed = prompts_needed(interval, n, margin)
    if interval.value >= margin:
        assert needed is None
    elif interval.high > margin:
        assert needed > n
        assert prompts_needed(interval, n, margin * 1.5) <= needed
    else:
        assert needed == n


def test_with_the_prompts_needed_the_same_rates_do_settle_it():
    interval = paired_score_interval(12, 10, 100, 0.05)
    assert interval.high > 0.05
    needed = prompts_needed(interval, 100, 0.05)
    times = needed / 100
    assert paired_score_interval(round(12 * times), round(10 * times), needed, 0.05).high == pytest.approx(
        0.05, abs=3e-3
    )


@pytest.mark.parametrize(("discordance", "prompts"), [(0.05, 124), (0.10, 248), (0.20, 495)])
def test_prompts_for_power_are_those_of_the_published_formula(discordance, prompts):
    assert prompts_for_power(0.05, discordance, wanted=0.8) == prompts


@settings(max_examples=20)
@given(st.floats(0.02, 0.2), st.floats(0.01, 0.5), st.floats(0.55, 0.99))
def test_the_prompts_for_power_are_the_fewest_that_have_it(margin, discordance, wanted):
    n = prompts_for_power(margin, discordance, wanted=wanted)
    assert power(n, margin, discordance) >= wanted - 1e-9
    if n > 1:
        assert power(n - 1, margin, discordance) < wanted
    assert power(2 * n, margin, discordance) >= power(n, margin, discordance)


def test_without_discordance_power_is_certain_as_soon_as_the_bound_is_below_the_margin():
    fewest = prompts_for_power(0.05, 0.0)
    bounds = [paired_interval([0.0] * n, [0.0] * n, 0.05, margin=0.05).high for n in (fewest, fewest - 1)]
    assert bounds[0] < 0.05 <= bounds[1]
    assert power(fewest, 0.05, 0.0) == 1
    assert power(fewest - 1, 0.05, 0.0) == 0


def test_a_mean_of_perplexities_has_no_floor():
    assert mean_interval([0.0] * 258, 0.0016).high < clustered_interval([0.0] * 258, 0.0016).high
    assert mean_interval([0.0] * 258, 0.0016).high < 0.03
    assert mean_interval([0.2], 0.05).high == 1.2


def test_the_least_effect_is_the_smallest_whose_share_can_be_shown_to_be_kept():
    n, share, alpha = 250, 0.8, 0.025
    least = least_effect(n, share, alpha)
    assert least == pytest.approx(0.08)

    def is_shown(effect):
        base = [1.0] * round(effect * n) + [0.0] * (n - round(effect * n))
        kept = [(1 - share) * value for value in base]  # what the specialist mends, the composition mends
        return paired_interval(kept, [0.0] * n, alpha).low > 0

    assert is_shown(least)
    assert not is_shown(least - 2 / n)
    assert least_effect(10, share, alpha) == math.inf
    assert least_effect(n, 0.5, alpha) < least


@pytest.mark.parametrize("effect", [0.05, 0.08, 0.2, 0.5])
def test_about_so_many_units_are_enough_for_an_effect(effect):
    n = units_for_effect(effect, 0.8, 0.025)
    assert least_effect(math.ceil(1.1 * n), 0.8, 0.025) <= effect < least_effect(math.floor(0.85 * n), 0.8, 0.025)
