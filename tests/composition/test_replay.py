"""Replay buffers: what they keep, and what they give."""

import random
from collections import Counter

import pytest

from ppm.composition.replay import ReplayBuffer, mix
from ppm.jsonl import Pair


def pairs(name, count):
    return [Pair(f"{name}{i}", "x", "y") for i in range(count)]


def counts(rows):
    return Counter(str(pair.prompt)[0] for pair in rows)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.75])
def test_a_balanced_buffer_makes_up_its_share_evenly(share):
    buffer = ReplayBuffer(random.Random(0))
    buffer.add("a", pairs("a", 10))
    buffer.add("b", pairs("b", 200))
    mixed, replayed = mix(pairs("c", 60), buffer, share)
    found = counts(mixed)
    assert found["c"] == 60
    assert (found["a"] + found["b"]) / len(mixed) == pytest.approx(share, abs=0.01)
    assert abs(found["a"] - found["b"]) <= 1
    assert replayed == {name: found[name] for name in "ab" if found[name]}


def test_a_balanced_buffer_with_a_capacity_shares_it_out():
    buffer = ReplayBuffer(random.Random(0), capacity=30)
    for name in "abc":
        buffer.add(name, pairs(name, 100))
        assert {len(rows) for rows in buffer.kept.values()} == {30 // len(buffer.kept)}


def test_a_reservoir_keeps_every_pair_with_the_same_chance():
    kept = Counter()
    for seed in range(400):
        buffer = ReplayBuffer(random.Random(seed), "reservoir", 20)
        buffer.add("a", pairs("a", 20))
        buffer.add("b", pairs("b", 60))
        rows = [pair for own in buffer.kept.values() for pair in own]
        assert len(rows) == len({pair.prompt for pair in rows}) == 20
        kept.update(counts(rows))
    # 8,000 kept pairs, a quarter of them expected from "a"; five standard errors
    assert kept["a"] / 8000 == pytest.approx(0.25, abs=5 * (0.25 * 0.75 / 8000) ** 0.5)


def test_a_reservoir_gives_in_proportion_to_what_it_keeps():
    buffer = ReplayBuffer(random.Random(0), "reservoir", 0)
    buffer.add("a", pairs("a", 10))
    buffer.add("b", pairs("b", 30))
    assert {name: len(rows) for name, rows in buffer.draw(40).items()} == {"a": 10, "b": 30}


def test_a_buffer_smaller_than_the_patches_keeps_one_pair_of_each():
    buffer = ReplayBuffer(random.Random(0), capacity=1)
    for name in "ab":
        buffer.add(name, pairs(name, 5))
    mixed, replayed = mix(pairs("c", 6), buffer, 0.5)
    assert replayed == {"a": 3, "b": 3}
    assert len(mixed) == 12
