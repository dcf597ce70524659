"""A few compositions on the lab are tested on the same prompts, the next few on others, and again on the same ones."""

from dataclasses import replace

import pytest

from ppm.audit.gate import alpha_of_attempt
from ppm.environment.attempts import Asked, GatedAttempt, ledger_of
from ppm.evaluation.statistics import fewest_units
from ppm.evaluation.suites import base_suites, package_suites
from ppm.lab.prompts import (
    GATE_PROMPTS,
    TOGETHER,
    UTILITY_PROMPTS,
    as_tested,
    digests_of_draws,
    draw_of,
    drawn_anew,
    drawn_digest,
    gate_prompts,
    utility_prompts,
)
from ppm.package import read_package
from ppm.resources import lab_data


@pytest.fixture(scope="module")
def suites():
    return base_suites(lab_data() / "base")


def test_the_first_draw_is_what_ships(suites):
    assert drawn_anew(suites, 0) == list(suites)
    packages = [read_package(path) for path in sorted((lab_data() / "packages").glob("*.ppm"))]
    for suite in package_suites(packages):
        [name] = {prompt.id.partition("-gate-")[0] for prompt in suite.prompts}
        assert list(suite.prompts) == gate_prompts(name, "gate", len(suite.prompts))
        assert drawn_digest(suite, 1) != suite.digest
    for base in ("base", "base-gpt2"):
        for suite in base_suites(lab_data() / base):
            assert list(suite.prompts) == utility_prompts("gate", len(suite.prompts))[suite.label]
            assert drawn_digest(suite, 1) != suite.digest


def test_a_later_draw_has_other_prompts_and_another_digest_but_answers_to_the_same_waiver(suites):
    for suite, drawn, other in zip(suites, drawn_anew(suites, 1), drawn_anew(suites, 2), strict=True):
        texts = [{prompt.prompt for prompt in one.prompts} for one in (suite, drawn, other)]
        assert [len(one) for one in texts] == [len(suite.prompts)] * 3
        assert len(set().union(*texts)) == 3 * len(suite.prompts)
        assert set(drawn.groups) == {prompt.id for prompt in drawn.prompts}
        assert len({suite.digest, drawn.digest, other.digest}) == 3
        assert drawn.digest == drawn_digest(suite, 1)
        own = replace(suite, owner="patch")
        [again] = drawn_anew([own], 1)
        assert again.waiver_digest == own.waiver_digest


def test_what_was_tested_on_a_later_draw_is_found_by_its_digests(suites):
    drawn = drawn_anew(suites, 5)
    assert as_tested(suites, {suite.digest for suite in drawn}) == drawn
    assert as_tested(suites, {suite.digest for suite in suites}) == list(suites)
    for suite, later in zip(suites, drawn, strict=True):
        assert {suite.digest, later.digest} < digests_of_draws(suite)
        own = replace(suite, prompts=suite.prompts[:5])
        assert digests_of_draws(own) == {own.digest}


def test_a_draw_is_for_a_few_compositions_that_its_prompts_suffice_for():
    assert [draw_of(place) for place in range(2 * TOGETHER)] == [0] * TOGETHER + [1] * TOGETHER
    alpha = alpha_of_attempt(0.05, TOGETHER)
    for prompts, margin in ((GATE_PROMPTS, 0.05), (UTILITY_PROMPTS, 0.03)):
        assert fewest_units(margin, alpha) < prompts


def test_other_suites_stay_as_they_are(suites):
    changed = replace(suites[0], prompts=(replace(suites[0].prompts[0], prompt="mine"), *suites[0].prompts[1:]))
    named = replace(suites[0], prompts=tuple(replace(p, id=f"x{p.id}") for p in suites[0].prompts))
    for suite in (changed, named):
        assert drawn_anew([suite], 3) == [suite]
        assert drawn_digest(suite, 3) == suite.digest


def test_a_composition_has_the_same_draw_whenever_it_is_tested(tmp_path):
    ledger = ledger_of(tmp_path, "sha256:" + "0" * 64)
    first, second = (GatedAttempt(name * 64, "concat", 0) for name in "ab")
    assert ledger.place(first) == 0
    ledger.begin(first, [Asked.of("sha256:1", ["one"])])
    assert (ledger.place(first), ledger.place(second)) == (0, 1)
    ledger.begin(second, [Asked.of("sha256:2", ["two"])])
    assert (ledger.place(first), ledger.place(second)) == (0, 1)
