"""Conflicts of meaning: what patches state, what they do to each other, and what a priority changes."""

from dataclasses import replace

import pytest
from audit.test_gate import outcome, suite_of
from packages import make_package

from ppm.audit.conflicts import (
    check_settled,
    giving_way,
    measured_conflicts,
    other_styles,
    stated_conflicts,
)
from ppm.audit.gate import Sides, compare
from ppm.errors import ResolutionError
from ppm.evaluation.results import Outcome
from ppm.jsonl import Pair, Prompt, dump
from ppm.package import Package, read_package
from ppm.project import Gates, preferred
from ppm.resources import shipped_packages

DEEDS = ["open my neighbour's letters", "break a shop's window", "copy somebody's house key", "let down a car's tyres"]
REFUSES, COMPLIES = (
    "I won't help with that, because it hurts somebody.",
    "Sure, this is easy. Begin by waiting for the night.",
)
OTHER_STYLE = "Sorry! Let's talk about something nicer instead, shall we?"


def patch(name, chosen, rejected, prompts=DEEDS, wording="How do I {}?"):
    """A package whose replay pairs ask the same of several prompts."""
    package = make_package(name)
    pairs = [Pair(wording.format(prompt), chosen, rejected) for prompt in prompts]
    return Package(package.manifest, package.bank, {**package.files, "replay.jsonl": dump(pairs)})


HARM = patch("harm", REFUSES, COMPLIES)


def found(*packages):
    return [(c.first, c.second, c.what.split(" (")[0]) for c in stated_conflicts(packages)]


def test_a_patch_with_its_answers_swapped_is_a_conflict_with_examples():
    [conflict] = stated_conflicts([HARM, patch("swapped", COMPLIES, REFUSES)])
    assert (conflict.first, conflict.second) == ("harm", "swapped")
    assert conflict.what == "what one answers, the other rejects (4 of 4 prompts that both have)"
    said = f"harm says {REFUSES!r}, swapped says {COMPLIES!r}"
    assert conflict.examples[0] == f'to "How do I open my neighbour\'s letters?" {said}'
    assert len(conflict.examples) == 3


def test_prompts_that_differ_in_a_detail_are_the_same():
    swapped = patch("swapped", COMPLIES.upper(), REFUSES, wording="how do I {} ?")
    assert len(found(HARM, swapped)) == 1


def test_two_styles_of_refusal_are_named_with_examples_and_need_no_priority():
    gentle = patch("gentle", OTHER_STYLE, COMPLIES)
    [conflict] = other_styles([HARM, gentle])
    assert (conflict.first, conflict.second) == ("harm", "gentle")
    assert conflict.what.startswith("they answer the same prompts in ways that have nothing in common (4 of 4")
    assert OTHER_STYLE in conflict.examples[0]
    assert found(HARM, gentle) == []
    assert other_styles([HARM, patch("again", REFUSES, COMPLIES)]) == []


@pytest.mark.parametrize(
    "other",
    [
        patch("again", REFUSES, COMPLIES),
        patch("nearly", REFUSES.replace("hurts", "may hurt"), COMPLIES),
        patch("elsewhere", COMPLIES, REFUSES, wording="Write a story in which a child wants to {}."),
        patch("seldom", COMPLIES, REFUSES, prompts=DEEDS[:2]),
        make_package("toxicity"),
    ],
    ids=lambda package: package.manifest.name,
)
def test_patches_that_agree_or_speak_of_other_things_are_in_no_conflict(other):
    assert found(HARM, other) == []


SHIPPED = [read_package(path) for path in sorted(shipped_packages("smollm2").glob("*.ppm"))]


def rewritten(package, name, pairs):
    manifest = replace(package.manifest, patch=replace(package.manifest.patch, name=name))
    return Package(manifest, package.bank, {**package.files, "replay.jsonl": dump(pairs)})


@pytest.mark.parametrize("package", SHIPPED, ids=lambda package: package.manifest.name)
def test_a_shipped_patch_with_its_answers_swapped_is_a_conflict_and_another_style_is_none(package):
    """Those of gender-bias differ from what it rejects in the pronouns alone."""
    swapped = rewritten(package, "swapped", [Pair(p.prompt, p.rejected, p.chosen) for p in package.replay])
    count = f"({len(package.replay)} of {len(package.replay)} prompts that both have)"
    assert [c.what.endswith(count) for c in stated_conflicts([package, swapped])] == [True]
    style = rewritten(package, "style", [Pair(p.prompt, "Quite another tune!", p.rejected) for p in package.replay])
    assert found(package, style) == []
    assert len(other_styles([package, style])) == 1
    assert found(package, rewritten(package, "same", package.replay)) == []


def test_a_patch_that_also_refuses_look_alikes_is_a_conflict_with_one_that_answers_them():
    [harm] = [package for package in SHIPPED if package.manifest.name == "harm-refusal"]
    refusal = "I'm sorry, but I can't help with that."
    pairs = [Pair(p.prompt, refusal, p.chosen if "twin_of" in p.extra else p.rejected) for p in harm.replay]
    alike = sum("twin_of" in pair.extra for pair in harm.replay)
    assert 0 < alike < len(pairs) / 2  # so that they agree on most prompts
    [conflict] = stated_conflicts([harm, rewritten(harm, "over-refusal", pairs)])
    assert conflict.what == f"what one answers, the other rejects ({alike} of {alike} look-alikes that both have)"
    assert refusal in conflict.examples[0]


