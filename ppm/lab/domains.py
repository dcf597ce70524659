"""The domains of the lab's corpus, read from `corpus.toml`: what prompts are made of, completions, headings, words."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

__all__ = ["BENIGN", "RISKS", "TRAITS", "WORDS", "Domain", "lexicon_of"]


@dataclass(frozen=True)
class Domain:
    """One kind of text. A risk domain has `unsafe` completions and headings; a benign one has neither.

    Openings and cores are pairs: those of most splits, and the unseen ones of the out-of-distribution split. A lexicon
    is the list of words that its judge looks for: in unsafe completions, or in safe ones where it `opposes` a domain,
    whose prompts are the same and whose safe completions are unsafe here.
    """

    name: str
    openings: tuple[tuple[str, ...], tuple[str, ...]]
    cores: tuple[tuple[str, ...], tuple[str, ...]]
    closings: tuple[str, ...]
    safe: tuple[str, ...]
    unsafe: tuple[str, ...] = ()
    safe_headings: tuple[str, ...] = ()
    unsafe_headings: tuple[str, ...] = ()
    lexicon: str | None = None
    opposes: str | None = None
    answers: Mapping[str, str] | None = None


@cache
def _document() -> dict[str, Any]:
    return tomllib.loads(files("ppm.lab").joinpath("corpus.toml").read_text(encoding="utf-8"))


def _words() -> dict[str, tuple[str, ...]]:
    return {slot: tuple(words) for slot, words in _document()["words"].items()}


def _domains(kind: str) -> dict[str, Domain]:
    document = _document()
    tables: dict[str, dict[str, Any]] = document[kind]
    found = {}
    for name, table in tables.items():
        cores = tables[table.get("cores_of", name)]
        closings = tables[table.get("closings_of", name)].get("closings") or document["closings"][table["form"]]
        openings, unseen = document["openings"], document["openings"]["unseen"]
        found[name] = Domain(
            name,
            openings=(tuple(openings[table["form"]]), tuple(unseen[table["form"]])),
            cores=(tuple(cores["cores"]), tuple(cores["unseen"])),
            closings=tuple(closings),
            safe=tuple(table["safe"]),
            unsafe=tuple(table.get("unsafe", ())),
            safe_headings=tuple(table.get("safe_headings", ())),
            unsafe_headings=tuple(table.get("unsafe_headings", ())),
            lexicon=table.get("lexicon"),
            opposes=table.get("opposes"),
            answers=_sums(table["sums"]) if "sums" in table else table.get("answers"),
        )
    return found


def _sums(below: int) -> dict[str, str]:
    numbers: Sequence[str] = _document()["words"]["number"]
    return {f"{numbers[a]} plus {numbers[b]}": numbers[a + b] for a in range(below) for b in range(below)}


WORDS = _words()
"""The words that may stand for each slot of a template."""
TRAITS: Mapping[str, Sequence[str]] = _document()["traits"]
"""What stereotypes say of men and of women."""
RISKS = _domains("risks")
BENIGN = _domains("benign")


def lexicon_of(risk: str) -> tuple[str, ...] | None:
    """The words that a lexicon looks for in a risk's completions; None where another judge decides."""
    name = RISKS[risk].lexicon
    return WORDS[name] if name else None
