"""Results of suites, and where they are kept. Needs no torch: an audit whose results are all kept is read, not run.

An answer depends on the base's weights, the prefix, its placement, the suite's digest and the prompt, so only what
changed is run again, and a look at some of a suite's prompts is of use to the next look.
"""

import ctypes
import json
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ppm.bank import EMPTY, Bank
from ppm.base import BaseModel, behaviour_digest
from ppm.disk import replace_file
from ppm.errors import EnvironmentStateError
from ppm.evaluation.measures.base import Answers
from ppm.evaluation.suites import LoadedSuite
from ppm.manifest import Placement
from ppm.names import canonical_digest
from ppm.running import FLOAT32, Running
from ppm.runtime.text import TEXT_VERSION

__all__ = [
    "RESULTS_VERSION",
    "Configuration",
    "Outcome",
    "Outcomes",
    "ResultStore",
    "damaged_entries",
    "kept_outcomes",
    "outcome_of",
    "result_store",
]

RESULTS_VERSION = 4
"""Counts up whenever the same inputs may give another outcome, so that kept ones are not used."""
_NOISE = 1e-6


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
        bank = configuration.bank
        digest, where = (bank.digest, placement) if bank else (None, None)
        identity = [RESULTS_VERSION, self.weights, digest, where, suite.digest]
        if bank and str(bank.arrangement) != "joined":  # which the bytes don't say
            identity.append(bank.arrangement)
        return canonical_digest(identity).removeprefix("sha256:")

    def answers(self, configuration: Configuration, placement: Placement, suite: LoadedSuite) -> Answers:
        """What is kept of a suite on a configuration; rates that are none are as good as nothing."""
        found = self.get(self.key(configuration, placement, suite), private=bool(suite.suite.sealed))
        possible = not suite.measure.is_rate or all(value <= 1 + _NOISE for value, _ in found.values())
        return found if possible else {}

    def get(self, key: str, *, private: bool = False) -> Answers:
        """What is kept under a key; an entry that is damaged is as good as none. `private` ones become so."""
        path = self._path(key)
        if private:
            with suppress(OSError):
                path.chmod(0o600)
        if self.fresh:
            return {}
        try:
            return _read_entry(path.read_bytes())
        except (OSError, ValueError):
            return {}

    def put(self, key: str, answers: Answers, *, private: bool = False) -> None:
        """Keep answers under a key; `private` ones can be read by this user alone."""
        path = self._path(key)
        with suppress(OSError, EnvironmentStateError):
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, _entry(answers), private=private)

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.json"


def _entry(answers: Answers) -> bytes:
    table = {"digest": canonical_digest(answers), "answers": answers}
    return json.dumps(table, ensure_ascii=False).encode()


def _read_entry(data: bytes) -> Answers:
    """The answers of a kept entry. Raises ValueError when it was truncated or edited, or holds what can't be."""
    try:
        table = json.loads(data)
        declared, rows = table["digest"], table["answers"]
        answers = {str(id_): (float(value), tuple(map(str, texts))) for id_, (value, texts) in rows.items()}
        if canonical_digest(answers) != declared:
            raise ValueError("was truncated or edited")
    except (KeyError, AttributeError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError("is not a cached result") from error
    for value, _ in answers.values():
        if not -_NOISE <= value < math.inf:
            raise ValueError(f"has {value}, which no result can be")
    return answers


def damaged_entries(folder: Path) -> Iterator[tuple[Path, str]]:
    """The kept entries that are as good as none, with what is wrong with each."""
    for path in sorted(folder.glob("*/*.json")):
        try:
            _read_entry(path.read_bytes())
        except FileNotFoundError:
            continue
        except OSError as error:
            yield path, f"can't be read: {error.strerror}"
        except json.JSONDecodeError:
            yield path, "is not a cached result"
        except ValueError as error:
            yield path, str(error)


def result_store(folder: Path, base: BaseModel, *, running: Running = FLOAT32, fresh: bool = False) -> ResultStore:
    """Where outcomes on this base are kept: by all that its answers depend on, the dtype, the device, and how texts are
    read."""
    how = [running.recorded, running.device_map] if running.recorded or running.device_map else []
    key = canonical_digest([behaviour_digest(base), _device(), TEXT_VERSION, *how])
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
            kept = store.answers(configuration, placement, suite)
            if not all(prompt.id in kept for prompt in suite.prompts):
                return None
            found[configuration.name, suite.digest] = outcome_of([kept[prompt.id] for prompt in suite.prompts])
    return found
