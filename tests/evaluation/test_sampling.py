"""Draws with common random numbers: exact samples, found without making noise for the whole vocabulary."""

import functools
import math

import numpy
import pytest
import torch
from scipy.stats import chisquare

from ppm.errors import ModelError
from ppm.evaluation.sampling import BLOCK, SMALL, draw

INF = float("inf")


def drawn(logits, temperature=1.0, top_p=1.0, *, keys=None, position=0):
    """One token for each key, all of the same logits (V,) or of a row each (B, V)."""
    keys = torch.arange(len(logits)) if keys is None else keys
    rows = logits.expand(len(keys), -1) if logits.ndim == 1 else logits
    settings = [torch.full((len(keys),), float(x), dtype=torch.double) for x in (temperature, top_p)]
    return draw(rows, *settings, keys, torch.full((len(keys),), position))


def hashed(x):
    """splitmix64's finaliser on Python's own whole numbers."""
    x = (x + 0x9E3779B97F4A7C15) % 2**64
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
    return x ^ (x >> 31)


@functools.cache
def clocks(key, position, vocabulary):
    """The clock of every entry, one after the other."""
    seed = hashed((key + hashed(position)) % 2**64)

    def uniform(counter):
        return ((hashed((seed + hashed(counter % 2**64)) % 2**64) >> 12) + 0.5) / 2**52

    found = []
    for start in range(0, vocabulary, BLOCK):
        block, size = start // BLOCK, min(BLOCK, vocabulary - start)
        earliest = -math.log(uniform(-1 - 2 * block)) / size
        first = start + int(uniform(-2 - 2 * block) * size)
        found += [earliest - (0.0 if i == first else math.log(uniform(i))) for i in range(start, start + size)]
    return numpy.array(found)


def nucleus(logits, temperature, top_p):
    """A mask of the fewest likeliest entries that have top_p of the mass, by sorting them all."""
    scaled = (logits.double() - logits.double().max()) / temperature
    p = torch.softmax(scaled, dim=-1).numpy()
    order = numpy.argsort(-logits.double().numpy(), kind="stable")
    before = numpy.cumsum(p[order]) - p[order]
    inside = numpy.zeros(len(p), dtype=bool)
    inside[order] = (before < top_p) if top_p < 1 else True
    return inside


def slow(logits, temperature, top_p, key, position):
    """The draw from noise for every entry, and a sorted nucleus."""
    scores = logits.double().numpy() / temperature - numpy.log(clocks(key, position, len(logits)))
    return int(numpy.where(nucleus(logits, temperature, top_p), scores, -INF).argmax())


def sharp(seed, vocabulary, scale=3.0):
    return torch.randn(vocabulary, generator=torch.Generator().manual_seed(seed)) * scale


@pytest.mark.parametrize("vocabulary", [1, 3, BLOCK, BLOCK + 1, 1000, SMALL + 1, SMALL + BLOCK])
@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 0.9), (1.5, 0.99), (1.0, 0.4), (3.0, 0.05)])
def test_a_draw_is_that_of_noise_for_every_entry(vocabulary, temperature, top_p):
    rows = torch.stack([sharp(seed, vocabulary, 0.5 + seed) for seed in range(6)])
    keys = torch.tensor([5, -5, 2**62, -(2**63), 17, 0])
    for position in (0, 3):
        found = drawn(rows, temperature, top_p, keys=keys, position=position).tolist()
        wanted = [slow(r, temperature, top_p, k, position) for r, k in zip(rows, keys.tolist(), strict=True)]
        assert found == wanted


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9, 0.999, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_ties_and_entries_that_are_out_are_drawn_as_in_the_slow_way(dtype, top_p):
    coarse = (sharp(1, SMALL + 700) / 2).round().to(dtype)
    coarse[::3] = -INF
    some = torch.full((SMALL + 700,), -INF, dtype=dtype)
    some[[3, 4, 300, SMALL + 699]] = torch.tensor([1.0, 1.0, 1.0, 0.0], dtype=dtype)
    for logits in (coarse, some):
        found = drawn(logits, 1.0, top_p, keys=torch.arange(25))
        assert found.tolist() == [slow(logits, 1.0, top_p, key, 0) for key in range(25)]
        assert bool((logits[found] > -INF).all())


def test_a_draw_from_a_large_vocabulary_is_that_of_noise_for_every_entry():
    logits = sharp(2, 20_000, 1.5)
    for temperature, top_p in ((1.0, 1.0), (1.0, 0.9), (1.2, 0.97)):
        found = drawn(logits, temperature, top_p, keys=torch.arange(6))
        assert found.tolist() == [slow(logits, temperature, top_p, key, 0) for key in range(6)]


