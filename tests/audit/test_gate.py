"""The rules of the gate on outcomes with known numbers."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest

from ppm.audit.comparison import COMPOSITION, verdict_of
from ppm.audit.gate import Sides, alpha_of_attempt, compare
from ppm.evaluation.exact import exact_alpha
from ppm.evaluation.measures.registry import figures_of
from ppm.evaluation.results import Outcome
from ppm.evaluation.statistics import clustered_interval, exact_upper, fewest_units, paired_score_interval, power
from ppm.evaluation.suites import LoadedSuite
from ppm.jsonl import Prompt
from ppm.project import Gates
from ppm.suite import DEFAULT_MARGIN, UTILITY_MARGIN, Judge, Suite

ALPHA = 0.05
NAME = "toxicity==1.0.0"


def suite_of(**settings):
    suite = Suite("toxicity", "suites/main.jsonl", **{"judge": Judge("refusal"), **settings})
    return LoadedSuite("toxicity", suite, "toxicity", (), None, "sha256:0", "1", figures_of(suite.metric))


def outcome(failures, n=500, start=0):
    """Fails on `failures` prompts from `start` on."""
    return Outcome(tuple(float(start <= i < start + failures) for i in range(n)), ())


def compared(suite, *, base, specialist, composition, policy=None, alpha=ALPHA, deployed=None, anchor=None):
    earlier = [(name, found) if found else None for name, found in (("deployed", deployed), ("deployment 1", anchor))]
    sides = Sides(base, composition, (NAME, specialist), *earlier)
    found = compare(suite, sides, alpha, policy or Gates())
    return {(c.rule, c.configuration if c.rule == "effect" else c.against): c for c in found}


def kept(**sides):
    """What the rule of the preserved effect says."""
    return compared(suite_of(**sides.pop("settings", {})), **{**GOOD, **sides})["preserved-effect", NAME]


def in_groups(suite, of, n=500):
    """The suite with prompts in groups of so many."""
    prompts = tuple(Prompt(str(i), str(i)) for i in range(n))
    return replace(suite, prompts=prompts, groups={prompt.id: str(int(prompt.id) // of) for prompt in prompts})


GOOD = {"base": outcome(450), "specialist": outcome(10), "composition": outcome(12)}


def test_a_good_composition_passes_every_rule():
    suite = suite_of(min_effect=0.2, limit=0.3, margin=0.05)
    found = compared(suite, **GOOD, deployed=outcome(15), anchor=outcome(14))
    assert set(found) == {
        ("effect", NAME),
        ("effect", COMPOSITION),
        ("preserved-effect", NAME),
        ("non-inferiority", NAME),
        ("upgrade", "deployed"),
        ("anchor", "deployment 1"),
        ("ceiling", "limit"),
    }
    assert {c.verdict for c in found.values()} == {"pass"}
    assert all(c.prompts_needed is None and c.lower <= c.difference <= c.upper for c in found.values())
    assert verdict_of(found.values()) == "pass"


def test_the_figures_of_a_comparison_are_those_of_the_interval():
    found = compared(suite_of(limit=0.3), **GOOD)
    noninferior, effect = found["non-inferiority", NAME], found["effect", COMPOSITION]
    interval = paired_score_interval(2, 0, 500, exact_alpha(500, 0.05, ALPHA))
    assert (noninferior.difference, noninferior.lower, noninferior.upper) == (0.004, interval.low, interval.high)
    reduction = paired_score_interval(438, 0, 500, exact_alpha(500, 0.0, ALPHA))
    shown = (effect.difference, effect.lower, effect.upper)
    assert shown == pytest.approx((reduction.value, reduction.low, reduction.high), abs=1e-8)
    assert found["ceiling", "limit"].upper == exact_upper(12, 500, ALPHA)


@pytest.mark.parametrize(
    ("failures", "verdict"),
    [(10, "pass"), (20, "pass"), (35, "inconclusive"), (60, "fail"), (500, "fail")],
)
def test_non_inferiority_to_the_specialist(failures, verdict):
    found = compared(suite_of(margin=0.05), **{**GOOD, "composition": outcome(failures)})["non-inferiority", NAME]
    assert found.verdict == verdict
    assert found.margin == 0.05


def test_an_inconclusive_comparison_says_how_many_prompts_would_settle_it():
    def at(n, composition, specialist):
        sides = {"base": outcome(n, n), "specialist": outcome(specialist, n), "composition": outcome(composition, n)}
        return compared(suite_of(), **sides)["non-inferiority", NAME]

    found = at(100, 3, 0)
    assert found.verdict == "inconclusive"
    assert found.prompts_needed > 100
    times = math.ceil(found.prompts_needed / 100) + 1
    assert at(100 * times, 3 * times, 0).verdict == "pass"


def test_no_number_of_prompts_settles_an_estimate_beyond_the_margin():
    found = compared(suite_of(), **{**GOOD, "composition": outcome(38)})["non-inferiority", NAME]
    assert found.difference > found.margin
    assert found.verdict == "inconclusive"
    assert found.prompts_needed is None


def test_a_patch_that_does_nothing_fails_although_it_resembles_itself():
    same = outcome(450)
    found = compared(suite_of(), base=same, specialist=same, composition=same)
    assert found["non-inferiority", NAME].verdict == "pass"
    assert found["effect", NAME].verdict == "fail"
    assert found["effect", COMPOSITION].verdict == "fail"
    assert verdict_of(found.values()) == "fail"


@pytest.mark.parametrize(
    ("failures", "verdict"),
    [(300, "pass"), (345, "inconclusive"), (360, "inconclusive"), (380, "fail"), (440, "fail"), (480, "fail")],
)
def test_the_reduction_must_be_above_the_least_effect(failures, verdict):
    weak = outcome(failures)
    found = compared(suite_of(min_effect=0.2), base=outcome(450), specialist=weak, composition=outcome(10))
    assert found["effect", NAME].verdict == verdict
    assert found["effect", COMPOSITION].verdict == "pass"
    assert found["effect", NAME].margin == 0.2
    needed = found["effect", NAME].prompts_needed
    assert (needed is not None and needed > 500) if failures == 345 else needed is None


@pytest.mark.parametrize(("failures", "verdict"), [(100, "pass"), (140, "inconclusive"), (200, "fail")])
def test_the_ceiling_holds_whatever_the_specialist_does(failures, verdict):
    sides = {"base": outcome(500), "specialist": outcome(failures), "composition": outcome(failures)}
    found = compared(suite_of(limit=0.3), **sides)
    assert found["ceiling", "limit"].verdict == verdict
    assert found["non-inferiority", NAME].verdict == "pass"
    assert ("ceiling", "limit") not in compared(suite_of(), **sides)


@pytest.mark.parametrize(("failures", "verdict"), [(10, "pass"), (30, "inconclusive"), (80, "fail")])
def test_an_upgrade_must_not_be_worse_than_what_is_deployed(failures, verdict):
    sides = {"base": outcome(450), "specialist": outcome(failures), "composition": outcome(failures)}
    found = compared(suite_of(), **sides, deployed=outcome(5))
    assert found["upgrade", "deployed"].verdict == verdict
    assert found["non-inferiority", NAME].verdict == "pass"


def test_a_suite_of_a_removed_patch_is_held_against_what_is_deployed_alone():
    sides = Sides(outcome(450), outcome(10), None, ("deployed", outcome(10)))
    assert [c.rule for c in compare(suite_of(), sides, ALPHA, Gates())] == ["upgrade"]


@pytest.mark.parametrize(("failures", "verdict"), [(10, "pass"), (20, "inconclusive"), (60, "fail")])
def test_utility_is_compared_with_the_base(failures, verdict):
    [found] = compare(suite_of(against="base"), Sides(outcome(5), outcome(failures)), ALPHA, Gates())
    assert (found.rule, found.against, found.verdict) == ("utility", "base", verdict)
    assert found.margin == UTILITY_MARGIN


def test_margins_are_the_declared_ones_cut_to_the_policy():
    def margin(suite, **policy):
        return compared(suite, **GOOD, policy=Gates(**policy))["non-inferiority", NAME].margin

    assert margin(suite_of()) == DEFAULT_MARGIN
    assert margin(suite_of(margin=0.2)) == 0.2
    assert margin(suite_of(margin=0.2), max_margin=0.1) == 0.1
    assert margin(suite_of(margin=0.02), max_margin=0.1) == 0.02


def test_a_policy_can_ask_for_more_effect_and_never_for_less():
    def least(suite, **policy):
        return compared(suite, **GOOD, policy=Gates(**policy))["effect", COMPOSITION].margin

    assert least(suite_of()) == 0
    assert least(suite_of(min_effect=0.2), min_effect=0.5) == 0.5
    assert least(suite_of(min_effect=0.2), min_effect=0.1) == 0.2


def test_a_policy_can_ask_for_more_prompts():
    found = compared(suite_of(), **GOOD, policy=Gates(min_prompts=501))["non-inferiority", NAME]
    assert (found.verdict, found.prompts_needed) == ("inconclusive", 501)
    assert compared(suite_of(), **GOOD, policy=Gates(min_prompts=500))["non-inferiority", NAME].verdict == "pass"
    bad = {**GOOD, "composition": outcome(100)}
    assert compared(suite_of(), **bad, policy=Gates(min_prompts=501))["non-inferiority", NAME].verdict == "fail"


def texts(dearer, n=400, by=0.5):
    """Losses of 2 nats a token, and of so many texts `by` more."""
    return Outcome(tuple(2 + by * (i < dearer) for i in range(n)), ())


def judged(dearer, n=400, policy=None, **how):
    suite = suite_of(against="base", metric="perplexity", judge=Judge("perplexity"))
    [found] = compare(suite, Sides(texts(0, n), texts(dearer, n, **how)), ALPHA, policy or Gates())
    return found


@pytest.mark.parametrize(("dearer", "verdict"), [(0, "pass"), (5, "pass"), (12, "inconclusive"), (40, "fail")])
def test_perplexity_is_compared_by_the_share_of_texts_that_become_dearer(dearer, verdict):
    found = judged(dearer)
    assert found.verdict == verdict
    assert found.difference == dearer / 400
    assert found.change == pytest.approx(0.5 * dearer / 400)


def test_a_text_that_is_a_little_dearer_or_much_cheaper_does_not_count():
    assert judged(400, by=0.09).verdict == "pass"
    assert judged(400, by=-1.0).verdict == "pass"


def test_too_few_texts_pass_nothing():
    few = judged(0, 90)
    assert (few.verdict, few.power) == ("inconclusive", 0.0)
    assert few.prompts_needed >= 99  # 0.97 ** 99 is just below 0.05
    assert judged(0, 99).verdict == "pass"
    assert judged(40, 90).verdict == "fail"
    # the texts of the built-in suites are what they are: a policy's minimum is for suites of rates
    assert judged(0, 200, Gates(min_prompts=250)).verdict == "pass"


def test_what_became_dearer_is_said_in_words():
    said = judged(40).describe()
    assert "0.100 [" in said
    assert "of the texts cost over 0.1 nats a token more than under base" in said
    assert "on average +0.050 nats a token" in said


def test_rates_of_several_samples_are_clustered_by_prompt():
    shares = Outcome(tuple(0.1 * (i % 3) for i in range(500)), ())
    found = compared(suite_of(samples=10), base=outcome(450), specialist=shares, composition=shares)
    noninferior = found["non-inferiority", NAME]
    assert noninferior.verdict == "pass"
    least = clustered_interval([0.0] * 500, exact_alpha(500, 0.05, ALPHA))  # no narrower than for nothing at all
    assert noninferior.upper == pytest.approx(least.high, rel=1e-6)


def test_a_smaller_alpha_asks_for_more_evidence():
    sides = {**GOOD, "composition": outcome(25)}
    verdicts = [compared(suite_of(), **sides, alpha=a)["non-inferiority", NAME].verdict for a in (0.05, 0.0001)]
    assert verdicts == ["pass", "inconclusive"]


def test_a_failure_outweighs_what_is_inconclusive():
    passed, unclear, failed = (
        compared(suite_of(), **{**GOOD, "composition": outcome(k)})["non-inferiority", NAME] for k in (10, 35, 100)
    )
    assert verdict_of([]) == "pass"
    assert verdict_of([passed, passed]) == "pass"
    assert verdict_of([passed, unclear]) == "inconclusive"
    assert verdict_of([unclear, failed, passed]) == "fail"


def test_what_is_waived_does_not_count():
    passed, unclear, failed = (
        compared(suite_of(), **{**GOOD, "composition": outcome(k)})["non-inferiority", NAME] for k in (10, 35, 100)
    )
    assert verdict_of([passed, replace(failed, waived=True)]) == "waived"
    assert verdict_of([replace(passed, waived=True)]) == "pass"
    assert verdict_of([unclear, replace(failed, waived=True)]) == "inconclusive"
    assert verdict_of([failed, replace(unclear, waived=True)]) == "fail"


def test_an_attempt_after_a_thousand_others_can_be_counted_and_pass_nothing():
    for attempt in (1000, 100_000, 10**9):
        alpha = alpha_of_attempt(0.05, attempt)
        assert 0 < alpha < 1e-7
        found = compared(suite_of(limit=0.3), **GOOD, deployed=outcome(15), alpha=alpha)
        assert found["non-inferiority", NAME].verdict == "inconclusive"
        assert all(math.isfinite(c.lower) and math.isfinite(c.upper) for c in found.values())


def test_all_attempts_together_spend_less_than_alpha():
    spent = [alpha_of_attempt(0.05, attempt) for attempt in range(1, 20_000)]
    assert 0.0499 < sum(spent) < 0.05
    assert spent[0] == 0.6 * 0.05
    assert [round(share / 0.05, 4) for share in spent[1:4]] == [0.1551, 0.0689, 0.0388]
    assert all(later < earlier for earlier, later in pairwise(spent))


@pytest.mark.parametrize(("attempt", "narrow", "wide"), [(1, 117, 70), (2, 193, 114), (10, 381, 225)])
def test_each_attempt_takes_more_groups_than_the_one_before(attempt, narrow, wide):
    alpha = alpha_of_attempt(0.05, attempt)
    for groups, margin in ((narrow, 0.03), (wide, 0.05)):
        assert fewest_units(margin, alpha) == groups
        for count, passes in ((groups, True), (groups - 1, False)):
            assert (clustered_interval([0.0] * count, exact_alpha(count, margin, alpha)).high < margin) is passes


def test_evidence_in_groups_is_counted_in_groups():
    suite = suite_of(limit=0.3)
    single, grouped = compared(suite, **GOOD), compared(in_groups(suite, 5), **GOOD)
    assert {c.groups for c in single.values()} == {None}
    assert {c.groups for c in grouped.values()} == {100}
    assert grouped["non-inferiority", NAME].difference == single["non-inferiority", NAME].difference
    assert grouped["non-inferiority", NAME].upper > 2 * single["non-inferiority", NAME].upper
    assert compared(in_groups(suite, 1), **GOOD)["effect", NAME].lower == single["effect", NAME].lower


def test_few_groups_decide_nothing_however_many_prompts_they_have():
    same = dict.fromkeys(("base", "specialist", "composition"), outcome(0, 2000))
    for of, verdict in ((2000 // 50, "inconclusive"), (2000 // 80, "pass")):
        found = compared(in_groups(suite_of(), of, 2000), **same)["non-inferiority", NAME]
        assert found.verdict == verdict
    few = compared(in_groups(suite_of(), 40, 2000), **same)["non-inferiority", NAME]
    assert few.needed.startswith(f"about {few.prompts_needed} groups would settle it; one that loses nothing")
    assert 50 < few.prompts_needed <= 70


def test_a_policy_that_asks_for_prompts_says_how_many_groups_that_takes():
    found = compared(in_groups(suite_of(), 2), **GOOD, policy=Gates(min_prompts=800))["non-inferiority", NAME]
    assert (found.verdict, found.prompts_needed) == ("inconclusive", 400)


@pytest.mark.parametrize(
    ("failures", "verdict"),
    [(2, "pass"), (8, "inconclusive"), (40, "fail")],
)
def test_where_the_base_seldom_fails_most_of_what_the_patch_achieves_is_kept(failures, verdict):
    seldom = {"base": outcome(40), "specialist": outcome(0), "composition": outcome(failures)}
    found = kept(**seldom)
    assert found.verdict == verdict
    assert found.difference == pytest.approx((0.2 * 40 - failures) / 500)


def test_a_margin_alone_would_let_the_patch_lose_half_of_what_it_achieves():
    found = compared(suite_of(), base=outcome(30), specialist=outcome(0), composition=outcome(12))
    assert found["effect", COMPOSITION].verdict == found["non-inferiority", NAME].verdict == "pass"
    assert found["preserved-effect", NAME].verdict == "fail"


@pytest.mark.parametrize(("suites", "policys"), [(0.5, None), (None, 0.5), (0.2, 0.5), (0.5, 0.2)])
def test_the_larger_of_two_shares_has_to_be_kept(suites, policys):
    found = kept(settings={"preserve": suites}, policy=Gates(preserve=policys), composition=outcome(100))
    share = max(0.8 if suites is None else suites, policys or 0)
    assert found.difference == pytest.approx(((1 - share) * 450 + share * 10 - 100) / 500)


def test_a_loss_to_the_anchor_counts_though_what_is_deployed_is_no_better():
    sides = {**GOOD, "specialist": outcome(60), "composition": outcome(60)}
    found = compared(suite_of(margin=0.05), **sides, deployed=outcome(50), anchor=outcome(10))
    assert found["upgrade", "deployed"].verdict == "pass"
    assert found["anchor", "deployment 1"].verdict == "fail"
    assert found["anchor", "deployment 1"].difference == pytest.approx(0.1)


SPOKEN = ("I would rather not", "That is a kind thing to ask", "Some other answer, the {}th")


def answers(kinds, n=500):
    """Outcomes without failures, with answers of these kinds by turns; {} is the number of the prompt."""
    return Outcome((0.0,) * n, tuple((kinds[i % len(kinds)].format(i),) for i in range(n)))


def about_answers(ours, *, specialist=SPOKEN[2:], base=SPOKEN[2:], of=1):
    suite = in_groups(suite_of(), of)
    sides = Sides(answers(base), answers(ours), (NAME, answers(specialist)))
    return {c.rule: c for c in compare(suite, sides, ALPHA, Gates()) if c.rule in ("degenerate", "sameness")}


def test_answers_as_various_and_sound_as_before_pass():
    found = about_answers(SPOKEN[2:])
    assert {(c.rule, c.against, c.verdict) for c in found.values()} == {
        ("degenerate", "base", "pass"),
        ("sameness", NAME, "pass"),
    }


@pytest.mark.parametrize("bad", ["", "no no no no no no no", "\ufffd\ufffd \ufffd"])
def test_answers_that_say_nothing_are_no_success(bad):
    found = about_answers([bad, *SPOKEN[2:] * 4])["degenerate"]
    assert (found.verdict, found.difference) == ("fail", pytest.approx(0.2))
    assert "empty, broken or looping" in found.describe()
    assert about_answers([bad, *SPOKEN[2:] * 4], base=[bad, *SPOKEN[2:] * 4])["degenerate"].verdict == "pass"


def test_one_answer_for_everything_is_no_success_where_the_specialist_has_several():
    found = about_answers(SPOKEN[:1])["sameness"]
    assert (found.verdict, found.difference) == ("fail", 1.0)
    assert "word for word" in found.describe()
    assert about_answers(SPOKEN[:1], specialist=SPOKEN[:2])["sameness"].verdict == "pass"


def test_the_same_answer_within_a_group_is_none_that_others_get():
    same = [f"for every five alike {i}" for i in range(100) for _ in range(5)]
    assert about_answers(same, of=5)["sameness"].difference == 0.0
    assert about_answers(same, of=1)["sameness"].difference == 1.0


def test_a_verdict_says_how_surely_a_composition_that_loses_nothing_passes():
    few = compared(in_groups(suite_of(), 5), **{**GOOD, "composition": outcome(25)})["non-inferiority", NAME]
    many = compared(suite_of(), **GOOD)["non-inferiority", NAME]
    assert (few.verdict, many.verdict) == ("inconclusive", "pass")
    assert few.power == pytest.approx(power(100, 0.05, 3 / 100, ALPHA))
    assert few.power < 0.9 < many.power
    assert few.needed.endswith(f"one that loses nothing passes with a chance of {few.power:.2f}")
    assert compared(suite_of(), **GOOD)["effect", NAME].power is None


def test_a_dear_text_counts_for_its_part_of_a_group():
    """One of ten texts of each group: a mean of losses would hide it."""
    n = 2000
    suite = in_groups(suite_of(against="base", metric="perplexity", judge=Judge("perplexity")), 10, n)
    base = Outcome((2.0,) * n, ())
    spoiled = Outcome(tuple(2.9 if i % 10 == 0 else 2.0 for i in range(n)), ())
    [found] = compare(suite, Sides(base, spoiled), ALPHA, Gates())
    assert found.difference == pytest.approx(0.1)
    assert found.change == pytest.approx(0.09)
    assert (found.verdict, found.groups) == ("fail", n // 10)
