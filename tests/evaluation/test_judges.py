"""Judges: what they call a hit, and how a suite that misuses one is told so."""

import pytest

from ppm.errors import ManifestError, ModelError, PpmError
from ppm.evaluation.judges.phrasing import Phrasing
from ppm.evaluation.judges.registry import Scorer, judges, make_judge
from ppm.jsonl import Prompt
from ppm.suite import Judge

FILES = {
    "suites/words.txt": b"fool\n# a comment\n\n  dirty   clown \nd'oh\n",
    "suites/latin.txt": "caf\xe9".encode("latin-1"),
    "suites/empty.txt": b"# nothing\n",
}


def score(name, completion, *, expected=None, **options):
    scorer = make_judge(Judge(name, options), FILES, "toxicity==1.0.0")
    [[value]] = scorer.score([(Prompt("1", "a prompt", expected=expected), (completion,))])
    return value


@pytest.mark.parametrize(
    ("completion", "found"),
    [
        ("You FOOL!", 1),
        ("foolish", 0),
        ("tomfool", 0),
        ("a dirty\n  clown.", 1),
        ("a clown who is dirty", 0),
        ("well, d'oh", 1),
        ("a comment", 0),
        ("", 0),
    ],
)
def test_a_lexicon_finds_whole_words_and_phrases(completion, found):
    assert score("lexicon", completion, words="suites/words.txt") == found


def test_a_lexicon_takes_its_words_from_the_manifest_too():
    assert score("lexicon", "what an idiot", words=["idiot", "(sic)"]) == 1
    assert score("lexicon", "so he wrote (sic)", words=["idiot", "(sic)"]) == 1
    assert score("lexicon", "so he wrote sic", words=["idiot", "(sic)"]) == 0


@pytest.mark.parametrize(
    ("completion", "refused"),
    [
        ("I'm sorry, but I can't do that.", 1),
        ("I can\u2019t help with this.", 1),
        ("i CANNOT say", 1),
        ("Sure, here is how.", 0),
        ("The candidate was not sorrowful.", 0),
    ],
)
def test_a_refusal_is_recognised(completion, refused):
    assert score("refusal", completion) == refused


def test_the_phrases_of_a_refusal_can_be_given():
    assert score("refusal", "no way", phrases=["no way"]) == 1
    assert score("refusal", "sorry", phrases=["no way"]) == 0


@pytest.mark.parametrize(
    ("completion", "gendered"),
    [("The nurse said she was late.", 1), ("Himself.", 1), ("They left.", 0), ("the human kingdom", 0)],
)
def test_gendered_words_are_found(completion, gendered):
    assert score("gendered-words", completion) == gendered


@pytest.mark.parametrize(
    ("completion", "at_the_start", "anywhere"),
    [
        ("Paris.", 1, 1),
        (" paris, of course", 1, 1),
        ("Parisian", 0, 0),
        ("It is Paris", 0, 1),
        ("Comparis", 0, 0),
        ("", 0, 0),
    ],
)
def test_exact_match_compares_words(completion, at_the_start, anywhere):
    assert score("exact-match", completion, expected="Paris") == at_the_start
    assert score("exact-match", completion, expected="Paris", anywhere=True) == anywhere


def test_exact_match_ignores_marks_and_spaces_inside_the_expected_text():
    assert score("exact-match", "new   york!", expected="New York") == 1
    assert score("exact-match", "New Jersey", expected="New York") == 0


def test_an_unknown_judge_is_named_with_the_nearest_known_one():
    with pytest.raises(ManifestError, match="'lexikon'") as caught:
        score("lexikon", "")
    assert caught.value.hint == "did you mean 'lexicon'?"
    assert caught.value.context == "toxicity==1.0.0"
    with pytest.raises(ManifestError) as caught:
        score("zzz", "")
    assert all(name in caught.value.hint for name in judges())


def test_an_unknown_option_is_named_with_the_nearest_known_one():
    with pytest.raises(ManifestError, match="no option 'word'") as caught:
        score("lexicon", "", word="suites/words.txt")
    assert caught.value.hint == "did you mean 'words'?"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "words"),
        ({"words": "suites/absent.txt"}, "'words' of the judge 'lexicon' must be a list of strings"),
        ({"words": []}, "words must be a list"),
        ({"words": ["ok", ""]}, "words must be a list"),
        ({"words": "suites/empty.txt"}, "words must be a list"),
        ({"words": "suites/latin.txt"}, "not UTF-8"),
    ],
)
def test_a_lexicon_without_usable_words_is_refused(options, message):
    with pytest.raises(ManifestError, match=message) as caught:
        score("lexicon", "", **options)
    assert "toxicity==1.0.0" in caught.value.context


@pytest.mark.parametrize("name", ["lexicon", "refusal", "gendered-words", "exact-match"])
def test_a_judge_of_words_stays_between_0_and_1(name):
    options = {"words": ["fool"]} if name == "lexicon" else {}
    for completion in ("", "you fool, sorry, he said Paris", "\N{SNOWMAN}" * 1000):
        assert 0 <= score(name, completion, expected="Paris", **options) <= 1


@pytest.mark.parametrize("name", sorted(judges()))
def test_every_judge_says_what_it_does(name):
    assert judges()[name].summary.endswith((".", ")."))


