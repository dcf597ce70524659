"""Resolving in small random universes, against trying every choice; the benchmark does the same with many more."""

import sys
from collections import Counter
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.parametrize("block", range(4))
def test_random_universes_against_brute_force(block, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    from universes import check

    outcomes = Counter(check(seed) for seed in range(200 * block, 200 * block + 200))
    assert set(outcomes) == {"found", "impossible"}, outcomes
    assert min(outcomes.values()) > 40
