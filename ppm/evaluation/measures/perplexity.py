"""Perplexity: how likely the model finds texts that are already there. For utility; needs no completions and no judge.

A prompt's value is its mean loss in nats a token. Perplexity is exp of the mean over prompts, and is what is shown. Two
configurations are compared by a count: the share of the texts on which the one's loss is more than `DEARER` above the
other's. No interval of a mean holds where few texts have most of the loss; a share has an exact one.
"""

import math
from collections.abc import Sequence

from ppm.errors import ModelError
from ppm.evaluation.judges.base import Scorer
from ppm.evaluation.measures.base import Answers, Attached, Task, register
from ppm.evaluation.statistics import Interval, mean_interval, prompts_needed, rate_interval
from ppm.jsonl import Prompt
from ppm.progress import Progress
from ppm.runtime.text import TextEncoder
from ppm.suite import Judge, Suite

__all__ = ["CLIP", "DEARER", "Perplexity", "perplexity_suite"]

NAME = "perplexity"
DEARER = 0.1
"""By how many nats a token a text's loss has to rise to count: then its perplexity is 10 % higher."""
CLIP = 1.0
"""At how many nats a token a text's change is cut off in the mean that is shown beside the share."""
HIGHEST = 700.0
"""The loss from which exp overflows, nearly."""


class Perplexity:
    """Losses on texts, in nats a token."""

    metrics = (NAME,)
    judge: str | None = NAME
    unit = "perplexity"
    compared = f"the share of texts that cost over {DEARER:g} nats a token more"
    is_rate = False
    has_looks = False

    def takes(self, scorer: Scorer) -> bool:
        """Whatever the judge, which is not asked."""
        return True

    def check(self, suite: Suite) -> None:
        """Raises ValueError for a suite that is not for utility, or has a limit."""
        if suite.against != "base":
            raise ValueError(f'metric "{NAME}" is for utility: set against = "base"')
        if suite.limit is not None:
            raise ValueError("limit is only for rates, not for perplexity")

    def count(self, task: Task) -> int:
        """One a text."""
        return len(task.prompts)

    def room(self, encoder: TextEncoder, suite: Suite, prompt: Prompt) -> int:
        """The `expected` text, where there is one. Raises ModelError for a token of it without an embedding."""
        return len(_expected(encoder, prompt))

    def answers(self, attached: Attached, task: Task, rows: Sequence[int], progress: Progress) -> list[Answers]:
        """Each row's losses on the texts. Raises ModelError."""
        from ppm.evaluation.scoring import ScoredText, sum_log_probabilities

        prompts = zip(task.prompts, attached.prompts(task, self), strict=True)
        splits = [_split(ids, _expected(attached.encoder, prompt)) for prompt, ids in prompts]
        texts = [ScoredText(*split, row) for row in rows for split in splits]
        sums = sum_log_probabilities(attached.model, texts, memory=attached.memory, progress=progress)
        if not all(math.isfinite(s) for s in sums):
            raise ModelError(f"gives texts of the suite {task.suite.name!r} a loss that is no number")
        values = iter([-s / len(text.completion) for s, text in zip(sums, texts, strict=True)])
        made: list[Answers] = [{prompt.id: (next(values), ()) for prompt in task.prompts} for _ in rows]
        return made

    def fewest(self, asked: int | None) -> int:
        """None of its own, as its bound is exact; and what a policy asks for is meant for suites of rates."""
        return 0

    def interval(self, values: Sequence[float], alpha: float) -> Interval:
        """The perplexity: exp of the mean loss, and of its bounds."""
        found = mean_interval(values, alpha)
        return Interval(*(math.exp(min(x, HIGHEST)) for x in (found.value, found.low, found.high)))

    def paired(self, first: Sequence[float], second: Sequence[float]) -> tuple[list[float], list[float]]:
        """1 for a text that the first finds dearer, else 0; of the second, which is no dearer than itself, 0."""
        return [float(a - b > DEARER) for a, b in zip(first, second, strict=True)], [0.0] * len(second)

    def difference(
        self, first: Sequence[float], second: Sequence[float], alpha: float, margin: float | None = None
    ) -> Interval:
        """The share of texts that the first finds dearer: exact, or by groups (`rate_interval`)."""
        return rate_interval(first, alpha)

    def change(self, first: Sequence[float], second: Sequence[float]) -> list[float] | None:
        """In nats a token, each text's cut off at `CLIP` either way."""
        return [min(max(a - b, -CLIP), CLIP) for a, b in zip(first, second, strict=True)]

    def needed(self, interval: Interval, count: int, margin: float, alpha: float) -> int | None:
        """As many as can pass at all, where none became dearer; else about as many as bring the bound to the margin."""
        least = self.prompts_for_power(margin, 0.0, alpha)
        if interval.value == 0:
            return least
        found = prompts_needed(interval, count, margin)
        return None if found is None else max(found, least)

    def power(self, prompts: int, margin: float, discordance: float, alpha: float) -> float:
        """Where nothing is lost no text becomes dearer, so whatever has enough of them decides."""
        return float(prompts >= self.prompts_for_power(margin, discordance, alpha))

    def prompts_for_power(self, margin: float, discordance: float, alpha: float) -> int:
        """The fewest texts that can pass: the bound of none in n is 1 - alpha^(1/n)."""
        return math.floor(math.log(alpha) / math.log1p(-margin)) + 1

    def shown(self, value: float) -> str:
        """A perplexity, to two places."""
        return f"{value:.2f}"

    def fails(self, suite: Suite, value: float) -> bool:
        """No text fails: it is more or less likely."""
        return False


def perplexity_suite(name: str, prompts: str) -> Suite:
    """A suite of utility of the texts in a file."""
    return Suite(name, prompts, Judge(NAME), against="base", metric=NAME)


def _expected(encoder: TextEncoder, prompt: Prompt) -> tuple[int, ...]:
    """The token ids of a prompt's `expected` text right after it."""
    if prompt.expected is None:
        return ()
    return encoder.continuation(prompt.prompt, prompt.expected, f"the expected text of the prompt {prompt.id!r}")


def _split(ids: tuple[int, ...], expected: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(context, target): the `expected` text after its prompt, else all of a text after its first token."""
    if expected:
        return ids, expected
    return (ids, ids[-1:]) if len(ids) < 2 else (ids[:1], ids[1:])


register(Perplexity())
