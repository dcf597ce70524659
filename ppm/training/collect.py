"""Collects the pairs of a source manifest: the base and the teacher answer its prompts, and a judge chooses."""

from dataclasses import asdict
from typing import Any

from ppm.document import to_table
from ppm.errors import TrainingError
from ppm.evaluation.judges.registry import find_judge, make_judge
from ppm.names import canonical_digest
from ppm.package import sha256
from ppm.progress import Progress
from ppm.suite import judge_files
from ppm.training.context import Work
from ppm.training.pairs import Collected, choose_pairs, questions_of
from ppm.training.teacher import (
    answers_of_endpoint,
    answers_of_model,
    estimate,
    load_teacher,
    spool_digest,
)

__all__ = ["collect"]


def collect(work: Work) -> tuple[Collected, dict[str, Any]]:
    """The pairs of a manifest with prompts and a teacher, and what provenance records of them."""
    source, training = work.source, work.training
    settings, teacher = training.collect, training.teacher
    assert teacher is not None
    judge, goal = source.filter_judge, settings.goal or source.filter_suite.goal
    questions, counts = questions_of(source)
    if not questions:
        raise TrainingError("no prompt is left to collect pairs from", context=str(source.folder))
    kind = find_judge(judge.name, str(source.folder))
    scorer = make_judge(judge, source.files, str(source.folder))
    identity, load = (
        (canonical_digest([teacher.endpoint, teacher.model, teacher.chats, teacher.system]), None)
        if teacher.endpoint is not None
        else load_teacher(teacher, source.folder)
    )
    who = {"teacher": [identity, teacher.chats, teacher.system], "base": [work.base.fingerprint]}
    digests = {
        name: spool_digest(value, settings.decoding, training.seed + (name == "teacher")) for name, value in who.items()
    }
    key = canonical_digest(
        {
            "answers": digests,
            "questions": [question.key for question in questions],
            "judge": [to_table(judge), kind.version, scorer.identity],
            "files": {path: sha256(source.files[path]) for path in judge_files(judge).values()},
            "settings": to_table(settings),
            "goal": goal,
        }
    )
    record: dict[str, Any] = {
        "teacher": teacher.model,
        **({"teacher_fingerprint": identity} if load is not None else {}),
        **({"teacher_license": teacher.license} if teacher.license else {}),
        "filter_judge": judge.name,
        "filter_judge_version": kind.version + scorer.identity,
    }
    kept = work.stages.collected(key)
    if kept is not None:
        return kept[0], {**record, **kept[1]}

    def told(name: str) -> Progress:
        return lambda label, done, total: work.progress(f"answers of the {name}", done, total)

    spools = {name: work.stages.spool(digest) for name, digest in digests.items()}
    answers_of_model(
        work.loaded,
        questions,
        spools["base"],
        settings.decoding,
        seed=training.seed,
        progress=told("base"),
    )
    missing = spools["teacher"].missing(questions)
    if load is None:
        if missing:
            work.tell(estimate(teacher, missing, settings.decoding))
        answers_of_endpoint(teacher, questions, spools["teacher"], settings.decoding, progress=told("teacher"))
    else:
        if missing:
            work.tell(f"Loading the teacher {teacher.model}")
        answering = load() if missing else None
        answers_of_model(
            answering,
            questions,
            spools["teacher"],
            settings.decoding,
            seed=training.seed + 1,
            chat=teacher.chats,
            system=teacher.system,
            progress=told("teacher"),
        )
        del answering
    usage = spools["teacher"].usage(questions)
    samples = settings.samples
    answers = {name: spool.sentences(questions) for name, spool in spools.items()}
    chosen, rejected = (
        [answers[name][i : i + samples] for i in range(0, len(questions), samples)] for name in ("teacher", "base")
    )
    prompts = [question.prompt for question in questions[::samples]]
    collected = choose_pairs(prompts, chosen, rejected, scorer, settings, goal, counts)
    cut = spools["teacher"].cut(questions)
    found: dict[str, Any] = {"collected": asdict(collected.counts), "teacher_answers_cut": cut}
    if load is None:
        found |= {"teacher_models": list(usage.models), "teacher_usage": _counted(usage)}
    if cut:
        limit = settings.decoding.max_new_tokens
        work.tell(
            f"{cut} of {len(questions)} answers of the teacher were cut off at {limit} tokens and are learned up to "
            "their last whole sentence; for more, raise max_new_tokens in [training.collect.decoding]"
        )
    work.stages.keep_collected(key, collected, found)
    return collected, {**record, **found}


def _counted(usage: Any) -> dict[str, int]:
    return {key: value for key, value in asdict(usage).items() if key != "models"}
