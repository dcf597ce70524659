"""Data files: what is read, what is refused, and where a message points."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppm.errors import ManifestError
from ppm.jsonl import (
    Benign,
    Pair,
    Prompt,
    check_leakage,
    dump,
    last_turn,
    normalised,
    numbered_benign,
    read_benign,
    read_pairs,
    read_prompts,
)

CHAT = (("system", "Be kind."), ("user", "Hello?"))


def refused(read, text: str | bytes) -> tuple[str, str]:
    """(place, message)."""
    with pytest.raises(ManifestError) as caught:
        read(text.encode() if isinstance(text, str) else text, "x.jsonl")
    return caught.value.context.removeprefix("x.jsonl").removeprefix(", "), caught.value.message


def test_prompts_with_what_judges_need():
    full = '{"id": "1", "prompt": "2 + 2?", "expected": "4", "group": "sums", "source": ["a"]}'
    text = full + '\n\n{"id": "2", "prompt": ""}'
    first, second = read_prompts(text.encode(), "x")
    assert first == Prompt("1", "2 + 2?", "4", "sums")
    assert first.extra == {"source": ["a"]}
    assert second == Prompt("2", "")


def test_messages_stand_in_for_a_prompt():
    text = '{"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello?"}]}'
    assert read_benign(text.encode(), "x") == (Benign(CHAT),)


def test_pairs_with_and_without_scores():
    plain = '{"prompt": "p", "chosen": "a", "rejected": "b"'
    text = plain + "}\r\n" + plain + ', "chosen_score": 1}'
    assert read_pairs(text.encode(), "x") == (Pair("p", "a", "b"), Pair("p", "a", "b", 1.0))


def test_a_line_separator_inside_a_string_ends_no_line():
    assert read_benign('{"prompt": "a\u2028b"}'.encode(), "x") == (Benign("a\u2028b"),)


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("", "", "has no lines"),
        (" \n\n", "", "has no lines"),
        ('{"id": "1", "prompt": "a"}\n\n{"id": "2",', "line 3", "is not a JSON object: Expecting property name"),
        ("[1]", "line 1", "is a list, not a JSON object"),
        ('"text"', "line 1", "is 'text', not a JSON object"),
        ("[" * 100_000, "line 1", "is not a JSON object: nested too deeply"),
        ('{"n": ' + "9" * 5000 + "}", "line 1", "is not a JSON object: nested too deeply or out of range"),
        ('{"prompt": "a"}', "line 1", "'id' is missing"),
        ('{"id": 1, "prompt": "a"}', "line 1", "'id' must be a string, not a number"),
        ('{"id": "1"}', "line 1", "'prompt' is missing"),
        ('{"id": "1", "prompt": null}', "line 1", "'prompt' is missing"),
        ('{"id": "1", "prompt": "a"}\n{"id": "1", "prompt": "b"}', "line 2", "the id '1' occurs twice"),
        ('{"id": "1", "prompt": "a", "expected": 4}', "line 1", "'expected' must be a string, not a number"),
        ('{"id": "1", "prompt": "a", "messages": []}', "line 1", "has both 'prompt' and 'messages'"),
        ('{"id": "1", "messages": []}', "line 1", "'messages' must be a list of objects with 'role' and 'content'"),
        ('{"id": "1", "messages": ["a"]}', "line 1", "'messages' must be a list of objects"),
        ('{"id": "1", "messages": [{"role": "user"}]}', "line 1", "'messages' must be a list of objects"),
        ('{"id": "1", "prompt": "\\ud83d"}', "line 1", "has half of a surrogate pair"),
        ('{"id": "1", "prompt": "a", "extra": ["\\uDC00"]}', "line 1", "has half of a surrogate pair"),
        (b'{"id": "1", "prompt": "a"}\n{"id": "\xff"}', "line 2", "is not UTF-8"),
    ],
)
def test_a_bad_line_is_named(text, place, message):
    where, said = refused(read_prompts, text)
    assert where == place
    assert said.startswith(message)


def test_an_escaped_pair_of_surrogates_is_one_character():
    assert read_benign(b'{"prompt": "\\ud83d\\ude00"}', "x") == (Benign("\U0001f600"),)


@pytest.mark.parametrize("score", ["NaN", "Infinity", "1e999", "true", '"1"', "1" + "0" * 400])
def test_scores_are_finite_numbers(score):
    text = f'{{"prompt": "p", "chosen": "a", "rejected": "b", "rejected_score": {score}}}'
    assert refused(read_pairs, text) == ("line 1", "'rejected_score' must be a finite number")


def test_a_pair_that_teaches_nothing_is_refused():
    text = '{"prompt": "p", "chosen": "a", "rejected": " a "}'
    assert refused(read_pairs, text) == ("line 1", "chosen and rejected are the same text")


texts = st.text(st.characters(exclude_categories=["Cs"]))
prompts = texts | st.lists(st.tuples(texts, texts), min_size=1, max_size=3).map(tuple)
scores = st.none() | st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(st.builds(Benign, prompts, st.none() | texts), min_size=1, max_size=3))
def test_benign_texts_survive_a_round_trip(rows):
    assert read_benign(dump(rows), "x") == tuple(rows)


@given(prompts, texts, texts, scores, scores)
def test_pairs_survive_a_round_trip(prompt, chosen, rejected, chosen_score, rejected_score):
    row = Pair(prompt, "a" + chosen, "b" + rejected, chosen_score, rejected_score)
    assert read_pairs(dump([row]), "x") == (row,)


@given(prompts, st.none() | texts, st.none() | texts, st.dictionaries(texts.map("x-".__add__), texts, max_size=2))
def test_prompts_survive_a_round_trip_with_fields_that_are_not_known(prompt, expected, group, extra):
    row = Prompt("1", prompt, expected, group, extra)
    [read] = read_prompts(dump([row]), "x")
    assert (read, read.extra) == (row, extra)


def test_prompts_are_compared_normalised():
    assert normalised("  Ｈello\tWORLD\n") == "hello world"
    assert normalised(CHAT) == "be kind. hello?"
    suite = [Prompt("1", "Hello?"), Prompt("2", "Bye")]
    check_leakage("s", suite, {"a file": [Benign("Hello")], "none": []})
    with pytest.raises(ManifestError, match="a file: trains on a prompt of the suite 's': '  HELLO"):
        check_leakage("s", suite, {"none": [], "a file": [Benign("Hello"), Pair("  HELLO?", "a", "b")]})


def test_a_chat_is_shown_as_what_its_user_said_last():
    assert last_turn(CHAT) == "Hello?"
    assert last_turn((("system", "be kind"),)) == "be kind"
    with pytest.raises(ManifestError, match=r"of the suite 's': 'Hello\?'"):
        check_leakage("s", [Prompt("1", CHAT)], {"a file": [Benign(CHAT)]})


def test_more_than_any_suite_has_is_refused():
    for data, message in (
        (b'{"prompt": "p"}\n' * 100_001, "more than 100,000 lines"),
        (b'{"prompt": "' + b"p" * 2**20 + b'"}', "longer than 1,048,576 bytes"),
        (b'{"prompt": "p", "x": [' + b"{}," * 100_000 + b"{}]}\n", None),
        ((b'{"prompt": "p", "x": [' + b"{}," * 200_000 + b"{}]}\n") * 4, "unknown fields over"),
    ):
        if message is None:
            assert len(read_benign(data, "b")) == 1
            continue
        with pytest.raises(ManifestError, match=message):
            read_benign(data, "b")


def test_rows_know_their_lines():
    data = b'\xef\xbb\xbf\n{"prompt": "one"}\r\n \n\n{"prompt": "two"}'
    assert [(number, row.prompt) for number, row in numbered_benign(data, "x")] == [(2, "one"), (5, "two")]
