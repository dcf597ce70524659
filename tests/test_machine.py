"""Sizes as people write them, and what is left of memory."""

import pytest

from ppm.errors import RequestError
from ppm.machine import free_memory, parse_size, shown_size


@pytest.mark.parametrize(
    ("text", "size"), [("4G", 4 * 2**30), ("1.5 GiB", 3 * 2**29), ("800m", 800 * 2**20), ("2048", 2048), ("2KB", 2048)]
)
def test_sizes_are_read_as_people_write_them(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "four", "4X", "-1G", "0", "1G 2G"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(RequestError, match="is not a size") as caught:
        parse_size(text)
    assert "4G" in caught.value.hint


def test_sizes_are_shown_as_they_are_written():
    assert [shown_size(parse_size(text)) for text in ("4G", "1.5G", "800M")] == ["4.0 GiB", "1.5 GiB", "800 MiB"]


def test_some_memory_is_free_memory():
    known = free_memory()
    assert known is None or known > 2**20
