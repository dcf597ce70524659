"""Collects the pairs of a source manifest: the base and the teacher answer its prompts, and a judge chooses."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from ppm.base import BaseModel, behaviour_digest
from ppm.document import to_table
from ppm.errors import TrainingError
from ppm.evaluation.judges.registry import find_judge, make_judge
from ppm.evaluation.results import RESULTS_VERSION
from ppm.names import canonical_digest
from ppm.package import sha256
from ppm.progress import Progress
from ppm.runtime.loading import LoadedBase
from ppm.runtime.text import TEXT_VERSION
from ppm.suite import judge_files
from ppm.training.context import BuildContext
from ppm.training.pairs import Collected, choose_pairs, questions_of
from ppm.training.teacher import (
    Question,
    Spool,
    Usage,
    answers_of_endpoint,
    answers_of_model,
    estimate,
    load_teacher,
    spool_digest,
)
from ppm.training_table import Teacher

__all__ = ["collect"]

COLLECT_VERSION = 1
"""Counts up whenever other pairs may be chosen from the same answers, so that kept ones are not used."""


@dataclass(frozen=True)
class _Teacher:
    """A manifest's teacher: one that is served has no `model`, and `load` is for one that is not."""

    settings: Teacher
    model: BaseModel | None = None
    load: Callable[[], LoadedBase] | None = None

    @property
    def identity(self) -> object:
        """All that its answers depend on, besides the questions and how it decodes."""
        settings = self.settings
        if self.model is not None:
            return [_answering(self.model), settings.chats, settings.system]
        served = [settings.endpoint, settings.model, settings.chats, settings.system]
        return [canonical_digest(served), settings.chats, settings.system]


def collect(context: BuildContext) -> tuple[Collected, dict[str, object]]:
    """The pairs of a manifest with prompts and a teacher, and what provenance records of them."""
    source, settings = context.source, context.training.collect
    judge, goal = source.filter_judge, settings.goal or source.filter_suite.goal
    questions, counts = questions_of(source)
    if not questions:
        raise TrainingError("no prompts are left to collect pairs from", context=str(source.folder))
    kind = find_judge(judge.name, str(source.folder))
    scorer = make_judge(judge, source.files, str(source.folder))
    teacher = _teacher_of(context)
    base = [_answering(context.base), *context.dtype.values()]
    digests = {
        "base": spool_digest(base, settings.decoding, context.training.seed),
        "teacher": spool_digest(teacher.identity, settings.decoding, context.training.seed + 1),
    }
    key = canonical_digest(
        {
            "answers": digests,
            "questions": [question.key for question in questions],
            "judge": [to_table(judge), kind.version, scorer.identity],
            "files": {path: sha256(source.files[path]) for path in judge_files(judge).values()},
            "settings": to_table(settings),
            "goal": goal,
            "version": COLLECT_VERSION,
        }
    )
    record: dict[str, object] = {
        "teacher": teacher.settings.model,
        **({"teacher_fingerprint": teacher.model.fingerprint} if teacher.model is not None else {}),
        **({"teacher_license": teacher.settings.license} if teacher.settings.license else {}),
        "filter_judge": judge.name,
        "filter_judge_version": kind.version + scorer.identity,
    }
    kept = context.stages.collected(key)
    if kept is not None:
        return kept[0], {**record, **kept[1]}
    spools = {name: context.stages.spool(digest) for name, digest in digests.items()}
    _ask(context, teacher, questions, spools)
    chosen, rejected = (_by_prompt(spools[name], questions, settings.samples) for name in ("teacher", "base"))
    prompts = [question.prompt for question in questions[:: settings.samples]]
    collected = choose_pairs(prompts, chosen, rejected, scorer, settings, goal, counts)
    found = {"collected": asdict(collected.counts), **_of_the_answers(context, teacher, spools["teacher"], questions)}
    context.stages.keep_collected(key, collected, found)
    return collected, {**record, **found}


def _answering(base: BaseModel) -> list[object]:
    """All that the answers of a local model depend on, and the code that makes them."""
    return [behaviour_digest(base), TEXT_VERSION, RESULTS_VERSION]


def _teacher_of(context: BuildContext) -> _Teacher:
    settings = context.training.teacher
    assert settings is not None
    if settings.endpoint is not None:
        return _Teacher(settings)
    return _Teacher(settings, *load_teacher(settings, context.source.folder, kept=context.loaded.kept))


def _ask(context: BuildContext, teacher: _Teacher, questions: Sequence[Question], spools: Mapping[str, Spool]) -> None:
    """Get every answer that is not there yet."""
    decoding, seed = context.training.collect.decoding, context.training.seed

    def told(name: str) -> Progress:
        return lambda label, done, total: context.progress(f"answers of the {name}", done, total)

    answers_of_model(context.loaded, questions, spools["base"], decoding, seed=seed, progress=told("base"))
    spool = spools["teacher"]
    missing = spool.missing(questions)
    if teacher.load is None:
        if missing:
            context.tell(estimate(teacher.settings, missing, decoding))
        answers_of_endpoint(teacher.settings, questions, spool, decoding, progress=told("teacher"))
        return
    if missing:
        context.tell(f"Loading the teacher {teacher.settings.model}")
    answers_of_model(
        teacher.load() if missing else None,
        questions,
        spool,
        decoding,
        seed=seed + 1,
        chat=teacher.settings.chats,
        system=teacher.settings.system,
        progress=told("teacher"),
    )


def _by_prompt(spool: Spool, questions: Sequence[Question], samples: int) -> list[list[str]]:
    answers = spool.sentences(questions)
    return [answers[i : i + samples] for i in range(0, len(questions), samples)]


def _of_the_answers(
    context: BuildContext, teacher: _Teacher, spool: Spool, questions: Sequence[Question]
) -> dict[str, object]:
    """What provenance records of a teacher's answers: how many were cut off, and what they took."""
    cut = spool.cut(questions)
    if cut:
        limit = context.training.collect.decoding.max_new_tokens
        context.tell(
            f"{cut} of {len(questions)} answers of the teacher were cut off at {limit} tokens and are used up to "
            "their last whole sentence; to use more, raise max_new_tokens in [training.collect.decoding]"
        )
    found: dict[str, object] = {"teacher_answers_cut": cut}
    if teacher.load is None:
        usage = spool.usage(questions)
        found |= {"teacher_models": list(usage.models), "teacher_usage": _counted(usage)}
    return found


def _counted(usage: Usage) -> dict[str, int]:
    return {key: value for key, value in asdict(usage).items() if key != "models"}
