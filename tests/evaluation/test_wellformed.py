"""What counts as a well-formed answer: the rule that judges, builds and audits share."""

import pytest

from ppm.evaluation.wellformed import fault_of, ill_formed, repeated, well_formed_share


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "No.",
        "no, no, no, no!",
        "1. Wash the rice.\n2. Boil the water.\n3. Add the rice to the water.",
        "See https://example.org/a/very/long/path/that/goes/on/and/on/and/on/for/ever",
        "- eggs\n- milk\n- flour\n- sugar",
        "thank you . that was kind .",
        "Der Donaudampfschifffahrtskapitän grüßt.",
        "今天天气很好，我们去公园散步，然后一起吃午饭，下午再回家看书写字做作业听音乐睡觉休息一下吧好不好呀",
        "The cat sat on the mat, and the dog sat on the rug, and then they both went to sl",
        "x = [1, 2, 3]; print(sum(x))",
        "ha ha ha ha",
    ],
)
def test_an_ordinary_answer_is_well_formed(text):
    assert fault_of(text) is None


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "empty"),
        (" \n ... !?", "empty"),
        ("the the the the the the", "looping"),
        ("I will not do that. I will not do that. I will not do that.", "looping"),
        ("ask a friend or " * 3, "looping"),
        ("a b c d e f g h i j k l m n " * 3, "looping"),
        ("caf\ufffd is open", "broken"),
        ("Hello\x00 there", "broken"),
        ("Sure.<|im_start|>user", "broken"),
        ("a" * 41, "broken"),
        (", , . ; the , . ( word", "broken"),
    ],
)
def test_what_is_wrong_with_others_is_named(text, fault):
    assert fault_of(text) == fault


def test_the_share_is_of_all_completions():
    assert well_formed_share([("Yes.", ""), ("No.", "Maybe.")]) == 0.75
    assert well_formed_share([]) is None


def test_the_same_words_are_the_same_answer():
    given = [("Sorry, I can't.", "Yes"), ("sorry  I can't",), ("Yes!",), ("no",)]
    assert repeated(given, ["a", "b", "a", "c"]) == [0.5, 1.0, 0.0, 0.0]
    assert ill_formed([("", "fine"), ("fine",)]) == [0.5, 0.0]
