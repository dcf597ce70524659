"""Runs suites on configurations, all configurations in the same batches, and keeps the results."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from ppm.bank import Bank
from ppm.evaluation.measures.base import Answers, Attached
from ppm.evaluation.results import Configuration, Outcomes, ResultStore, outcome_of
from ppm.evaluation.suites import LoadedSuite
from ppm.jsonl import Prompt
from ppm.manifest import Placement
from ppm.progress import Progress, silent
from ppm.runtime.loading import LoadedBase
from ppm.runtime.model import UNPATCHED, attach, backbone_of
from ppm.runtime.router import Picked, picks
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
    batch_size: int | None = None,
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
        attached = Attached(model, encoder_of(base), backbone_of(model).width, batch_size, base.memory, base.readings)
        total = sum(suite.measure.count(suite) * len(alike) for suite, alike in missing)
        run = _Run(attached, placement, store, unique, patched, answers, progress, total)
        for suite in different.values():
            for some in _in_turn(unique):
                run.answer(suite, some)
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


def _in_turn(configurations: Sequence[Configuration]) -> list[list[Configuration]]:
    """Those that a prompt always meets alike; patches behind a trigger; compositions of several such blocks."""
    turns: list[list[Configuration]] = [[], [], []]
    for configuration in configurations:
        bank = configuration.bank
        turns[0 if bank.router is None else min(len(bank.blocks), 2)].append(configuration)
    return turns


@dataclass
class _Run:
    """Answers of `configurations` on a base, of which those that are `patched` are attached in this order.

    What a bank behind triggers answers, others have answered perhaps: where none fires the base, and where one does the
    patch alone that has its block, always on or behind its trigger; of several blocks an isolated composition. It is
    taken from there, so that a composition costs little more than its patches.
    """

    attached: Attached
    placement: Placement
    store: ResultStore | None
    configurations: Sequence[Configuration]
    patched: Sequence[Configuration]
    answers: dict[tuple[str, str], Answers]
    progress: Progress
    total: int
    done: int = 0

    def answer(self, suite: LoadedSuite, configurations: Sequence[Configuration]) -> None:
        """Complete the answers of some configurations, and keep them."""
        lacking = _missing(suite, configurations, self.answers)
        self._take_over(suite, lacking)
        for part, alike in _missing(suite, configurations, self.answers):
            rows = [self.patched.index(c) if c.bank else UNPATCHED for c in alike]
            progress = partial(_shifted, self.progress, self.done, self.total)
            made = part.measure.answers(self.attached, part, rows, progress)
            self.done += part.measure.count(part) * len(alike)
            for configuration, fresh in zip(alike, made, strict=True):
                self.answers[configuration.name, suite.digest] |= fresh
        for configuration in (c for _, alike in lacking for c in alike):
            if self.store:
                key = self.store.key(configuration, self.placement, suite)
                sealed = bool(suite.suite.sealed)
                self.store.put(key, self.answers[configuration.name, suite.digest], private=sealed)

    def _take_over(self, suite: LoadedSuite, lacking: Sequence[tuple[LoadedSuite, Sequence[Configuration]]]) -> None:
        """Take the answers of banks behind triggers that are known as another's. Raises ModelError."""
        asked = [
            (configuration, prompt.id, ids)
            for part, alike in lacking
            for configuration in alike
            if configuration.bank.router is not None
            for prompt, ids in zip(part.prompts, self.attached.prompts(part, part.measure), strict=True)
            if len(ids) > 1  # a single token is read together with what is scored after it
        ]
        routers, texts = [c.bank.router for c, _, _ in asked], [ids for _, _, ids in asked]
        known: dict[tuple[str, Picked], Answers] = {}
        picked = picks(backbone_of(self.attached.model).inner, routers, texts, self.attached.readings)
        for (configuration, id_, _), blocks in zip(asked, picked, strict=True):
            key = configuration.name, blocks
            if key not in known:
                known[key] = {
                    id_: one
                    for bank in _alone(configuration.bank, blocks)
                    for id_, one in self._known(bank, suite).items()
                }
            if id_ in known[key]:
                self.answers[configuration.name, suite.digest][id_] = known[key][id_]
                self.done += suite.measure.count(suite) // len(suite.prompts)

    def _known(self, bank: Bank, suite: LoadedSuite) -> Answers:
        """The answers of a bank so far: here, or as they are kept."""
        same = next((c for c in self.configurations if c.bank == bank), None)
        if same is not None:
            return self.answers[same.name, suite.digest]
        return self.store.answers(Configuration("", bank), self.placement, suite) if self.store else {}


def _alone(bank: Bank, blocks: Picked) -> tuple[Bank, ...]:
    """The banks that meet a prompt as those blocks of a routed bank do that are picked."""
    met = bank.of_blocks(blocks)
    if len(blocks) != 1 or bank.router is None:
        return (met,)
    triggers = tuple(replace(trigger, block=0) for trigger in bank.router.triggers if trigger.block == blocks[0])
    return met, met.routed(replace(bank.router, triggers=triggers, answers_only=(), several=False))


def _shifted(progress: Progress, before: int, total: int, label: str, done: int, _: int) -> None:
    progress(label, before + done, total)
