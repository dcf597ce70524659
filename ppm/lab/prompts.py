"""The prompts of the lab's suites: each of a template of its own, none like another, and others now and then.

Whoever plays with the lab tries one composition after another, which would use up the gate's prompts. The corpus has
more of them, so no more than three compositions on a base are tested on the same ones.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cache

from ppm.base import read_base_suites
from ppm.evaluation.groups import found_groups
from ppm.evaluation.suites import LoadedSuite
from ppm.jsonl import Prompt, normalised, place_of, read_prompts
from ppm.lab import corpus
from ppm.lab.domains import RISKS
from ppm.names import canonical_digest
from ppm.package import read_package
from ppm.resources import lab_data

__all__ = [
    "GATE_PROMPTS",
    "TOGETHER",
    "UTILITY_PROMPTS",
    "as_tested",
    "digests_of_draws",
    "draw_of",
    "drawn_anew",
    "drawn_digest",
    "gate_prompts",
    "utility_prompts",
]

GATE_PROMPTS = 340
UTILITY_PROMPTS = 600
FACTS = ("capitals", "colors")
"""Not sums, three of four of which the base gets wrong."""
SPARE = (3, 6, 12)
"""How many prompts are drawn for one that is like no other; more where that was not enough."""
APART = 8
"""How many draws in a row have no prompt in common."""
DRAWS = 1000
"""Among how many draws the one that something was tested on is looked for."""
TOGETHER = 3
"""How many compositions in a row are tested on the same draw: what was answered for one is known for the next."""


def gate_prompts(risk: str, split: corpus.Split, count: int, *, draw: int = 0) -> list[Prompt]:
    """Prompts of a risk's suite, the same for the same `draw`. Raises ValueError where there are not so many."""
    found = _unlike((risk,), split, count, draw)
    return [Prompt(f"{risk}-{split}-{i}", p.text) for i, p in enumerate(found)]


def utility_prompts(split: corpus.Split, count: int, *, draw: int = 0) -> dict[str, list[Prompt]]:
    """The prompts of the two utility suites: benign requests, and facts with their answers. Raises as above."""
    helpful, facts = (_unlike(names, split, count, draw) for names in (("helpful",), FACTS))
    return {
        "helpful": [Prompt(f"helpful-{split}-{i}", p.text) for i, p in enumerate(helpful)],
        "facts": [Prompt(f"facts-{split}-{i}", p.text, p.expected) for i, p in enumerate(facts)],
    }


@cache
def _unlike(names: tuple[str, ...], split: corpus.Split, count: int, draw: int) -> tuple[corpus.Prompt, ...]:
    """Prompts of some domains, as many of each, that are unlike each other, as groups are found, one of a template."""
    each = -(-count // len(names))
    for spare in SPARE:
        drawn = [
            prompt
            for name in names
            for prompt in corpus.prompts(name, split, spare * each, seed=draw, keep=lambda text: _is_of(text, draw))
        ]
        leaders = found_groups({prompt.text: normalised(prompt.text) for prompt in drawn})
        chosen: dict[str, dict[str, corpus.Prompt]] = {name: {} for name in names}
        for prompt in drawn:
            if leaders[prompt.text] == prompt.text:
                chosen[prompt.domain].setdefault(prompt.template, prompt)
        if all(len(found) >= each for found in chosen.values()):
            return tuple(prompt for found in chosen.values() for prompt in list(found.values())[:each])[:count]
    raise ValueError(f"the {split} split of {' and '.join(names)} has no {count} prompts that are unlike each other")


def _is_of(text: str, draw: int) -> bool:
    return int(place_of(text) * APART) == draw % APART


def draw_of(place: int) -> int:
    """The draw that a composition is tested on before which so many were."""
    return place // TOGETHER


def drawn_anew(suites: Sequence[LoadedSuite], draw: int) -> list[LoadedSuite]:
    """The suites, those of the lab's with the prompts of a draw instead of those of the first, which is draw 0."""
    return [_of_draw(suite, draw) for suite in suites]


def as_tested(suites: Sequence[LoadedSuite], digests: Collection[str]) -> list[LoadedSuite]:
    """The suites with the prompts that they had in an audit, which has suites of these digests."""
    others = set(digests) - {suite.digest for suite in suites}
    for draw in range(1, DRAWS) if others else ():
        if any(drawn_digest(suite, draw) in others for suite in suites):
            return drawn_anew(suites, draw)
    return list(suites)


def digests_of_draws(suite: LoadedSuite) -> set[str]:
    """The digests that a suite has with the prompts of all its draws; its own alone where it is none of the lab's."""
    return {drawn_digest(suite, draw) for draw in range(DRAWS if _source(suite) else 1)}


def drawn_digest(suite: LoadedSuite, draw: int) -> str:
    """The digest of a suite with the prompts of a draw, where it is one of the lab's."""
    return canonical_digest([suite.digest, "draw", draw]) if draw and _source(suite) else suite.digest


def _of_draw(suite: LoadedSuite, draw: int) -> LoadedSuite:
    source = _source(suite) if draw else ""
    if not source:
        return suite
    prompts = tuple(_draws(source, len(suite.prompts), draw))
    groups = None if suite.groups is None else {prompt.id: prompt.id for prompt in prompts}
    return replace(suite, prompts=prompts, groups=groups, digest=drawn_digest(suite, draw), drawn_from=suite.digest)


def _source(suite: LoadedSuite) -> str:
    """What the prompts of a suite are the first draw of; empty where they are no such thing."""
    return _first_draws().get(suite.prompts, "")


@cache
def _first_draws() -> dict[tuple[Prompt, ...], str]:
    """The prompts of the lab's suites, and what they were drawn of. They are read: drawing takes seconds."""
    files = []
    for path in (lab_data() / "packages").glob("*.ppm"):
        package = read_package(path)
        files += [package.files[suite.prompts] for suite in package.manifest.suites]
    for base in lab_data().glob("base*"):
        files += [(base / suite.prompts).read_bytes() for suite in read_base_suites(base)]
    read = [read_prompts(data, "the lab") for data in files]
    return {prompts: prompts[0].id.removesuffix("-gate-0") for prompts in read}


def _draws(source: str, count: int, draw: int) -> list[Prompt]:
    if source in RISKS:
        return gate_prompts(source, "gate", count, draw=draw)
    return utility_prompts("gate", count, draw=draw)[source]
