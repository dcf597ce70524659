"""How a base is to be run, as users say it."""

import pytest

from ppm.errors import RequestError
from ppm.running import Running, asked_dtype


def test_what_a_user_says_is_read_once():
    assert Running.of("bfloat16", "auto", "2G") == Running("bfloat16", "auto", 2 * 2**30)
    assert Running.of(None, None, 12345).memory == 12345


def test_a_dtype_that_there_is_not_is_refused_with_the_nearest_one():
    with pytest.raises(RequestError, match="'bfloat8'") as caught:
        Running("bfloat8")
    assert "bfloat16" in caught.value.hint


def test_the_environment_variable_is_read_and_checked():
    assert asked_dtype({}) is asked_dtype({"PPM_DTYPE": ""}) is None
    assert asked_dtype({"PPM_DTYPE": "auto"}) == "auto"
    with pytest.raises(RequestError, match="int3") as caught:
        asked_dtype({"PPM_DTYPE": "int3"})
    assert "PPM_DTYPE" in str(caught.value)


def test_float32_and_what_is_not_named_are_not_recorded():
    assert [Running(dtype).recorded for dtype in (None, "auto", "float32", "float16")] == [None, None, None, "float16"]