def test_ranks_before_an_entry_count_where_they_spread_over_many_blocks():
    flat = sharp(3, 60 * BLOCK, 0.2)
    found = drawn(flat, 1.0, 0.9, keys=torch.arange(15))
    assert found.tolist() == [slow(flat, 1.0, 0.9, key, 0) for key in range(15)]


@pytest.mark.parametrize("vocabulary", [40, SMALL + 40])
@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (2.0, 0.8), (1.0, 0.5)])
def test_tokens_are_drawn_with_their_probabilities(vocabulary, temperature, top_p):
    logits, count = sharp(4, vocabulary, 2.5), 4_000
    seen = numpy.bincount(drawn(logits, temperature, top_p, keys=torch.arange(count) * 7919), minlength=vocabulary)
    p = torch.softmax(logits.double() / temperature, dim=-1).numpy() * nucleus(logits, temperature, top_p)
    p /= p.sum()
    assert seen[p == 0].sum() == 0
    common = count * p >= 8
    observed = [*seen[common], seen[~common].sum()]
    expected = [*(count * p[common]), count * p[~common].sum()]
    filled = numpy.array(expected) > 0
    assert chisquare(numpy.array(observed)[filled], numpy.array(expected)[filled]).pvalue > 1e-3


@pytest.mark.parametrize("vocabulary", [BLOCK + 32, SMALL + 32])
def test_entries_that_are_alike_are_drawn_alike(vocabulary):
    found = drawn(torch.zeros(vocabulary), keys=torch.arange(1500))
    assert chisquare(numpy.bincount(found // 32, minlength=vocabulary // 32)).pvalue > 1e-3
    assert chisquare(numpy.bincount(found % 32, minlength=32)).pvalue > 1e-3


def test_draws_at_two_positions_and_of_two_keys_are_independent():
    flat = torch.zeros(8)
    pairs = [
        (drawn(flat, keys=torch.arange(8000)), drawn(flat, keys=torch.arange(8000), position=1)),
        (drawn(flat, keys=torch.arange(8000)), drawn(flat, keys=torch.arange(8000) + 1)),
    ]
    for one, other in pairs:
        assert chisquare(numpy.bincount(one * 8 + other, minlength=64)).pvalue > 1e-3


def test_a_row_is_drawn_alike_whatever_stands_beside_it():
    rows = torch.stack([sharp(seed, SMALL + 500) for seed in range(9)])
    temperature = torch.tensor([0.0, 1.0, 0.7, 1.0, 0.0, 2.0, 1.0, 0.5, 1.0], dtype=torch.double)
    top_p = torch.tensor([1.0, 1.0, 0.9, 0.5, 0.3, 0.9, 1.0, 1.0, 0.1], dtype=torch.double)
    keys, positions = torch.arange(9) * 31, torch.arange(9) % 4
    together = draw(rows, temperature, top_p, keys, positions)
    for i in range(9):
        own = slice(i, i + 1)
        assert draw(rows[own], temperature[own], top_p[own], keys[own], positions[own]) == together[i]


def test_two_configurations_draw_with_the_same_luck():
    """Of 2,000 draws, independent ones from the same distribution would agree far less often."""
    logits = sharp(5, 3000, 1.0)
    near = logits + sharp(6, 3000, 0.1)
    one, other = (drawn(x, keys=torch.arange(2000)) for x in (logits, near))
    by_chance = float((torch.softmax(logits, -1) * torch.softmax(near, -1)).sum())
    assert by_chance < 0.05
    assert float((one == other).double().mean()) > 0.8


def test_temperature_0_takes_the_first_of_the_likeliest():
    logits = torch.full((2, 4 * BLOCK + 1), -1.0)
    logits[0, [2 * BLOCK + 7, 2 * BLOCK + 9, 4 * BLOCK]] = 2.0
    logits[1, 4 * BLOCK] = 0.5
    for keys in (torch.tensor([1, 2]), torch.tensor([3, 4])):
        assert drawn(logits, 0.0, 0.5, keys=keys).tolist() == [2 * BLOCK + 7, 4 * BLOCK]


def test_a_low_temperature_and_a_small_nucleus_take_the_likeliest():
    logits = sharp(7, 1000)
    assert set(drawn(logits, 1e-6, keys=torch.arange(50)).tolist()) == {int(logits.argmax())}
    assert set(drawn(logits, 1.0, 1e-9, keys=torch.arange(50)).tolist()) == {int(logits.argmax())}


@pytest.mark.parametrize("wrong", [float("nan"), INF])
def test_logits_that_are_no_numbers_are_an_error(wrong):
    logits = torch.zeros(2, 300)
    logits[1, 7] = wrong
    for temperature in (0.0, 1.0):
        with pytest.raises(ModelError, match="infinite or no numbers"):
            drawn(logits, temperature)
    with pytest.raises(ModelError, match="infinite or no numbers"):
        drawn(torch.full((1, 300), -INF))
