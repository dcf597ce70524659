"""What a judge is, and how one is registered.

A judge is registered as a function that takes its options and returns a `Scorer`; the signature is the schema of the
options, the docstring's first line its summary. Another distribution adds judges through the entry point group
`ppm.judges`: each entry names a function of this kind.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from typing import Any

from ppm.errors import ModelError
from ppm.jsonl import Prompt
from ppm.plugins import Plugins, origin_of

__all__ = [
    "JUDGES",
    "Case",
    "JudgeKind",
    "NextToken",
    "Scorer",
    "each",
    "judge",
]

Case = tuple[Prompt, tuple[str, ...]]
"""A prompt and its completions, one a sample."""


@dataclass(frozen=True)
class NextToken:
    """Asks for a model's probabilities of some next words after a prompt, and makes a score from 0 to 1 of them.

    Of each group of words at least one must be a single token of the model.
    """

    groups: tuple[tuple[str, ...], ...]
    score: Callable[[Prompt, Mapping[str, float]], float]


@dataclass(frozen=True)
class Scorer:
    """A judge ready to score.

    `score` takes prompts with their completions and returns a score from 0 to 1 for each completion. `next_token` is
    set instead by a judge that reads the model's probabilities and no completions. `identity` is what the verdicts
    depend on besides the judge's name, version and options, such as a model's fingerprint. `prepare` raises PpmError
    when the judge can't work here: a package is not installed, a model or a key is missing. With `needs_expected` it
    compares with a prompt's `expected` text.
    """

    score: Callable[[Sequence[Case]], list[list[float]]]
    next_token: NextToken | None = None
    identity: str = ""
    prepare: Callable[[], None] = field(default=lambda: None)
    needs_expected: bool = False

    def judged(self, cases: Sequence[Case]) -> list[list[float]]:
        """`score`, checked: one finite number from 0 to 1 for each completion. Raises ModelError for anything else."""
        found = self.score(cases)
        if [len(row) for row in found] != [len(texts) for _, texts in cases]:
            raise ModelError("the judge gave another number of scores than there are completions")
        wrong = next((score for row in found for score in row if not 0 <= score <= 1), None)
        if wrong is not None:
            raise ModelError(f"the judge gave the score {wrong}, which is not between 0 and 1")
        return found


@dataclass(frozen=True)
class JudgeKind:
    """A registered judge. `version` changes whenever its verdicts may."""

    name: str
    version: str
    summary: str
    make: Callable[..., Scorer]


def _accept(entry: EntryPoint, found: Any) -> JudgeKind:
    inspect.signature(found)  # raises for what can't be called
    return JudgeKind(entry.name, origin_of(entry), _summary(found), found)


JUDGES: Plugins[JudgeKind] = Plugins("ppm.judges", "judge", _accept)


def _summary(make: Callable[..., Scorer]) -> str:
    return (make.__doc__ or "").strip().split("\n")[0]


def judge(name: str, version: str) -> Callable[[Callable[..., Scorer]], Callable[..., Scorer]]:
    """Registers a built-in judge."""

    def add(make: Callable[..., Scorer]) -> Callable[..., Scorer]:
        JUDGES.known[name] = JudgeKind(name, version, _summary(make), make)
        return make

    return add


def each(score: Callable[[Prompt, str], float]) -> Scorer:
    """A scorer from a function of one prompt and one completion."""
    return Scorer(lambda cases: [[score(prompt, text) for text in texts] for prompt, texts in cases])
