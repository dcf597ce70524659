"""What of a source's text goes into a package: a sample within a number of bytes."""

from ppm.jsonl import Benign, dump
from ppm.training.build import _within


def test_as_many_rows_as_fit_go_into_a_package_and_one_at_least():
    rows = [Benign(text) for text in ("a" * 100, "b" * 100, "c" * 100)]
    two = len(dump(rows[:2]))
    assert _within(rows, two) == rows[:2]
    assert _within(rows, two - 1) == rows[:1]
    assert _within(rows, 10) == rows[:1]
