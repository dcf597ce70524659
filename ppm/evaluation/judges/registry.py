"""The judges that suites can name, and how one is made from a suite's `judge`."""

import inspect
from collections.abc import Mapping
from typing import Any

import ppm.evaluation.judges.endpoints
import ppm.evaluation.judges.llama_guard
import ppm.evaluation.judges.models
import ppm.evaluation.judges.words  # noqa: F401
from ppm.encoding import decode
from ppm.errors import ManifestError, did_you_mean
from ppm.evaluation.judges.base import JUDGES, JudgeKind, Scorer
from ppm.suite import Judge, judge_files

__all__ = [
    "Scorer",
    "find_judge",
    "judges",
    "make_judge",
]


def judges() -> Mapping[str, JudgeKind]:
    """All judges by name, those of other distributions included."""
    JUDGES.load()
    return JUDGES.known


def find_judge(name: str, origin: str) -> JudgeKind:
    """The judge of a name. Raises ManifestError, naming the nearest."""
    known = judges()
    if name in JUDGES.broken:
        raise JUDGES.broken[name]
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
        return decode(data)
    except UnicodeDecodeError as error:
        raise ManifestError("is not UTF-8", context=origin) from error


def _lines(text: str) -> list[str]:
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]