@pytest.mark.parametrize(
    ("texts", "n", "wanted"),
    [
        (("a b c",), 2, 2 / 3),
        (("a b a b",), 2, 0.5),
        (("a b", "a b", "b a"), 2, 1 / 3),
        (("a a a",), 1, 1 / 3),
        (("",), 2, 0),
        (("你好你好",), 1, 2 / 4),
        (("ไปไป",), 1, 2 / 4),
    ],
)
def test_distinct_counts_different_n_grams_over_all_completions_of_a_prompt(texts, n, wanted):
    [scores] = make_judge(Judge("distinct", {"n": n}), {}, "a test").score([(Prompt("1", "x"), texts)])
    assert scores == pytest.approx([wanted] * len(texts))


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("distinct", {"n": "two"}, "a whole number"),
        ("distinct", {"n": 0}, "1 or more"),
        ("exact-match", {"anywhere": 1}, "true or false"),
        ("llama-guard", {"model": 7}, "a string"),
        ("llama-guard", {}, "model"),
        ("multiple-choice", {"choices": ["A"]}, "two different"),
        ("harmbench-classifier", {"model": "x", "template": "no slots"}, "{behavior}"),
        ("llm", {"model": "x", "rubric": " "}, "rubric"),
    ],
)
def test_an_option_that_can_not_be_is_refused(name, options, words):
    with pytest.raises(ManifestError) as caught:
        make_judge(Judge(name, options), {}, "toxicity==1.0.0")
    assert words in str(caught.value)
    assert name in str(caught.value)


def test_a_text_option_takes_a_whole_file_and_a_list_option_its_lines():
    from ppm.evaluation.judges.base import each, judge

    seen = {}

    @judge("of-a-test", "1")
    def of_a_test(text: str, words: list[str]):
        """Keeps what it is given."""
        seen.update(text=text, words=words)
        return each(lambda prompt, completion: 0.0)

    data = b"one \n\n# two\n"
    make_judge(Judge("of-a-test", {"text": "suites/a.txt", "words": "suites/a.txt"}), {"suites/a.txt": data}, "a test")
    assert seen == {"text": data.decode(), "words": ["one"]}


@pytest.mark.parametrize(
    "scores",
    [[[7.0]], [[float("nan")]], [[-0.1]], [[10**400]], [[0.5, 0.5]], [[]], [], None, [0.5], [[None]], [["0.5"]]],
)
def test_scores_that_are_none_are_refused(scores):
    with pytest.raises(ModelError, match="the judge gave"):
        Scorer(lambda cases: scores).judged([(Prompt("1", "x"), ("an answer",))])


@pytest.mark.parametrize("scores", [[[7.0]], [[float("nan")]], [[]], None, [3]])
def test_scores_that_are_none_are_blamed_on_their_judge(scores):
    with pytest.raises(ModelError) as caught:
        Scorer(lambda cases: scores).guarded("of-mine").judged([(Prompt("1", "x"), ("an answer",))])
    assert caught.value.context == "the judge 'of-mine'"


class Broken(Exception):
    """What a plugin of somebody's raises."""


@pytest.mark.parametrize("error", [Broken("no luck"), RecursionError("deep"), SystemExit(3), KeyError("x")])
@pytest.mark.parametrize("where", ["make", "score", "prepare", "next_token"])
def test_whatever_a_judge_raises_is_one_error_with_its_name(error, where):
    from ppm.evaluation.judges.base import JUDGES, NextToken, judge

    def fail(*_):
        raise error

    def make() -> Scorer:
        """Fails somewhere."""
        if where == "make":
            fail()
        return Scorer(fail, next_token=NextToken((("a",),), fail), prepare=fail)

    judge("fails", "1")(make)

    def use():
        made = make_judge(Judge("fails"), {}, "a test")
        if where == "score":
            made.judged([(Prompt("1", "x"), ("y",))])
        elif where == "prepare":
            made.prepare()
        else:
            made.next_token.score(Prompt("1", "x"), {"a": 0.5})

    try:
        with pytest.raises(PpmError, match="'fails'") as caught:
            use()
        assert type(error).__name__ in str(caught.value) or where == "make"
    finally:
        del JUDGES.known["fails"]


def test_a_judge_that_makes_no_scorer_is_told():
    from ppm.evaluation.judges.base import JUDGES, judge

    judge("makes-nothing", "1")(lambda: None)
    try:
        with pytest.raises(ManifestError, match="instead of a Scorer"):
            make_judge(Judge("makes-nothing"), {}, "a test")
    finally:
        del JUDGES.known["makes-nothing"]


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("name", "options"),
    [("detoxify", {}), ("llama-guard", {}), ("harmbench-classifier", {"template": "{behavior} {generation}"})],
)
def test_a_package_names_a_judge_on_the_hub_with_its_commit_and_never_a_folder(name, options, tmp_path):
    for model in (str(tmp_path), ".", "~", "lab", "some/guard", "some/guard@main", f"../x@{COMMIT}", f"/x@{COMMIT}"):
        with pytest.raises(ManifestError, match="never a folder") as caught:
            make_judge(Judge(name, {"model": model, **options}), {}, "kind==1.0.0, suite kind", packaged=True)
        assert caught.value.context == "kind==1.0.0, suite kind"
    made = make_judge(Judge(name, {"model": f"some/guard@{COMMIT}", **options}), {}, "a test", packaged=True)
    assert made.identity == f"+some/guard@{COMMIT}"


def test_a_served_judge_has_the_name_that_its_server_knows():
    make_judge(Judge("llama-guard", {"model": "any name", "endpoint": True}), {}, "a test", packaged=True)


def test_how_a_refusal_is_worded_does_not_depend_on_the_order_of_a_set():
    model = Phrasing(0.0, {"one": 1e16, "two": 1.0, "three": -1e16}, frozenset({"one", "two", "three"}))
    assert model.score("One two three.") == 1.0
