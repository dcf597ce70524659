"""Runs suites on configurations, all configurations in the same batches, and keeps the results."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from ppm.evaluation.benign import join
from ppm.evaluation.generation import Request, encode, generate, noise_key
from ppm.evaluation.judges.base import NextToken
from ppm.evaluation.metrics import METRICS
from ppm.evaluation.results import Answers, Configuration, Outcome, ResultStore, outcome_of
from ppm.evaluation.scoring import ScoredText, next_word_probabilities, sum_log_probabilities
from ppm.evaluation.suites import LoadedSuite
from ppm.jsonl import Prompt
from ppm.manifest import Placement
from ppm.progress import Progress, silent
from ppm.runtime.loading import LoadedBase
from ppm.runtime.model import UNPATCHED, attach

__all__ = ["evaluate"]


def evaluate(
    base: LoadedBase,
    configurations: Sequence[Configuration],
    suites: Sequence[LoadedSuite],
    *,
    placement: Placement,
    store: ResultStore | None = None,
    batch_size: int = 128,
    progress: Progress = silent,
) -> dict[tuple[str, str], Outcome]:
    """The outcome of each suite on each configuration, by (configuration name, suite digest).

    Prefixes of different lengths share batches. Each suite's outcomes are kept in the
    store as soon as they are there, so a run that is interrupted loses one suite at most.
    """
    different = {suite.digest: suite for suite in suites}
    alike_as = {c.name: next(o for o in configurations if o.bank == c.bank) for c in configurations}
    unique = [c for c in configurations if alike_as[c.name] is c]
    answers: dict[tuple[str, str], Answers] = {}
    missing: list[tuple[LoadedSuite, list[Configuration]]] = []
    for suite in different.values():
        lacking: dict[tuple[Prompt, ...], list[Configuration]] = {}
        for configuration in unique:
            kept = store.get(store.key(configuration, placement, suite)) if store else {}
            answers[configuration.name, suite.digest] = kept
            prompts = tuple(prompt for prompt in suite.prompts if prompt.id not in kept)
            if prompts:
                lacking.setdefault(prompts, []).append(configuration)
        missing += [(replace(suite, prompts=prompts), alike) for prompts, alike in lacking.items()]
    for suite, _ in missing:
        suite.scorer.prepare()
    if missing:
        runner = _Runner(base, [c for c in unique if c.bank], placement, batch_size)
        total = sum(_completions(suite) * len(alike) for suite, alike in missing)
        before = 0
        for suite, alike in missing:
            made = runner.run(suite, alike, partial(_shifted, progress, before, total))
            before += _completions(suite) * len(alike)
            for configuration, fresh in zip(alike, made, strict=True):
                answers[configuration.name, suite.digest] |= fresh
                if store:
                    store.put(store.key(configuration, placement, suite), answers[configuration.name, suite.digest])
    return {
        (name, digest): outcome_of([answers[alike.name, digest][prompt.id] for prompt in suite.prompts])
        for name, alike in alike_as.items()
        for digest, suite in different.items()
    }


def _shifted(progress: Progress, before: int, total: int, label: str, done: int, _: int) -> None:
    progress(label, before + done, total)


def _completions(suite: LoadedSuite) -> int:
    """How many completions, or for perplexity texts, one configuration takes."""
    return len(suite.prompts) * suite.suite.samples


def _answers(suite: LoadedSuite, scores: Sequence[Sequence[float]], completions: Sequence[tuple[str, ...]]) -> Answers:
    """Each prompt's value in the suite's metric, as a failure, with its completions."""
    metric = METRICS[suite.suite.metric]
    answers = {}
    for prompt, given, texts in zip(suite.prompts, scores, completions, strict=True):
        value = metric(given)
        answers[prompt.id] = (value if suite.suite.goal == "lower" else 1 - value, texts)
    return answers


class _Runner:
    """A bank of all prefixes, which answers one suite at a time for any of them."""

    def __init__(
        self, base: LoadedBase, patched: Sequence[Configuration], placement: Placement, batch_size: int
    ) -> None:
        self.model = attach(base.model, [c.bank for c in patched], placement=placement)
        self.tokenizer = base.tokenizer
        self.rows = {c.name: index for index, c in enumerate(patched)}
        self.batch_size = batch_size

    def run(self, suite: LoadedSuite, configurations: Sequence[Configuration], progress: Progress) -> list[Answers]:
        """Each configuration's answers to the suite; all share batches."""
        rows = [self.rows.get(configuration.name, UNPATCHED) for configuration in configurations]
        if suite.suite.metric == "perplexity":
            found = self._perplexity(suite, rows)
            progress("texts", len(rows) * len(suite.prompts), len(rows) * len(suite.prompts))
            return found
        if suite.scorer.next_token is not None:
            return self._next_token(suite, suite.scorer.next_token, rows)
        requests = []
        for row in rows:
            for prompt in suite.prompts:
                ids = encode(self.tokenizer, prompt.prompt)
                for sample in range(suite.suite.samples):
                    key = noise_key(suite.digest, prompt.id, sample, suite.suite.decoding.seed)
                    requests.append(Request(row, ids, suite.suite.decoding, key))
        made = generate(self.model, self.tokenizer, requests, batch_size=self.batch_size, progress=progress)
        count = _completions(suite)
        return [self._judged(suite, made[start : start + count]) for start in range(0, len(made), count)]

    def _judged(self, suite: LoadedSuite, made: Sequence[tuple[int, ...]]) -> Answers:
        texts = self.tokenizer.batch_decode([list(ids) for ids in made], skip_special_tokens=True)
        per_prompt = suite.suite.samples
        completions = tuple(tuple(texts[i : i + per_prompt]) for i in range(0, len(texts), per_prompt))
        scores = suite.scorer.judged(list(zip(suite.prompts, completions, strict=True)))
        return _answers(suite, scores, completions)

    def _next_token(self, suite: LoadedSuite, asked: NextToken, rows: Sequence[int]) -> list[Answers]:
        prompts = [(row, encode(self.tokenizer, prompt.prompt)) for row in rows for prompt in suite.prompts]
        found = iter(next_word_probabilities(self.model, self.tokenizer, prompts, asked.groups))
        return [
            _answers(suite, [[asked.score(prompt, next(found))] for prompt in suite.prompts], [()] * len(suite.prompts))
            for _ in rows
        ]

    def _perplexity(self, suite: LoadedSuite, rows: Sequence[int]) -> list[Answers]:
        texts = [ScoredText(*self._split(prompt), row) for row in rows for prompt in suite.prompts]
        sums = sum_log_probabilities(self.model, texts)
        values = iter([-s / len(text.completion) for s, text in zip(sums, texts, strict=True)])
        return [{prompt.id: (next(values), ()) for prompt in suite.prompts} for _ in rows]

    def _split(self, prompt: Prompt) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """(context, target): the `expected` text after its prompt, else all of a text after its first token."""
        ids = encode(self.tokenizer, prompt.prompt)
        if prompt.expected is not None:
            target = tuple(self.tokenizer(join(prompt.prompt, prompt.expected), add_special_tokens=False).input_ids)
            if target:
                return ids, target
        return (ids, ids[-1:]) if len(ids) < 2 else (ids[:1], ids[1:])
