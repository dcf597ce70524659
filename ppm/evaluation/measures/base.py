"""What a measure is, and how one is registered.

A measure answers a suite on a base with the banks of all configurations attached, one value a prompt; the same object
says what these values are: their unit, their intervals, how few prompts are too few, how they are shown. It serves one
or several metrics, which suites name. Knows no metric by name.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ppm.bank import Readings
from ppm.evaluation.judges.base import Scorer
from ppm.evaluation.statistics import Interval
from ppm.jsonl import Prompt
from ppm.progress import Progress
from ppm.runtime.text import TextEncoder
from ppm.suite import Suite

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["MEASURES", "Answers", "Attached", "Measure", "Task", "register"]

Answers = dict[str, tuple[float, tuple[str, ...]]]
"""By the id of a prompt: its value, and its completions."""


class Task(Protocol):
    """What a measure needs to know of a suite that is ready to run."""

    @property
    def suite(self) -> Suite: ...
    @property
    def prompts(self) -> tuple[Prompt, ...]: ...
    @property
    def scorer(self) -> Scorer: ...
    @property
    def digest(self) -> str: ...


@dataclass(frozen=True)
class Attached:
    """A base with banks attached (`ppm.runtime.model.attach`), which writes `batch_size` completions at a time.

    A `batch_size` of None leaves that to the device. `encoder` says how it reads texts, and `virtual_tokens` how many
    may stand before each: those of the longest bank. `memory` is how many bytes all may take, the model included; None
    leaves it to what is at hand. `readings` is what triggers said of texts.
    """

    model: "PreTrainedModel"
    encoder: TextEncoder
    virtual_tokens: int
    batch_size: int | None
    memory: int | None = None
    readings: Readings | None = None

    @property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """The base's tokenizer."""
        return self.encoder.tokenizer

    def prompts(self, task: Task, measure: "Measure") -> list[tuple[int, ...]]:
        """The token ids of a suite's prompts.

        Raises ModelError, naming the prompt, for a token without an embedding, and where prompt, prefix and what the
        measure puts after them are more than the context holds.
        """
        found = []
        for prompt in task.prompts:
            where = f"the suite {task.suite.name!r}, prompt {prompt.id!r}"
            ids = self.encoder.prompt(prompt.prompt, where)
            room = measure.room(self.encoder, task.suite, prompt)
            self.encoder.check_room(self.virtual_tokens + len(ids) + room, where)
            found.append(ids)
        return found


class Measure(Protocol):
    """One way to measure a suite.

    `metrics` are the names that suites have for it. `judge` is the one judge that goes with it, and with no other
    measure; None when any other does. `unit` is what a figure is called, and `compared` what is counted where two are
    compared, if that is not the difference of figures. `is_rate` says that values are failure rates
    from 0 to 1, which limits, effects and scores of 1 - value are for. `has_looks`: whether a share of the prompts may
    be answered first.
    """

    @property
    def metrics(self) -> tuple[str, ...]: ...
    @property
    def judge(self) -> str | None: ...
    @property
    def unit(self) -> str: ...
    @property
    def compared(self) -> str: ...
    @property
    def is_rate(self) -> bool: ...
    @property
    def has_looks(self) -> bool: ...

    def takes(self, scorer: Scorer) -> bool:
        """Whether the measure is for what this judge reads; of several with one metric, the first that is runs."""

    def check(self, suite: Suite) -> None:
        """Raises ValueError for settings that make no sense for it."""

    def count(self, task: Task) -> int:
        """How many answers one configuration gives; what progress counts."""

    def room(self, encoder: TextEncoder, suite: Suite, prompt: Prompt) -> int:
        """How many tokens stand after a prompt at most: those that are made, or that are scored. Raises ModelError."""

    def answers(self, attached: Attached, task: Task, rows: Sequence[int], progress: Progress) -> list[Answers]:
        """The answers of each row of the attached banks; all rows share batches. Raises ModelError."""

    def fewest(self, asked: int | None) -> int:
        """Below how many prompts nothing passes, where a policy asks for some."""

    def interval(self, values: Sequence[float], alpha: float) -> Interval:
        """The figure of one configuration with one-sided bounds at alpha, in the measure's unit."""

    def paired(self, first: Sequence[float], second: Sequence[float]) -> tuple[list[float], list[float]]:
        """What a comparison counts of two configurations' values, prompt by prompt, before these go into groups."""

    def difference(
        self, first: Sequence[float], second: Sequence[float], alpha: float, margin: float | None = None
    ) -> Interval:
        """The mean difference first - second of what `paired` gave, or groups' means of it, with bounds at alpha.

        The upper bound is to be held against the `margin`, where there is one, which is in the same unit.
        """

    def change(self, first: Sequence[float], second: Sequence[float]) -> list[float] | None:
        """How each prompt's value changes from second to first, for people, where comparisons count something else."""

    def needed(self, interval: Interval, count: int, margin: float, alpha: float) -> int | None:
        """About how many prompts or groups settle what so many of them left open at alpha; None when none will."""

    def power(self, prompts: int, margin: float, discordance: float, alpha: float) -> float:
        """About the chance to show that there is no loss, where there is none."""

    def prompts_for_power(self, margin: float, discordance: float, alpha: float) -> int:
        """How many prompts it takes for a power of 0.9."""

    def shown(self, value: float) -> str:
        """A figure as people read it."""

    def fails(self, suite: Suite, value: float) -> bool:
        """Whether a prompt with this value is one that people call a failure."""


MEASURES: list[Measure] = []
"""All measures, in the order in which they were registered."""


def register(measure: Measure) -> Measure:
    """Adds a measure."""
    MEASURES.append(measure)
    return measure
