"""Figures corrected for a judge's errors, and figures for pages: what they say, and how often their bounds miss."""

import numpy
import pytest

from ppm.evaluation.correction import Confusion, corrected_difference, corrected_rate
from ppm.evaluation.figures import difference_of, rate_of
from ppm.evaluation.statistics import paired_interval, rate_interval

GOOD = Confusion(190, 10, 194, 6)
ALPHA = 0.05
TRIES = 400
ALLOWED = ALPHA + 3 * (ALPHA * (1 - ALPHA) / TRIES) ** 0.5


def test_the_estimate_is_rogan_and_gladens():
    values = [1.0] * 30 + [0.0] * 70
    assert corrected_rate(values, GOOD, ALPHA).value == pytest.approx((0.3 + 0.97 - 1) / (0.95 + 0.97 - 1))
    assert corrected_rate([0.0] * 100, GOOD, ALPHA).value == 0  # the judge alone would call more of them failures


def test_the_labels_uncertainty_is_part_of_the_bounds():
    values = [1.0] * 30 + [0.0] * 170
    few, many = (corrected_rate(values, Confusion(19 * n, n, 19 * n, n), ALPHA) for n in (1, 100))
    observed = rate_interval(values, ALPHA)
    assert few.high - few.low > many.high - many.low > observed.high - observed.low


@pytest.mark.parametrize("errors", [Confusion(10, 10, 10, 10), Confusion(2, 1, 1, 1), Confusion(5, 15, 5, 15)])
def test_a_judge_no_better_than_chance_leaves_everything_open(errors):
    found = corrected_rate([1.0] * 5 + [0.0] * 95, errors, ALPHA)
    assert (found.low, found.high) == (0, 1)
    difference = corrected_difference([1.0] * 5 + [0.0] * 95, [0.0] * 100, errors, ALPHA)
    assert (difference.low, difference.high) == (-1, 1)


def test_labels_of_one_kind_alone_show_no_errors():
    for counts in ((0, 0, 5, 5), (5, 5, 0, 0), (-1, 5, 5, 5)):
        with pytest.raises(ValueError, match=r"errors take|negative"):
            Confusion(*counts)


@pytest.mark.parametrize(
    ("rate", "se", "sp", "labels"), [(0.02, 0.9, 0.95, 100), (0.3, 0.8, 0.97, 60), (0.9, 0.95, 0.9, 150)]
)
def test_bounds_of_corrected_figures_miss_as_seldom_as_they_say(rate, se, sp, labels):
    rng = numpy.random.default_rng(0)
    low = high = worse = 0

    def observed(true):
        return (rng.binomial(4, true * se + (1 - true) * (1 - sp)) / 4).tolist()

    for _ in range(TRIES):
        errors = Confusion(
            hits := rng.binomial(labels, se), labels - hits, free := rng.binomial(labels, sp), labels - free
        )
        true = rng.beta(5 * rate, 5 * (1 - rate), size=150)
        found = corrected_rate(first := observed(true), errors, ALPHA)
        low, high = low + (found.low > rate), high + (found.high < rate)
        less = true * rng.binomial(1, 0.8, size=150)
        worse += corrected_difference(first, observed(less), errors, ALPHA).high < 0.2 * rate
    assert max(low, high, worse) / TRIES <= ALLOWED


def test_figures_for_pages_are_over_groups_and_say_whether_they_are_judged():
    groups = {f"{g}-{i}": str(g) for g in range(260) for i in range(3)}
    first = {key: float(int(group) % 10 == 0) for key, group in groups.items()}
    second = dict.fromkeys(first, 0.0)
    rate, difference = rate_of(first, groups), difference_of(first, second, groups)
    assert (rate.prompts, rate.groups, rate.judged) == (780, 260, True)
    assert rate.interval == rate_interval([1.0] * 26 + [0.0] * 234, 0.025)
    assert difference.interval == paired_interval([1.0] * 26 + [0.0] * 234, [0.0] * 260, 0.025)
    assert str(rate).startswith("0.100 [0.0")
    few = rate_of({key: first[key] for key in list(first)[:30]}, groups, errors=GOOD)
    assert not few.judged
    assert str(few).startswith("(")
    assert difference_of(first, second, groups, errors=GOOD).interval.high > difference.interval.high


def test_groups_of_other_sizes_count_alike():
    groups = {"a1": "a", "b1": "b", "b2": "b", "b3": "b"}
    assert rate_of({"a1": 1.0, "b1": 0.0, "b2": 0.0, "b3": 0.0}, groups).interval.value == 0.5


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(ValueError, match="'a' has no group"):
        rate_of({"a": 1.0}, {})
    with pytest.raises(ValueError, match="no prompts"):
        rate_of({}, {})
    with pytest.raises(ValueError, match="same prompts"):
        difference_of({"a": 1.0}, {"b": 1.0}, {"a": "a", "b": "b"})
