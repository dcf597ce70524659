"""The judges that suites can name, and how one is made from a suite's `judge`."""

from collections.abc import Mapping
from dataclasses import replace

import ppm.evaluation.judges.attribution
import ppm.evaluation.judges.coherence
import ppm.evaluation.judges.endpoints
import ppm.evaluation.judges.hatesonar
import ppm.evaluation.judges.llama_guard
import ppm.evaluation.judges.models
import ppm.evaluation.judges.words  # noqa: F401
from ppm.base import ModelName
from ppm.encoding import decode
from ppm.errors import ManifestError, PpmError, did_you_mean
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


def make_judge(judge: Judge, files: Mapping[str, bytes], origin: str, *, packaged: bool = False) -> Scorer:
    """The scorer that a suite names. `files` are the package's; an option that names one gets its text, or its lines.

    A `packaged` suite is somebody else's, and a judge of it loads no model but one of the hub, by name and commit.
    Raises ManifestError for an unknown judge or option, or a value that can't be.
    """
    kind = find_judge(judge.name, origin)
    options = dict(judge.options)
    for key, path in judge_files(judge).items():
        option = kind.schema.options.get(key)
        if path in files and option is not None:
            text = _text(files[path], f"{origin}, {path}")
            options[key] = text if option.element is str and not option.many else _lines(text)
    hint = "a list may also be the path of a file under suites/ with one a line" if _takes_a_list(kind) else ""
    kind.schema.check(options, f"the judge {judge.name!r}", context=origin, hint=hint)
    if packaged:
        _check_model(kind, options, origin)
    return _made(kind, options, origin)


def _takes_a_list(kind: JudgeKind) -> bool:
    return any(option.many for option in kind.schema.options.values())


def _check_model(kind: JudgeKind, options: Mapping[str, object], origin: str) -> None:
    """Raises ManifestError when a package's judge would load a model by a path."""
    model = kind.model_of(options)
    if model is not None and ModelName.pinned(str(model)) is None:
        raise ManifestError(
            f"the judge {kind.name!r} may not load {str(model)!r}: a package names a judge's model on the hub, with "
            "its commit, and never a folder",
            context=origin,
            hint='write model = "NAME@COMMIT"; a suite of your own (ppm-base.toml, or a policy\'s) may name a folder',
        )


def _made(kind: JudgeKind, options: Mapping[str, object], origin: str) -> Scorer:
    try:
        scorer = kind.make(**options)
        if not isinstance(scorer, Scorer):
            raise TypeError(f"it made {type(scorer).__name__} instead of a Scorer")
    except PpmError:
        raise
    except (TypeError, ValueError) as error:
        raise ManifestError(f"the judge {kind.name!r}: {error}", context=origin) from error
    except (Exception, SystemExit) as error:  # a plugin may raise anything at all
        raise ManifestError(
            f"the judge {kind.name!r} can't be made ({type(error).__name__}: {str(error)[:200]})",
            context=origin,
            hint=f"fix or uninstall {kind.version}",
        ) from error
    code = kind.code()
    return replace(scorer.guarded(kind.name), identity=scorer.identity + (f"+{code}" if code else ""))


def _text(data: bytes, origin: str) -> str:
    try:
        return decode(data)
    except UnicodeDecodeError as error:
        raise ManifestError("is not UTF-8", context=origin) from error


def _lines(text: str) -> list[str]:
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]
