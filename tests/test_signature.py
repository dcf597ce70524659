"""Options read off a signature: as annotations, as strings, as defaults; and what a mistake is told."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pytest

from ppm.errors import ManifestError
from ppm.signature import schema_of


def plain(
    context,
    *,
    flag: bool = False,
    count: int = 1,
    rate: float = 0.5,
    name: str = "",
    words: Sequence[str] = (),
    weights: tuple[float, ...] = (),
    mode: Literal["a", "b"] = "a",
    maybe: int | None = None,
):
    """Annotated by types."""


def written(
    context,
    *,
    flag: "bool" = False,
    count: "int" = 1,
    rate: "float" = 0.5,
    name: "str" = "",
    words: "Sequence[str]" = (),
    weights: "tuple[float, ...]" = (),
    mode: "Literal['a', 'b']" = "a",
    maybe: "int | None" = None,
):
    """Annotated by strings, as `from __future__ import annotations` leaves them."""


def bare(context, *, flag=False, count=1, rate=0.5, name="", words=("a",), weights=(1.0,), mode="a", maybe=None):
    """Not annotated at all: the defaults say what the kinds are."""


def check(function, **given):
    schema_of(function, keyword_only=True).check(given, "the step 'x'", context="mine.toml", hint="look it up")


GOOD = {
    "flag": True, "count": 3, "rate": 1, "name": "n", "words": ["a"], "weights": [1, 2.0], "mode": "b", "maybe": 4,
}  # fmt: skip


@pytest.mark.parametrize("function", [plain, written, bare])
def test_what_fits_is_taken(function):
    check(function)
    check(function, **GOOD)


@pytest.mark.parametrize("function", [plain, written, bare])
@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"flag": 1}, "true or false"),
        ({"count": 2.0}, "a whole number"),
        ({"count": True}, "a whole number"),
        ({"rate": "0.5"}, "a number"),
        ({"rate": True}, "a number"),
        ({"rate": math.nan}, "a number"),
        ({"name": 7}, "a string"),
        ({"words": "abc"}, "a list of strings"),
        ({"words": [1]}, "a list of strings"),
        ({"weights": ["1"]}, "a list of numbers"),
        ({"weights": [math.inf]}, "a list of numbers"),
        ({"mode": 1}, "a string"),
    ],
)
def test_a_value_of_another_kind_is_told(function, given, words):
    with pytest.raises(ManifestError, match=words) as caught:
        check(function, **given)
    assert (caught.value.context, caught.value.hint) == ("mine.toml", "look it up")


def test_an_unknown_option_names_the_nearest_and_one_left_out_is_told():
    with pytest.raises(ManifestError, match="no option 'cuont'") as caught:
        check(plain, cuont=1)
    assert caught.value.hint == "did you mean 'count'?"

    def needs(context, *, size: int): ...

    with pytest.raises(ManifestError, match="needs the option 'size'"):
        check(needs)


def test_what_an_annotation_does_not_say_is_left_to_the_function():
    def odd(context, *, thing: "pytest.nothing.of_it" = None, **others): ...

    check(odd, thing={"a": 1}, other=3)


def test_annotations_as_strings_run_no_code():
    ran = []

    def hostile(*, a: "ran.append(1)" = None): ...

    check(hostile, a=object())
    assert ran == []


def test_partial_functions_and_callable_objects_have_options_too():
    class Judge:
        def __call__(self, share: "float" = 0.5): ...

    assert schema_of(Judge()).options["share"].kind == "a number"
    assert schema_of(functools.partial(written, count=3), keyword_only=True).options["count"].kind == "a whole number"


def test_a_class_of_options_is_read_as_a_function_is():
    @dataclass(frozen=True, kw_only=True)
    class Options:
        size: int
        rate: float = 0.5
        words: Sequence[str] = ()

    schema = schema_of(Options, keyword_only=True)
    kinds = {name: option.kind for name, option in schema.options.items()}
    assert kinds == {"size": "a whole number", "rate": "a number", "words": "a list of strings"}
    assert schema.filled({"rate": 1.0}) == {"rate": 1.0, "words": ()}


def test_a_default_that_is_no_plain_value_is_not_filled_in():
    def odd(*, size: int = 3, how=print): ...

    assert schema_of(odd).filled({}) == {"size": 3}


def test_what_can_not_be_given_by_name_is_refused():
    with pytest.raises(TypeError, match="by name"):
        schema_of(eval("lambda a, /: a"))
    with pytest.raises(TypeError):
        schema_of(3)
