"""`ppm build --check`: what a source manifest would do, without a download, a model or a teacher."""

import math
from pathlib import Path

from ppm.base import BaseModel
from ppm.bases.catalogue import is_real_base
from ppm.errors import ModelError
from ppm.evaluation.groups import DECLARE, UNDECLARED, groups_of, ungrouped
from ppm.evaluation.measures.registry import figures_of
from ppm.evaluation.statistics import least_effect
from ppm.jsonl import read_prompts
from ppm.runtime.text import encoder_of_folder, width_of
from ppm.suite import Suite
from ppm.training.advice import warnings_of
from ppm.training.defaults import settled
from ppm.training.output import announced, check_output
from ppm.training.rows import check_rows
from ppm.training.source import PLANNED_ALPHA, SourcePatch, base_name, base_of, read_source

__all__ = ["check_source", "groups_in"]


def check_source(path: Path, base: str | None = None, *, output: Path | None = None) -> list[str]:
    """What can be said of a source manifest, in lines. Raises PpmError for what can't be built, or not written.

    A base that is on this machine is asked whether it can read every text; its weights are not loaded.
    """
    source = read_source(path)
    lines = [f"{source.manifest.pin} can be built: {_training(source)}, tested by {_suites(source)}"]
    lines += groups_in(source)
    found = _base_here(source, base)
    encoder = None
    if found is None:
        lines.append(
            f"whether {source.manifest.base.model} can read them was not checked, because it is not on this machine"
        )
    else:
        encoder = encoder_of_folder(found)
        source = settled(source, found, width_of(found))
        check_rows(source, encoder)
        if output is not None:
            check_output(output, source, found, announced(source, source.training, found))
    lines += [f"warning: {text}" for text in warnings_of(source, chats=encoder.has_template if encoder else None)]
    if source.absent:
        lines.append(f"made by the build, from data sets: {', '.join(source.absent)}")
    if source.training.prompts is not None:
        lines += _teacher(source)
    return lines


def _base_here(source: SourcePatch, base: str | None) -> BaseModel | None:
    """The base model, unless it is one of the hub, or one that ppm fetches, and not here. Raises ModelError."""
    named = base_name(source, base)
    if is_real_base(named.model) or named.folder is None:
        try:
            named.locate(fetch=False)
        except ModelError:
            return None
    return base_of(source, base)


def _training(source: SourcePatch) -> str:
    training = source.training
    if training.pairs is not None:
        return f"{len(source.pairs)} pairs" if source.pairs else f"pairs from {training.pairs}"
    assert training.teacher is not None
    prompts = f"{len(source.prompts)} prompts" if source.prompts else f"prompts from {training.prompts}"
    return f"{prompts} for the teacher {training.teacher.model}"


def _suites(source: SourcePatch) -> str:
    return ", ".join(suite.name for suite in source.manifest.suites)


def groups_in(source: SourcePatch) -> list[str]:
    """What each suite's evidence is counted in."""
    lines = []
    for suite in source.manifest.suites:
        if suite.prompts not in source.files:
            continue
        prompts = read_prompts(source.files[suite.prompts], str(source.folder / suite.prompts))
        count = len(set(groups_of(prompts, suite.group or UNDECLARED).values()))
        if suite.group is not None:
            lines.append(f"{suite.name}: {count} groups of {len(prompts)} prompts{_kept(suite, count)}")
        else:
            alone = f"{ungrouped(len(prompts), count)}, each counted by itself{_kept(suite, len(prompts))}"
            lines.append(f"{suite.name}: {alone}; {DECLARE}")
    return lines


def _kept(suite: Suite, count: int) -> str:
    """How large an effect has to be for so much evidence to show that a composition keeps enough of it."""
    if suite.against != "specialist" or not figures_of(suite.metric).is_rate:
        return ""
    least = least_effect(count, suite.kept_share, PLANNED_ALPHA)
    if not math.isfinite(least):
        return f", too few to show that {suite.kept_share:g} of any effect is kept"
    return f", enough to show that {suite.kept_share:g} of an effect is kept if it is at least {least:.2g}"


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
