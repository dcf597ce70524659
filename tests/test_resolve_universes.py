"""Resolving in small random universes, against trying every choice."""

import random
from itertools import product
from types import SimpleNamespace

import pytest
from candidates import make_candidate
from packages import FINGERPRINT
from packaging.specifiers import SpecifierSet

from ppm.errors import ResolutionError
from ppm.resolve import Pin, parse_requirement, resolve
from ppm.sources import Candidate


def run(request: str, candidates: list[Candidate]) -> tuple[Pin, ...]:
    requirements = [parse_requirement(text) for text in request.split()]
    return resolve(requirements, candidates, fingerprint=FINGERPRINT, base_name="acme/tiny").pins


NAMES = ("a", "b", "c", "d", "e")
SPECIFIERS = ("*", "*", "<2", ">=2", "==1", "!=2", ">=3")


def random_universe(seed: int) -> SimpleNamespace:
    """Up to five names of up to three versions, with cycles, conflicts, virtual names and replacements."""
    rng = random.Random(seed)
    candidates = []
    names = NAMES[: rng.choice((3, 4, 5, 5))]
    for name in names:
        for version in rng.sample(("1", "2", "3"), rng.randint(1, 3)):
            others = [other for other in (*names, rng.choice(("virtual", "e"))) if other != name]
            candidates.append(
                make_candidate(
                    name,
                    version,
                    {rng.choice(others): rng.choice(SPECIFIERS) for _ in range(rng.choice((0, 1, 1, 2)))},
                    {rng.choice(others): rng.choice(SPECIFIERS) for _ in range(rng.choice((0, 0, 1)))},
                    provides=rng.choice(((), (), ("virtual",), ("e",))) if name != "e" else (),
                    replaces={rng.choice(others): rng.choice(SPECIFIERS)} if rng.random() < 0.1 else {},
                )
            )
    request = [rng.choice((*names, "virtual")) + rng.choice(SPECIFIERS).strip("*") for _ in range(rng.randint(1, 3))]
    return SimpleNamespace(candidates=candidates, request=" ".join(request))


def solvable(requirements, candidates: list[Candidate]) -> bool:
    """Try every choice of at most one version a name, by the rules as a person would state them."""
    versions = {name: [None, *(c for c in candidates if c.name == name)] for name in NAMES}
    return any(sound(requirements, [c for c in choice if c is not None]) for choice in product(*versions.values()))


def sound(requirements, chosen: list[Candidate]) -> bool:
    wanted = [(r.name, str(r.specifier)) for r in requirements]
    wanted += [need for c in chosen for need in c.manifest.dependencies.items()]
    unwanted = [(c, *pair) for c in chosen for pair in c.manifest.conflicts.items()]
    replaced = [(c, *pair) for c in chosen for pair in c.manifest.patch.replaces.items()]

    def fits(candidate, name, specifier):
        return candidate.name == name and candidate.version in SpecifierSet(specifier.strip("*"))

    def stands_for(candidate, name):
        return name in candidate.manifest.patch.provides or name in candidate.manifest.patch.replaces

    met = all(
        any(fits(c, name, spec) or (spec in ("", "*") and stands_for(c, name)) for c in chosen) for name, spec in wanted
    )
    excluded = any(
        other is not owner and (fits(other, name, spec) or (spec == "*" and name in other.manifest.patch.provides))
        for owner, name, spec in unwanted
        for other in chosen
    )
    return met and not excluded and not any(fits(c, name, spec) for _, name, spec in replaced for c in chosen)


@pytest.mark.parametrize("block", range(4))
def test_random_universes_against_brute_force(block):
    outcomes = []
    for seed in range(100 * block, 100 * block + 100):
        universe = random_universe(seed)
        requirements = [parse_requirement(text) for text in universe.request.split()]
        expected = solvable(requirements, universe.candidates)
        if expected:
            chosen = [pin.candidate for pin in run(universe.request, universe.candidates)]
            assert sound(requirements, chosen), (seed, universe.request)
        else:
            with pytest.raises(ResolutionError) as caught:
                run(universe.request, universe.candidates)
            check_explanation(caught.value, universe)
        outcomes.append(expected)
    assert 15 < sum(outcomes) < 85


def check_explanation(error: ResolutionError, universe: SimpleNamespace) -> None:
    """It has an end, names no machinery, and a hint to ask for something else works when followed."""
    lines = error.message.splitlines()
    assert len(lines) > 2
    assert error.hint
    assert all(line.endswith(".") for line in lines), lines
    if " instead of " in error.hint:
        new, _, old = error.hint.partition(", which")[0].removeprefix("ask for ").partition(" instead of ")
        changed = universe.request.split()
        changed[changed.index(old)] = new
        assert run(" ".join(changed), universe.candidates)
    if error.hint.startswith("leave out "):
        dropped = parse_requirement(error.hint.removeprefix("leave out ").split(",")[0]).name
        kept = [text for text in universe.request.split() if parse_requirement(text).name != dropped]
        assert run(" ".join(kept), universe.candidates)
