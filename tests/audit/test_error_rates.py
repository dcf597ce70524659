"""Proof that the gate keeps its word: exact where every outcome can be enumerated, else by simulation."""

import numpy
import pytest

from benchmarks.error_rates import (
    LOSSES,
    drifts,
    exact_error,
    exact_error_of_shares,
    exact_power,
    groups_needed,
    of_breaking,
    of_templates,
    passes,
    simulated_error,
    with_adaptive,
    with_attempts,
    with_clusters,
    with_few_prompts,
    with_groups,
    with_looks,
    with_rebuilds,
    with_skewed_loss,
)
from ppm.evaluation.exact import exact_alpha
from ppm.evaluation.statistics import paired_score_interval

AUDITS = 4_000
THREE_STANDARD_ERRORS = 3 * (0.05 * 0.95 / AUDITS) ** 0.5


@pytest.mark.parametrize("margin", [0.03, 0.05])
@pytest.mark.parametrize("alpha", [0.05, 0.03, 0.00775])
def test_a_composition_worse_by_the_margin_passes_with_a_chance_of_alpha_at_most(margin, alpha):
    assert exact_error(500, margin, alpha) > alpha  # by the interval as it is
    error = exact_error(500, margin, exact_alpha(500, margin, alpha))
    assert error <= alpha + 1e-9
    assert error >= 0.85 * alpha  # else the gate would be blunter than it has to be


def test_the_enumeration_decides_as_the_interval_does():
    rng = numpy.random.default_rng(0)
    for margin, alpha in ((0.05, 0.05), (0.03, 0.0125)):
        b, c = rng.integers(0, 40, 150), rng.integers(0, 25, 150)
        wanted = [paired_score_interval(int(x), int(y), 500, alpha).high < margin for x, y in zip(b, c, strict=True)]
        assert passes(b, c, 500, margin, alpha).tolist() == wanted
        assert 0 < sum(wanted) < 150


@pytest.mark.slow
@pytest.mark.parametrize(
    "audit",
    [
        pytest.param(with_looks(500, 0.05, 0.05, (0.4, 0.7)), id="two looks"),
        pytest.param(with_attempts(500, 0.05, 0.05, 3), id="three attempts"),
        pytest.param(with_attempts(300, 0.05, 0.05, 10), id="ten attempts"),
        pytest.param(with_rebuilds(500, 0.05, 0.05, 24, counted=True), id="24 builds under other names"),
        pytest.param(with_adaptive(500, 0.05, 0.05, 10, sealed=True), id="ten attempts on a sealed suite"),
        pytest.param(with_clusters(500, 5, 0.05, 0.05, 20.0), id="clusters of alike prompts"),
        pytest.param(with_clusters(500, 25, 0.05, 0.05, 1.0), id="clusters of unlike prompts"),
        pytest.param(with_few_prompts(500, 5, 0.05, 0.05, 0.95), id="few prompts that fail"),
        pytest.param(with_few_prompts(200, 5, 0.05, 0.05, 0.5), id="few prompts that fail half of the time"),
    ],
)
def test_whole_audits_pass_what_they_must_not_with_a_chance_of_alpha(audit):
    assert simulated_error(audit, AUDITS) <= 0.05 + THREE_STANDARD_ERRORS


def test_builds_under_other_names_that_are_each_the_first_attempt_pass_far_too_often():
    assert simulated_error(with_rebuilds(500, 0.05, 0.05, 24, counted=False), 300) > 0.3


@pytest.mark.parametrize("values", [of_templates, of_breaking])
@pytest.mark.parametrize("groups", [20, 75, 200])
def test_prompts_of_templates_pass_wrongly_with_a_chance_of_alpha_where_they_are_counted_in_groups(values, groups):
    audits, alpha = 400, 0.05
    found = simulated_error(with_groups(values, groups, 500, 0.05, alpha, grouped=True, loss=0.05), audits)
    assert found <= alpha + 3 * (alpha * (1 - alpha) / audits) ** 0.5


def test_prompts_of_few_templates_counted_one_by_one_pass_far_too_often():
    assert simulated_error(with_groups(of_templates, 8, 500, 0.05, 0.025, grouped=False, loss=0.05), 200) > 0.3


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES)
def test_many_upgrades_that_each_lose_a_little_end_near_the_margin(loss):
    """Each upgrade brings fresh prompts, so each may be passed wrongly; without the anchor nothing holds them."""
    old, new = (drifts(loss, anchored=anchored, runs=100) for anchored in (False, True))
    assert old[:, -1].mean() > 0.4
    assert new[:, -1].mean() < 0.05 + loss / 2
    # an upgrade that goes past the margin passes with a chance of alpha
    tried = (new[:, :-1] + loss >= 0.05 - 1e-9) & (new[:, :-1] < 0.05 - 1e-9)
    passed = tried & (new[:, 1:] > new[:, :-1])
    assert tried.sum() > 1000
    assert passed.sum() / tried.sum() <= 0.03 + 3 * (0.03 * 0.97 / tried.sum()) ** 0.5


@pytest.mark.slow
def test_where_no_chance_is_claimed_the_docs_say_what_it_is():
    """Of vendors who mend what they are shown."""
    assert simulated_error(with_adaptive(500, 0.05, 0.05, 3, sealed=False), 1_000) > 0.98


@pytest.mark.slow
@pytest.mark.parametrize("n", [200, 400, 1000])
def test_losses_on_few_texts_pass_no_more_often_than_is_said(n):
    assert simulated_error(with_skewed_loss(n, 0.03, 0.03, 0.03), 4_000) <= 0.03 + 3 * (0.03 * 0.97 / 4_000) ** 0.5
    assert simulated_error(with_skewed_loss(n, 0.03, 0.03, 0.0), 100) == 1.0


@pytest.mark.slow
def test_a_mean_of_losses_would_let_more_pass_the_fewer_texts_have_it():
    shares = (0.005, 0.03)
    few, many = (simulated_error(with_skewed_loss(400, 0.03, 0.03, s, by_mean=True), 1_000) for s in shares)
    assert few > many > 0.04


def test_power_is_that_of_simulated_audits_and_grows_with_the_groups():
    rng = numpy.random.default_rng(0)
    n, margin, alpha, discordance = 300, 0.05, 0.03, 0.04
    c = rng.binomial(n, discordance, 20_000)
    b = rng.binomial(c, 0.5)
    simulated = passes(b, c - b, n, margin, alpha).mean()
    assert exact_power(n, margin, discordance, alpha) == pytest.approx(simulated, abs=0.01)
    assert groups_needed(0.05, 0.03, 0.03) < groups_needed(0.05, 0.05, 0.03) < groups_needed(0.05, 0.05, 0.03, 0.8)
    assert groups_needed(0.05, 0.05, 0.03) < groups_needed(0.03, 0.05, 0.03)


def test_a_first_attempt_passes_at_least_as_often_as_with_half_of_alpha():
    assert exact_power(500, 0.03, 0.03, exact_alpha(500, 0.03, 0.03)) >= exact_power(500, 0.03, 0.03, 0.025)


@pytest.mark.slow
@pytest.mark.parametrize("n", [115, 200])
def test_units_that_count_as_shares_pass_wrongly_no_more_often_than_the_docs_say(n):
    assert exact_error_of_shares(n, 0.05, 0.03) < 0.0315
    assert exact_error_of_shares(n, 0.03, 0.00775) < 0.00775
