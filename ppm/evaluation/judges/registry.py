"""The judges that suites can name, what a judge is, and how one is made from a suite's `judge`.

A judge is registered as a function that takes its options and returns a `Scorer`; the signature is the schema of the
options, the docstring's first line its summary. Another distribution adds judges through the entry point group
`ppm.judges`: each entry names a function of this kind.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from typing import Any

from ppm.errors import ManifestError, ModelError, did_you_mean
from ppm.jsonl import Prompt
from ppm.plugins import Plugins, origin_of
from ppm.suite import Judge, judge_files

__all__ = ["Case", "JudgeKind", "NextToken", "Scorer", "each", "find_judge", "judge", "judges", "make_judge"]

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


_JUDGES: Plugins[JudgeKind] = Plugins("ppm.judges", "judge", _accept)


def _summary(make: Callable[..., Scorer]) -> str:
    return (make.__doc__ or "").strip().split("\n")[0]


def judge(name: str, version: str) -> Callable[[Callable[..., Scorer]], Callable[..., Scorer]]:
    """Registers a built-in judge."""

    def add(make: Callable[..., Scorer]) -> Callable[..., Scorer]:
        _JUDGES.known[name] = JudgeKind(name, version, _summary(make), make)
        return make

    return add


def judges() -> Mapping[str, JudgeKind]:
    """All judges by name, those of other distributions included."""
    import ppm.evaluation.judges.endpoints
    import ppm.evaluation.judges.llama_guard
    import ppm.evaluation.judges.models
    import ppm.evaluation.judges.words  # noqa: F401

    _JUDGES.load()
    return _JUDGES.known


def each(score: Callable[[Prompt, str], float]) -> Scorer:
    """A scorer from a function of one prompt and one completion."""
    return Scorer(lambda cases: [[score(prompt, text) for text in texts] for prompt, texts in cases])


def find_judge(name: str, origin: str) -> JudgeKind:
    """The judge of a name. Raises ManifestError, naming the nearest."""
    known = judges()
    if name in _JUDGES.broken:
        raise _JUDGES.broken[name]
    if name not in known:
        hint = did_you_mean(name, known, f"known judges are {', '.join(sorted(known))}")
        raise ManifestError(f"there is no judge {name!r}", context=origin, hint=hint)
    return known[name]


def make_judge(judge: Judge, files: Mapping[str, bytes], origin: str) -> Scorer:
    """The scorer that a suite names. `files` are the package's; an option that names one gets its text, or its lines.

    Raises ManifestError for an unknown judge or option, or a value that can't be.
    """
    kind = find_judge(judge.name, origin)
    known = inspect.signature(kind.make).parameters
    options: dict[str, Any] = {}
    named = judge_files(judge)
    for key, value in judge.options.items():
        if key not in known:
            hint = did_you_mean(key, known, f"its options are {', '.join(known) or 'none'}")
            raise ManifestError(f"the judge {judge.name!r} has no option {key!r}", context=origin, hint=hint)
        _check_type(judge.name, known[key], value, origin)
        options[key] = value
        if key in named and value in files:
            text = _text(files[value], f"{origin}, {value}")
            options[key] = text if _annotation(known[key]) == "str" else _lines(text)
    try:
        return kind.make(**options)
    except (TypeError, ValueError) as error:
        raise ManifestError(f"the judge {judge.name!r}: {error}", context=origin) from error


_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "bool": ((bool,), "true or false"),
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "str": ((str,), "a string"),
}


def _check_type(name: str, parameter: inspect.Parameter, value: Any, origin: str) -> None:
    """Raises ManifestError when an option that takes a plain value is given another kind of value."""
    annotation = _annotation(parameter)
    wanted = _KINDS.get(annotation)
    if wanted is not None and (not isinstance(value, wanted[0]) or (isinstance(value, bool) and annotation != "bool")):
        raise ManifestError(
            f"the option {parameter.name!r} of the judge {name!r} must be {wanted[1]}, not {value!r}", context=origin
        )


def _annotation(parameter: inspect.Parameter) -> str:
    found = parameter.annotation
    return found if isinstance(found, str) else getattr(found, "__name__", "")


def _text(data: bytes, origin: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ManifestError("is not UTF-8", context=origin) from error


def _lines(text: str) -> list[str]:
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]
