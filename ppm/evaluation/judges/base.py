"""What a judge is, and how one is registered.

A judge is registered as a function that takes its options and returns a `Scorer`; the signature is the schema of the
options, the docstring's first line its summary. Another distribution adds judges through the entry point group
`ppm.judges`: each entry names a function of this kind.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import EntryPoint
from typing import SupportsFloat, TypeVar

from ppm.errors import ModelError, PpmError
from ppm.jsonl import Prompt
from ppm.plugins import Plugins, code_digest, origin_of
from ppm.signature import Schema, schema_of

__all__ = [
    "JUDGES",
    "Case",
    "JudgeKind",
    "NextToken",
    "Scorer",
    "each",
    "judge",
]

T = TypeVar("T")
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
    compares with a prompt's `expected` text. `opinion` is False where a figure is computed, and no
    two people could differ. `name` is the judge's, for messages.
    """

    score: Callable[[Sequence[Case]], list[list[float]]]
    next_token: NextToken | None = None
    identity: str = ""
    prepare: Callable[[], None] = field(default=lambda: None)
    needs_expected: bool = False
    opinion: bool = True
    name: str = ""

    def judged(self, cases: Sequence[Case]) -> list[list[float]]:
        """`score`, checked: one finite number from 0 to 1 for each completion. Raises ModelError for anything else."""
        return _blamed(self._judged, self.name)(cases) if self.name else self._judged(cases)

    def _judged(self, cases: Sequence[Case]) -> list[list[float]]:
        found = self.score(cases)
        try:
            shape = [len(row) for row in found]
        except TypeError as error:
            raise ModelError(f"the judge gave {type(found).__name__} instead of lists of scores") from error
        if shape != [len(texts) for _, texts in cases]:
            raise ModelError("the judge gave a different number of scores than there are completions")
        return [[_checked(score) for score in row] for row in found]

    def guarded(self, name: str) -> "Scorer":
        """The same judge under its name: whatever goes wrong in it is one PpmError that says which judge it was."""

        def one(prompt: Prompt, probabilities: Mapping[str, float]) -> float:
            assert self.next_token is not None
            return _checked(self.next_token.score(prompt, probabilities))

        asked = self.next_token
        return replace(
            self,
            name=name,
            score=_blamed(self.score, name),
            prepare=_blamed(self.prepare, name),
            next_token=None if asked is None else replace(asked, score=_blamed(one, name)),
        )


def _checked(score: object) -> float:
    """A score as a plain float. Raises ModelError for what is no number from 0 to 1."""
    try:
        number = float(score) if isinstance(score, SupportsFloat) else float("nan")
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if not 0 <= number <= 1:
        shown = f"{score:g}" if isinstance(score, float) else repr(score)
        raise ModelError(f"the judge gave the score {shown[:80]}, which is not between 0 and 1")
    return number


def _blamed(function: Callable[..., T], name: str) -> Callable[..., T]:
    """`function`, with the judge's name in whatever it raises."""

    def call(*arguments: object) -> T:
        try:
            return function(*arguments)
        except PpmError as error:
            error.context = error.context or f"the judge {name!r}"
            raise
        except (Exception, SystemExit) as error:  # a plugin may raise anything at all
            raise ModelError(
                f"failed while it judged ({type(error).__name__}: {str(error)[:200]})",
                context=f"the judge {name!r}",
                hint="if the judge is from another package, report it there; --debug shows where it failed",
            ) from error

    return call


@dataclass(frozen=True)
class JudgeKind:
    """A registered judge. `version` changes whenever its verdicts may.

    `model_of` says which model on this machine some options make it load; None for a judge that loads none. `code`
    gives the digest of a plugin's code, which may change where its version does not.
    """

    name: str
    version: str
    summary: str
    make: Callable[..., Scorer]
    schema: Schema
    model_of: Callable[[Mapping[str, object]], object] = field(default=lambda options: None)
    code: Callable[[], str] = field(default=lambda: "")


def _accept(entry: EntryPoint, found: object) -> JudgeKind:
    if not callable(found):
        raise TypeError("it can't be called")
    schema = schema_of(found)
    return JudgeKind(entry.name, origin_of(entry), _summary(found), found, schema, code=partial(code_digest, entry))


JUDGES: Plugins[JudgeKind] = Plugins("ppm.judges", "judge", _accept)


def _summary(make: Callable[..., Scorer]) -> str:
    return (make.__doc__ or "").strip().split("\n")[0]


def judge(
    name: str, version: str, *, model_of: Callable[[Mapping[str, object]], object] = lambda options: None
) -> Callable[[Callable[..., Scorer]], Callable[..., Scorer]]:
    """Registers a built-in judge."""

    def add(make: Callable[..., Scorer]) -> Callable[..., Scorer]:
        JUDGES.known[name] = JudgeKind(name, version, _summary(make), make, schema_of(make), model_of)
        return make

    return add


def each(score: Callable[[Prompt, str], float]) -> Scorer:
    """A scorer from a function of one prompt and one completion."""
    return Scorer(lambda cases: [[score(prompt, text) for text in texts] for prompt, texts in cases])
