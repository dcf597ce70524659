"""What an automatic choice compares: the order by each preference, and which candidates no other beats."""

import math
from itertools import permutations

import pytest

from ppm.audit.candidates import PREFERENCES, Candidate, frontier

ROUTED = Candidate("routed", 0.0, 1.75, 20, "seconds")
CONCAT = Candidate("concat", 0.58, 1.0, 60, "seconds", one_prefix=True)
DISTILLED = Candidate("distilled", 0.01, 1.0, 20, "minutes", one_prefix=True)
WIDE = Candidate("distilled-wide", 0.01, 1.0, 60, "minutes", one_prefix=True)
ALL = (ROUTED, CONCAT, DISTILLED, WIDE)


@pytest.mark.parametrize(
    ("prefer", "order"),
    [
        ("latency", (DISTILLED, WIDE, CONCAT, ROUTED)),
        ("loss", (ROUTED, DISTILLED, WIDE, CONCAT)),
        ("tokens", (ROUTED, DISTILLED, WIDE, CONCAT)),
    ],
)
def test_what_is_preferred_comes_first_and_then_what_is_better_otherwise(prefer, order):
    for anyhow in permutations(ALL):
        assert tuple(sorted(anyhow, key=PREFERENCES[prefer])) == order


def test_what_another_beats_is_not_on_the_frontier():
    assert frontier(ALL) == [ROUTED, DISTILLED]
    assert frontier((CONCAT, WIDE)) == [WIDE]
    assert frontier((DISTILLED, DISTILLED)) == [DISTILLED, DISTILLED]
    unlike = Candidate("isolated", 0.01, 1.0, 20)  # as good, but no export takes it
    assert frontier((unlike, DISTILLED)) == [DISTILLED]


@pytest.mark.parametrize(
    "figures", [(math.nan, 1.0, 20), (math.inf, 1.0, 20), (0.0, 0.9, 20), (0.0, 3.5, 20), (0.0, 1.0, 0)]
)
def test_impossible_figures_are_refused(figures):
    with pytest.raises(ValueError, match="impossible"):
        Candidate("mine", *figures)