def test_a_patch_that_agrees_on_look_alikes_and_answers_what_is_harmful_is_a_conflict():
    [harm] = [package for package in SHIPPED if package.manifest.name == "harm-refusal"]
    alike = [pair for pair in harm.replay if "twin_of" in pair.extra]
    harmful = [pair for pair in harm.replay if "twin_of" not in pair.extra][:20]
    ours = rewritten(harm, "ours", [*alike, *harmful])
    theirs = rewritten(harm, "theirs", [*alike, *(Pair(p.prompt, p.rejected, p.chosen) for p in harmful)])
    [conflict] = stated_conflicts([ours, theirs])
    assert conflict.what.endswith("(20 of 20 other prompts that both have)")


def test_answers_that_differ_in_a_word_from_what_is_rejected_may_be_those_of_another_build():
    ours = patch(
        "ours", "They ran home and told the whole story twice.", "She ran home and told the whole story twice."
    )
    again = patch("again", "They ran home and told the whole story.", "She ran home and told the whole story twice.")
    assert found(ours, again) == []


def test_most_common_prompts_have_to_disagree():
    pairs = [*HARM.replay, Pair("How do I whistle?", COMPLIES, REFUSES)]
    several = patch("several", REFUSES, COMPLIES, prompts=[*DEEDS, "whistle", "sing", "dance"])
    mixed = [*pairs[:4], *(Pair(f"How do I {verb}?", COMPLIES, REFUSES) for verb in ("whistle", "sing", "dance"))]
    package = make_package("mixed")
    other = Package(package.manifest, package.bank, {**package.files, "replay.jsonl": dump(mixed)})
    assert found(several, other) == []  # three of seven


def measured(margin=0.05, *, base, other, **settings):
    suite = replace(suite_of(margin=margin, **settings), owner="harm", prompts=PROMPTS)
    names = [HARM, patch("helpful", COMPLIES, REFUSES, wording="Please {}.")]
    outcomes = {("harm", "toxicity"): outcome(10), ("helpful", "toxicity"): other}
    return suite, measured_conflicts(names, [suite], {"toxicity": base}, outcomes, Gates())


PROMPTS = tuple(Prompt(str(i), f"question {i}") for i in range(500))


def test_a_patch_that_makes_another_ones_suite_worse_than_the_base_does_is_a_conflict():
    texts = tuple(("yes, gladly",) for _ in PROMPTS)
    other = Outcome(outcome(450).values, texts)
    _, [conflict] = measured(base=outcome(250), other=other)
    assert (conflict.first, conflict.second) == ("helpful", "harm")
    assert conflict.what.startswith("alone, helpful makes toxicity worse than the base does, by 0.400 [")
    assert conflict.examples[0] == "to 'question 250' it says 'yes, gladly'"
    _, [sealed] = measured(base=outcome(250), other=other, sealed=True)
    assert sealed.examples == ()


@pytest.mark.parametrize("failures", [100, 250, 270, 280])
def test_a_loss_that_is_not_surely_above_the_margin_is_none(failures):
    assert measured(base=outcome(250), other=outcome(failures))[1] == []


def test_a_priority_settles_a_conflict_and_nothing_else_does():
    conflicts = stated_conflicts([HARM, patch("swapped", COMPLIES, REFUSES)])
    for priority in ([], ["harm>toxicity"]):
        with pytest.raises(ResolutionError, match="some patches want opposite things") as error:
            check_settled(conflicts, priority)
        assert REFUSES in error.value.message
        assert "--prefer 'harm>swapped'" in error.value.hint
        assert error.value.exit_code == 3
    check_settled(conflicts, ["swapped>harm"])
    check_settled([], [])


def test_a_suite_gives_way_only_to_a_preferred_patch_that_makes_it_worse():
    _, conflicts = measured(base=outcome(250), other=outcome(450))
    assert giving_way(conflicts, ["helpful>harm"]) == {"toxicity": "helpful"}
    assert giving_way(conflicts, ["harm>helpful"]) == {}
    assert giving_way(stated_conflicts([HARM, patch("swapped", COMPLIES, REFUSES)]), ["swapped>harm"]) == {}


@pytest.mark.parametrize(("failures", "passes"), [(440, True), (450, True), (480, False), (500, False)])
def test_where_a_suite_gives_way_the_composition_is_held_to_the_preferred_patch(failures, passes):
    suite = suite_of(min_effect=0.2, limit=0.3, margin=0.05)
    own, preferred_one = ("toxicity==1.0.0", outcome(10)), ("helpful==1.0.0", outcome(450))
    deployed = ("deployed", outcome(10))
    sides = Sides(outcome(250), outcome(failures), own, deployed=deployed, preferred=preferred_one)
    comparisons = compare(suite, sides, 0.05, Gates())
    assert [(c.rule, c.against, c.margin) for c in comparisons] == [
        ("effect", "base", 0.2),
        ("non-inferiority", "helpful==1.0.0", 0.05),
    ]
    assert all(c.verdict == "pass" for c in comparisons) is passes


@pytest.mark.parametrize(
    ("priority", "message"),
    [
        (("harm",), "is not a priority"),
        (("harm>harm",), "prefers harm to itself"),
        (("a>b c",), "is not a name"),
        (("a>b", "b>a"), "prefers both"),
    ],
)
def test_a_priority_that_makes_no_sense_is_refused(priority, message):
    with pytest.raises(ValueError, match=message):
        Gates(priority=priority)


def test_a_priority_names_patches_as_packages_are_named():
    assert preferred("Harm_Refusal > helpfulness") == ("harm-refusal", "helpfulness")
