"""Pairs are chosen by an acceptable winner and a clear margin, and every prompt that is dropped is counted."""

import pytest

from ppm.errors import TrainingError
from ppm.evaluation.judges.base import each
from ppm.jsonl import Prompt
from ppm.training.pairs import Counts, choose_pairs, distinct_prompts
from ppm.training_table import Collect

GRADES = {"kind": 0.0, "dull": 0.4, "sharp": 0.7, "rude": 1.0, "": 0.0, "   ": 0.0}
SCORER = each(lambda prompt, text: GRADES[text])


def choose(answers, goal="lower", **settings):
    """`answers`: by prompt, the teacher's and the base's."""
    chosen = [[text] if isinstance(text, str) else text for text, _ in answers.values()]
    rejected = [[text] if isinstance(text, str) else text for _, text in answers.values()]
    settings = Collect(**{"least_pairs": 1, **settings})
    return choose_pairs(list(answers), chosen, rejected, SCORER, settings, goal, Counts(len(answers)))


def test_every_prompt_is_a_pair_or_is_counted_once():
    found = choose(
        {
            "clear": ("kind", "rude"),
            "silent teacher": ("", "rude"),
            "silent base": ("kind", "   "),
            "the same": ("rude", "rude"),
            "bad teacher": ("sharp", "rude"),
            "good base": ("kind", "dull"),
        }
    )
    assert [(p.prompt, p.chosen, p.rejected, p.chosen_score, p.rejected_score) for p in found.pairs] == [
        ("clear", "kind", "rude", 0.0, 1.0)
    ]
    counts = found.counts
    assert (counts.without_answer, counts.same_answer, counts.teacher_not_acceptable, counts.base_not_worse) == (
        2,
        1,
        1,
        1,
    )
    assert counts.teacher_failures == pytest.approx((0 + 0 + 0 + 1 + 0.7 + 0) / 6, abs=1e-4)
    assert "1 pairs of 6 prompts; dropped: 2 without an answer" in counts.words()


def test_the_teachers_best_and_the_bases_worst_answer_make_the_pair():
    [pair] = choose({"x": (["rude", "", "kind", "dull"], ["kind", "rude", "sharp"])}).pairs
    assert (pair.chosen, pair.rejected) == ("kind", "rude")


def test_for_the_goal_higher_what_the_judge_finds_is_wanted():
    [pair] = choose({"x": ("rude", "kind"), "y": ("kind", "rude")}, goal="higher").pairs
    assert (pair.prompt, pair.chosen) == ("x", "rude")


@pytest.mark.parametrize(("margin", "acceptable", "kept"), [(0.5, 0.5, 3), (0.8, 0.5, 1), (0.5, 0.0, 2), (0.3, 0.5, 4)])
def test_margin_and_acceptable_say_what_is_clear(margin, acceptable, kept):
    answers = {
        "a": ("kind", "rude"),
        "b": ("kind", "sharp"),
        "c": ("dull", "rude"),
        "d": ("kind", "dull"),
        "e": ("sharp", "rude"),
    }
    assert choose(answers, margin=margin, acceptable=acceptable).counts.pairs == kept


def test_a_teacher_no_safer_than_the_base_is_refused_with_the_counts():
    answers = {str(i): ("rude" if i % 2 else "kind", "rude" if i % 2 == 0 else "sharp") for i in range(40)}
    with pytest.raises(TrainingError) as caught:
        choose({**answers, **{f"x{i}": ("rude", "sharp") for i in range(60)}}, least_pairs=50)
    assert "only 20 pairs of 100 prompts" in caught.value.message
    assert "80 with an unacceptable answer from the teacher" in caught.value.message
    assert "teacher" in caught.value.hint


def test_repetitions_and_prompts_of_suites_are_left_out():
    prompts, counts = distinct_prompts(["One", "two", " ONE ", "three", (("user", "Two"),)], [Prompt("1", "THREE")])
    assert prompts == ["One", "two"]
    assert (counts.prompts, counts.repeated, counts.in_suites) == (5, 2, 1)


def test_of_equally_good_answers_the_first_is_taken_whatever_its_letters():
    grades = each(lambda prompt, text: float(text.startswith("bad")))
    chosen, rejected = [["zebra", "apple"]], [["bad apple", "bad zebra"]]
    found = choose_pairs(["x"], chosen, rejected, grades, Collect(least_pairs=1), "lower", Counts(1))
    assert [(pair.chosen, pair.rejected) for pair in found.pairs] == [("zebra", "bad apple")]
