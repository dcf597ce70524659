"""A second judge: its figures and where it differs, beside those that the gate reads."""

from dataclasses import replace

import pytest

from ppm.errors import ManifestError
from ppm.evaluation.results import Outcome, ResultStore
from ppm.evaluation.second import second_opinion
from ppm.evaluation.suites import load_suite
from ppm.jsonl import Prompt, dump
from ppm.suite import Judge, Suite

WORDS = {"words": "suites/w.txt"}
FILES = {
    "p.jsonl": dump([Prompt("a", "one", group="x"), Prompt("b", "two", group="x"), Prompt("c", "three", group="y")]),
    "suites/w.txt": b"bad\n",
    "suites/v.txt": b"bad\nrude\n",
}
SUITE = Suite("civility", "p.jsonl", Judge("lexicon", WORDS), second_judge=Judge("lexicon", {"words": "suites/v.txt"}))
OUTCOME = Outcome((1.0, 0.0, 0.0), (("bad",), ("rude",), ("fine",)))


def loaded(suite=SUITE):
    return load_suite(suite, FILES, origin="x", owner="civility")


def test_it_says_how_many_fail_and_where_it_differs():
    opinion = second_opinion(loaded(), OUTCOME)
    assert (opinion.figure, opinion.prompts, opinion.differ) == (pytest.approx(2 / 3), [1], pytest.approx(1 / 3))


def test_its_figure_is_over_groups_where_the_suites_is():
    assert second_opinion(loaded(replace(SUITE, group="group")), OUTCOME).figure == 0.5


def test_it_changes_neither_what_is_kept_nor_the_first_figure():
    assert loaded().digest == loaded(replace(SUITE, second_judge=None)).digest


def test_there_is_none_without_one_or_without_answers():
    assert second_opinion(loaded(replace(SUITE, second_judge=None)), OUTCOME) is None
    assert second_opinion(loaded(), Outcome((1.0, 0.0, 0.0), ())) is None


def test_goals_of_both_judges_are_the_suites():
    refusals = replace(SUITE, judge=Judge("refusal"), second_judge=Judge("lexicon", WORDS), goal="higher")
    opinion = second_opinion(loaded(refusals), OUTCOME)
    assert opinion.figure == pytest.approx(2 / 3)  # hits of its are successes


@pytest.mark.parametrize("second", [Judge("gender-logits"), Judge("exact-match"), Judge("no-such-judge")])
def test_one_that_can_t_read_the_answers_is_refused(second):
    with pytest.raises(ManifestError):
        loaded(replace(SUITE, second_judge=second))


def test_what_it_says_is_kept_and_asked_again_only_of_other_answers_or_by_another_judge(tmp_path, monkeypatch):
    store = ResultStore(tmp_path, "weights")
    asked = []

    def counted(suite):
        scorer = suite.second
        judged = scorer.judged
        monkeypatch.setattr(type(scorer), "judged", lambda self, cases: asked.append(len(cases)) or judged(cases))
        return suite

    first = second_opinion(counted(loaded()), OUTCOME, store)
    assert asked == [3]
    assert second_opinion(loaded(), OUTCOME, store) == first
    assert asked == [3]
    other = Outcome((1.0, 0.0, 0.0), (("bad",), ("polite",), ("fine",)))
    assert second_opinion(loaded(), other, store).prompts == []
    assert asked == [3, 3]
    stricter = replace(SUITE, second_judge=Judge("lexicon", WORDS))
    second_opinion(loaded(stricter), OUTCOME, store)
    assert len(asked) == 3
    assert second_opinion(loaded(stricter), OUTCOME, ResultStore(tmp_path, "weights", fresh=True)) is not None
    assert len(asked) == 4
