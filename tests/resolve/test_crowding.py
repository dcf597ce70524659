"""More patches than can be installed together."""

import random
import sys
from itertools import product
from pathlib import Path

import pytest
from asking import failure, pins
from packages import FINGERPRINT
from releases import make_release

from ppm.resolve import Rules, parse_requirement
from ppm.resolve.crowding import crowded
from ppm.resolve.universe import Universe
from ppm.sources import Listing

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def names_of(count):
    return [f"p{i}" for i in range(1, count + 1)]


def conflicting(count, groups):
    """Every version of a patch conflicts with that version of all others."""
    names = names_of(count)
    return [
        make_release(name, str(group), {}, {other: f"=={group}" for other in names if other != name})
        for name in names
        for group in range(1, groups + 1)
    ]


def needing(count, groups):
    """The same, for they need different versions of something."""
    names = names_of(count)
    releases = [
        make_release(name, str(group), {f"core{group}": f"=={i}"})
        for i, name in enumerate(names, 1)
        for group in range(1, groups + 1)
    ]
    return releases + [
        make_release(f"core{group}", str(i)) for group in range(1, groups + 1) for i in range(1, count + 1)
    ]


@pytest.mark.parametrize("count", range(6, 13))
@pytest.mark.parametrize(
    ("kind", "why"), [(conflicting, "they conflict with each other"), (needing, "versions of core1")]
)
def test_patches_that_exclude_each_other_in_fewer_groups(count, kind, why):
    names = names_of(count)
    lines = failure(" ".join(names), kind(count, count - 1), seconds=20).splitlines()
    assert lines[0] == f"You asked for {', '.join(names[:-1])} and {names[-1]}."
    if count > 6:
        group = f"{', '.join(f'{name} 1' for name in names[:-1])} and {names[-1]} 1"
        assert lines[1].startswith(f"No two of {group} fit together: ")
        assert why in lines[1]
        assert (
            lines[-2] == f"So at most {count - 1} of {', '.join(names[:-1])} and {names[-1]} can be installed together."
        )
    assert lines[-1] == f"hint: leave out {names[-1]}, or install it into its own environment with --env NAME"
    assert len(pins(" ".join(names[:-1]), kind(count - 1, count - 1)).split()) >= count - 1


def test_versions_that_exclude_the_same_are_counted_once():
    releases = conflicting(8, 7)
    again = [
        make_release(c.name, f"{c.version}.1", {}, {w.name: str(w.specifier) for w in c.conflicts.values()})
        for c in releases
    ]
    wide = [
        make_release(c.name, str(c.version), {}, dict.fromkeys(c.conflicts, f"=={c.version.major}.*"))
        for c in (*releases, *again)
    ]
    lines = failure(" ".join(names_of(8)), wide, seconds=20).splitlines()
    assert lines[1].startswith("No two of p1 (1 and 1.1), p2 (1 and 1.1), ")


def test_a_crowd_that_is_needed_by_what_was_asked_for():
    app = make_release("app", "1.0", dict.fromkeys(names_of(8), "*"))
    lines = failure("app", [*conflicting(8, 7), app], seconds=20).splitlines()
    assert lines[:2] == ["You asked for app.", "app 1.0, the only version, needs p1, p2, p3, p4, p5, p6, p7 and p8."]
    assert lines[-2].startswith("So at most 7 of p1, ")
    assert lines[-1].startswith("hint: no single change to the request is enough; ask the vendors of app, p1, ")


def test_what_counting_says_is_so(monkeypatch):
    """Against trying every choice, of patches with many conflicts."""
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    from universes import excludes

    proven = 0
    for seed in range(400):
        rng = random.Random(seed)
        names, groups = names_of(rng.choice((3, 4))), rng.choice((2, 3))
        releases = [
            make_release(
                name,
                str(version),
                {},
                {other: f"=={v}" for other in names for v in [rng.randint(1, groups)] if other != name},
            )
            for name in names
            for version in range(1, groups + 1)
        ]
        universe = Universe(Listing(releases), FINGERPRINT, Rules())
        if not crowded([parse_requirement(name) for name in names], universe):
            continue
        proven += 1
        choices = product(*([c for c in releases if c.name == name] for name in names))
        assert all(any(excludes(one, other) for one in choice for other in choice) for choice in choices), seed
    assert proven >= 20


def test_where_there_is_room_counting_says_nothing():
    for count in range(2, 8):
        universe = Universe(Listing(conflicting(count, count)), FINGERPRINT, Rules())
        assert crowded([parse_requirement(name) for name in names_of(count)], universe) == ()
