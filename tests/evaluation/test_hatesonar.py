"""The judge `hatesonar`, on a model file of the same kind that the test writes."""

import math
import struct

import pytest

from ppm.errors import ModelError
from ppm.evaluation.judges.hatesonar import INSTALL, read_bag_of_words
from ppm.evaluation.judges.registry import make_judge
from ppm.jsonl import Prompt
from ppm.suite import Judge

WORDS = ["bread", "fool", "you"]


def varint(number):
    rest = number >> 7
    return bytes([number & 127 | (128 if rest else 0)]) + (varint(rest) if rest else b"")


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def attribute(name, number, values):
    return field(5, field(1, name) + b"".join(field(number, value) for value in values))


def model_file(coefficients=(0.0, 2.0, 0.0, 0.0, 4.0, 0.5, 1.0, -3.0, 0.0)):
    """An ONNX file with a vectorizer and a linear classifier of three words."""
    words = field(1, field(4, b"TfIdfVectorizer") + attribute(b"pool_strings", 9, [w.encode() for w in WORDS]))
    linear = attribute(b"coefficients", 7, coefficients) + attribute(b"intercepts", 7, [-1.0, 0.0, 1.0])
    idf = field(5, field(1, 3) + field(4, struct.pack("<3f", 1.0, 2.0, 1.0)) + field(8, b"idfcst"))
    return field(1, 8) + field(7, words + field(1, linear) + idf)


def test_probabilities_are_those_of_the_formula():
    found = read_bag_of_words(model_file()).probabilities("You FOOL, you! Unheard-of.")
    # Two times "you" of weight 1 and "fool" of weight 2 make the vector (0, 2, 2) of length sqrt(8).
    part = 2 / math.sqrt(8)
    odds = [math.exp(-1 + 2 * part), math.exp(4.5 * part), math.exp(1 - 3 * part)]
    assert list(found.values()) == pytest.approx([value / sum(odds) for value in odds])
    assert list(found) == ["hate", "offensive", "neither"]


def test_a_text_of_unknown_words_has_the_intercepts_alone():
    for text in ("", "Unheard-of.", "中文"):
        odds = [math.exp(-1), 1.0, math.exp(1)]
        assert list(read_bag_of_words(model_file()).probabilities(text).values()) == pytest.approx(
            [value / sum(odds) for value in odds]
        )


@pytest.mark.parametrize("data", [b"", b"not a model", model_file()[:-9], model_file((1.0, 2.0)), field(7, b"\xff")])
def test_what_is_no_such_model_is_refused(data):
    with pytest.raises(ModelError, match="no bag of words that can be read"):
        read_bag_of_words(data)


def test_without_the_wheel_or_with_another_there_is_one_message(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "hatesonar-0.1.0.dist-info").mkdir()
    (tmp_path / "hatesonar-0.1.0.dist-info" / "METADATA").write_text("Name: hatesonar\nVersion: 0.1.0\n")
    scorer = make_judge(Judge("hatesonar"), {}, "the test")
    with pytest.raises(ModelError, match="needs hatesonar") as caught:
        scorer.prepare()
    assert caught.value.hint == INSTALL
    (tmp_path / "hatesonar" / "model").mkdir(parents=True)
    (tmp_path / "hatesonar" / "model" / "model.onnx").write_bytes(model_file())
    with pytest.raises(ModelError, match="is not the model of hatesonar"):
        scorer.judged([(Prompt("a", "b"), ("c",))])
