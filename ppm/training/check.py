"""`ppm build --check`: what a source manifest would do, without a download, a model or a teacher."""

from pathlib import Path

from ppm.base import local_folder
from ppm.training.source import SourcePatch, base_of, read_source

__all__ = ["check_source"]


def check_source(path: Path, base: str | None = None) -> list[str]:
    """What a build of this manifest would do, in lines. Raises ManifestError or ModelError for what can't be built."""
    source = read_source(path)
    lines = [f"{source.manifest.pin} can be built: {_training(source)}, tested by {_suites(source)}"]
    declared = source.manifest.base
    name, _, revision = (base or declared.model).partition("@")
    beside = base is None and declared.revision is None and (source.folder / name).is_dir()
    if beside or local_folder(name, revision or declared.revision) is not None:
        base_of(source, base)
    if source.absent:
        lines.append(f"made by the build, from data sets: {', '.join(source.absent)}")
    teacher = source.training.teacher
    if teacher is not None:
        lines += _teacher(source)
    return lines


def _training(source: SourcePatch) -> str:
    training = source.training
    if training.pairs is not None:
        return f"{len(source.pairs)} pairs" if source.pairs else f"pairs from {training.pairs}"
    assert training.teacher is not None
    prompts = f"{len(source.prompts)} prompts" if source.prompts else f"prompts from {training.prompts}"
    return f"{prompts} for the teacher {training.teacher.model}"


def _suites(source: SourcePatch) -> str:
    return ", ".join(suite.name for suite in source.manifest.suites)


def _teacher(source: SourcePatch) -> list[str]:
    from ppm.training.pairs import questions_of
    from ppm.training.teacher import check_teacher, estimate

    teacher = source.training.teacher
    assert teacher is not None
    check_teacher(teacher, source.folder)
    lines = []
    if source.prompts:
        questions, counts = questions_of(source)
        dropped = counts.repeated + counts.in_suites
        if dropped:
            lines.append(f"{dropped} prompts are left out: {counts.repeated} repeated, {counts.in_suites} in a suite")
        if teacher.endpoint is not None:
            lines.append(estimate(teacher, questions, source.training.collect.decoding))
    return lines
