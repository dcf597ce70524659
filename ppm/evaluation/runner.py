"""Runs suites on configurations, all configurations in the same batches, and keeps the results."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from ppm.evaluation.measures.base import Answers, Attached
from ppm.evaluation.results import Configuration, Outcomes, ResultStore, outcome_of
from ppm.evaluation.suites import LoadedSuite
from ppm.jsonl import Prompt
from ppm.manifest import Placement
from ppm.progress import Progress, silent
from ppm.runtime.loading import LoadedBase
from ppm.runtime.model import UNPATCHED, attach, backbone_of
from ppm.runtime.text import encoder_of

__all__ = ["check_texts", "evaluate"]


def check_texts(base: LoadedBase, suites: Sequence[LoadedSuite], virtual_tokens: int) -> None:
    """Raises ModelError where the base can't read a suite's text or has no room for it beside so many tokens."""
    attached = Attached(base.model, encoder_of(base), virtual_tokens, 1)
    for suite in suites:
        attached.prompts(suite, suite.measure)


def evaluate(
    base: LoadedBase,
    configurations: Sequence[Configuration],
    suites: Sequence[LoadedSuite],
    *,
    placement: Placement,
    store: ResultStore | None = None,
    batch_size: int = 128,
    progress: Progress = silent,
) -> Outcomes:
    """The outcome of each suite on each configuration, by (configuration name, suite digest).

    Prefixes of different lengths share batches. Each suite's outcomes are kept in the
    store as soon as they are there, so a run that is interrupted loses one suite at most.
    """
    different = {suite.digest: suite for suite in suites}
    alike_as = {c.name: next(o for o in configurations if o.bank == c.bank) for c in configurations}
    unique = [c for c in configurations if alike_as[c.name] is c]
    answers = {
        (c.name, suite.digest): store.answers(c, placement, suite) if store else {}
        for suite in different.values()
        for c in unique
    }
    missing = [lacking for suite in different.values() for lacking in _missing(suite, unique, answers)]
    for suite, _ in missing:
        suite.scorer.prepare()
    if missing:
        patched = [c for c in unique if c.bank]
        model = attach(base.model, [c.bank for c in patched], placement=placement, kept=base.kept)
        attached = Attached(model, encoder_of(base), backbone_of(model).width, batch_size, base.memory)
        row_of = {c.name: row for row, c in enumerate(patched)}
        total = sum(suite.measure.count(suite) * len(alike) for suite, alike in missing)
        before = 0
        for suite, alike in missing:
            rows = [row_of.get(configuration.name, UNPATCHED) for configuration in alike]
            made = suite.measure.answers(attached, suite, rows, partial(_shifted, progress, before, total))
            before += suite.measure.count(suite) * len(alike)
            for configuration, fresh in zip(alike, made, strict=True):
                answers[configuration.name, suite.digest] |= fresh
                if store:
                    store.put(store.key(configuration, placement, suite), answers[configuration.name, suite.digest])
    return {
        (name, digest): outcome_of([answers[alike.name, digest][prompt.id] for prompt in suite.prompts])
        for name, alike in alike_as.items()
        for digest, suite in different.items()
    }


def _missing(
    suite: LoadedSuite, configurations: Sequence[Configuration], answers: Mapping[tuple[str, str], Answers]
) -> list[tuple[LoadedSuite, list[Configuration]]]:
    """The suite cut to prompts that have no answers yet, each cut with the configurations that lack the same ones."""
    lacking: dict[tuple[Prompt, ...], list[Configuration]] = {}
    for configuration in configurations:
        kept = answers[configuration.name, suite.digest]
        prompts = tuple(prompt for prompt in suite.prompts if prompt.id not in kept)
        if prompts:
            lacking.setdefault(prompts, []).append(configuration)
    return [(replace(suite, prompts=prompts), alike) for prompts, alike in lacking.items()]


def _shifted(progress: Progress, before: int, total: int, label: str, done: int, _: int) -> None:
    progress(label, before + done, total)
