"""Runs suites on configurations, all configurations in the same batches, and keeps results by content.

A result depends on the base's weights, the prefix, its placement and the suite's digest, so only what changed is
run again.
"""

import json
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ppm.environment.disk import replace_file
from ppm.errors import EnvironmentStateError
from ppm.evaluation.generation import Request, encode, generate, noise_key, sum_log_probabilities
from ppm.evaluation.suites import LoadedSuite
from ppm.jsonl import Prompt
from ppm.manifest import Placement, canonical_digest
from ppm.package import sha256
from ppm.prefix.model import UNPATCHED, attach
from ppm.prefix.tensors import to_bytes

__all__ = ["Configuration", "Outcome", "ResultStore", "evaluate"]

RESULTS_VERSION = 1
"""Counts up whenever the same inputs may give another outcome, so that kept ones are not used."""

Progress = Callable[[int, int], None]
"""Called with how many completions are made, and of how many."""


@dataclass(frozen=True)
class Configuration:
    """What runs: a name, and a prefix (virtual_tokens, hidden_size), or None for the base alone."""

    name: str
    prefix: torch.Tensor | None


@dataclass(frozen=True)
class Outcome:
    """One suite on one configuration.

    `values`: for each prompt its failure rate over the samples, or for perplexity its mean loss in nats a token.
    `completions`: the texts, for each prompt one a sample; empty for perplexity.
    """

    values: tuple[float, ...]
    completions: tuple[tuple[str, ...], ...]

    @property
    def mean(self) -> float:
        return sum(self.values) / len(self.values)


@dataclass(frozen=True)
class ResultStore:
    """Outcomes on disk, by the digest of what they depend on. Losing them costs time only.

    `weights` stands for the base: its fingerprint, weights and dtype. With `fresh` nothing is read, only written.
    """

    folder: Path
    weights: str
    fresh: bool = False

    def key(self, configuration: Configuration, placement: Placement, suite: LoadedSuite) -> str:
        prefix = sha256(to_bytes(configuration.prefix)) if configuration.prefix is not None else None
        where = placement if configuration.prefix is not None else None
        return canonical_digest([RESULTS_VERSION, self.weights, prefix, where, suite.digest]).removeprefix("sha256:")

    def get(self, key: str) -> Outcome | None:
        if self.fresh:
            return None
        try:
            table = json.loads((self.folder / key[:2] / f"{key}.json").read_bytes())
            completions = tuple(tuple(str(text) for text in texts) for texts in table["completions"])
            return Outcome(tuple(float(value) for value in table["values"]), completions)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, key: str, outcome: Outcome) -> None:
        path = self.folder / key[:2] / f"{key}.json"
        table = {"values": outcome.values, "completions": outcome.completions}
        with suppress(OSError, EnvironmentStateError):
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, json.dumps(table, ensure_ascii=False).encode())


def evaluate(
    model: Any,
    tokenizer: Any,
    configurations: Sequence[Configuration],
    suites: Sequence[LoadedSuite],
    *,
    placement: Placement,
    store: ResultStore | None = None,
    batch_size: int = 128,
    progress: Progress = lambda done, total: None,
) -> dict[tuple[str, str], Outcome]:
    """The outcome of each suite on each configuration, by (configuration name, suite digest).

    `model` is the bare base model. Prefixes of different lengths share batches.
    """
    found: dict[tuple[str, str], Outcome] = {}
    missing: list[tuple[Configuration, LoadedSuite]] = []
    for configuration in configurations:
        for suite in {suite.digest: suite for suite in suites}.values():
            kept = store.get(store.key(configuration, placement, suite)) if store else None
            if kept is not None and len(kept.values) == len(suite.prompts):
                found[configuration.name, suite.digest] = kept
            else:
                missing.append((configuration, suite))
    if missing:
        runner = _Runner(model, tokenizer, [c for c in configurations if c.prefix is not None], placement, batch_size)
        for (configuration, suite), outcome in runner.run(missing, progress):
            found[configuration.name, suite.digest] = outcome
            if store:
                store.put(store.key(configuration, placement, suite), outcome)
    return found


class _Runner:
    """A bank of all prefixes, and the requests that are still to be answered."""

    def __init__(
        self, model: Any, tokenizer: Any, patched: Sequence[Configuration], placement: Placement, batch_size: int
    ) -> None:
        width = model.get_input_embeddings().embedding_dim
        prefixes = [c.prefix for c in patched if c.prefix is not None] or [torch.zeros(1, width)]
        self.model = attach(model, prefixes, placement=placement)
        self.tokenizer = tokenizer
        self.rows = {c.name: index for index, c in enumerate(patched)}
        self.batch_size = batch_size

    def run(
        self, jobs: Sequence[tuple[Configuration, LoadedSuite]], progress: Progress
    ) -> list[tuple[tuple[Configuration, LoadedSuite], Outcome]]:
        requests: list[Request] = []
        spans: dict[int, tuple[int, int]] = {}
        for index, (configuration, suite) in enumerate(jobs):
            if suite.suite.metric == "perplexity":
                continue
            start = len(requests)
            row = self.rows.get(configuration.name, UNPATCHED)
            for prompt in suite.prompts:
                ids = encode(self.tokenizer, prompt.prompt)
                for sample in range(suite.suite.samples):
                    key = noise_key(suite.digest, prompt.id, sample, suite.suite.decoding.seed)
                    requests.append(Request(row, ids, suite.suite.decoding, key))
            spans[index] = (start, len(requests))
        made = generate(self.model, self.tokenizer, requests, batch_size=self.batch_size, progress=progress)
        results = []
        for index, job in enumerate(jobs):
            if index in spans:
                outcome = self._judged(job[1], made[slice(*spans[index])])
            else:
                outcome = self._perplexity(*job)
            results.append((job, outcome))
        return results

    def _judged(self, suite: LoadedSuite, made: Sequence[tuple[int, ...]]) -> Outcome:
        texts = self.tokenizer.batch_decode([list(ids) for ids in made], skip_special_tokens=True)
        per_prompt = suite.suite.samples
        completions = tuple(tuple(texts[i : i + per_prompt]) for i in range(0, len(texts), per_prompt))
        values = []
        for prompt, answers in zip(suite.prompts, completions, strict=True):
            scores = [suite.scorer(prompt, answer) for answer in answers]
            rate = math.fsum(scores) / len(scores)
            values.append(rate if suite.suite.goal == "lower" else 1 - rate)
        return Outcome(tuple(values), completions)

    def _perplexity(self, configuration: Configuration, suite: LoadedSuite) -> Outcome:
        contexts, targets = zip(*(self._split(prompt) for prompt in suite.prompts), strict=True)
        rows = [self.rows.get(configuration.name, UNPATCHED)] * len(contexts)
        sums = sum_log_probabilities(self.model, rows, contexts, targets)
        return Outcome(tuple(-s / len(t) for s, t in zip(sums, targets, strict=True)), ())

    def _split(self, prompt: Prompt) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """(context, target): the `expected` text after its prompt, else all of a text after its first token."""
        ids = encode(self.tokenizer, prompt.prompt)
        if prompt.expected is not None:
            target = tuple(self.tokenizer(f" {prompt.expected}", add_special_tokens=False).input_ids)
            if target:
                return ids, target
        return (ids, ids[-1:]) if len(ids) < 2 else (ids[:1], ids[1:])
