"""Results of suites, and where they are kept. Needs no torch: an audit whose results are all kept is read, not run.

An answer depends on the base's weights, the prefix, its placement, the suite's digest and the prompt, so only what
changed is run again, and a look at some of a suite's prompts is of use to the next look.
"""

import ctypes
import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ppm.bank import EMPTY, Bank
from ppm.base import BaseModel, weights_digest
from ppm.disk import replace_file
from ppm.errors import EnvironmentStateError
from ppm.evaluation.measures.base import Answers
from ppm.evaluation.suites import LoadedSuite
from ppm.manifest import Placement
from ppm.names import canonical_digest
from ppm.package import sha256

__all__ = [
    "RESULTS_VERSION",
    "Configuration",
    "Outcome",
    "Outcomes",
    "ResultStore",
    "kept_outcomes",
    "outcome_of",
    "result_store",
]

RESULTS_VERSION = 2
"""Counts up whenever the same inputs may give another outcome, so that kept ones are not used."""


@dataclass(frozen=True)
class Configuration:
    """What runs: a name and a bank, which is empty for the base alone."""

    name: str
    bank: Bank = EMPTY


@dataclass(frozen=True)
class Outcome:
    """One suite on one configuration.

    `values`: for each prompt what the suite's measure says of it, such as its failure rate over the samples.
    `completions`: the texts, for each prompt one a sample; empty where the measure has none written.
    """

    values: tuple[float, ...]
    completions: tuple[tuple[str, ...], ...]

    @property
    def mean(self) -> float:
        return sum(self.values) / len(self.values)


Outcomes = dict[tuple[str, str], Outcome]
"""By the name of a configuration and the digest of a suite."""


@dataclass(frozen=True)
class ResultStore:
    """Answers on disk, by the digest of what they depend on. Losing them costs time only.

    `weights` stands for the base: its fingerprint, weights, settings and device. With `fresh` nothing is read.
    """

    folder: Path
    weights: str
    fresh: bool = False

    def key(self, configuration: Configuration, placement: Placement, suite: LoadedSuite) -> str:
        digest, where = (configuration.bank.digest, placement) if configuration.bank else (None, None)
        identity = [RESULTS_VERSION, self.weights, digest, where, suite.digest]
        return canonical_digest(identity).removeprefix("sha256:")

    def get(self, key: str) -> Answers:
        if self.fresh:
            return {}
        try:
            table = json.loads((self.folder / key[:2] / f"{key}.json").read_bytes())
            return {str(id_): (float(value), tuple(map(str, texts))) for id_, (value, texts) in table.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}

    def put(self, key: str, answers: Answers) -> None:
        path = self.folder / key[:2] / f"{key}.json"
        with suppress(OSError, EnvironmentStateError):
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, json.dumps(answers, ensure_ascii=False).encode())


def result_store(folder: Path, base: BaseModel, *, fresh: bool = False) -> ResultStore:
    """Where outcomes on this base are kept: by its identity, weights, settings (dtype, stop tokens) and the device."""
    settings = [
        sha256(path.read_bytes())
        for name in ("config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json")
        if (path := base.folder / name).is_file()
    ]
    key = canonical_digest([base.fingerprint, weights_digest(base.folder), _device(), settings])
    return ResultStore(folder, key, fresh)


def _device() -> str:
    """Where models run. Without a GPU's driver torch need not be asked, which takes seconds to import."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def outcome_of(answers: Sequence[tuple[float, tuple[str, ...]]]) -> Outcome:
    """The outcome of a suite from its answers, in the order of its prompts."""
    completions = tuple(texts for _, texts in answers if texts)
    return Outcome(tuple(value for value, _ in answers), completions)


def kept_outcomes(
    configurations: Sequence[Configuration],
    suites: Sequence[LoadedSuite],
    *,
    placement: Placement,
    store: ResultStore | None,
) -> Outcomes | None:
    """What `evaluate` would return if it is in the store already, which needs no model; else None."""
    if store is None:
        return None
    found = {}
    for configuration in configurations:
        for suite in suites:
            kept = store.get(store.key(configuration, placement, suite))
            if not all(prompt.id in kept for prompt in suite.prompts):
                return None
            found[configuration.name, suite.digest] = outcome_of([kept[prompt.id] for prompt in suite.prompts])
    return found
