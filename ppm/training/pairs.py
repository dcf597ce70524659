"""Pairs from answers: the base's and the teacher's to the same prompts are judged, and the clear cases kept."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ppm.errors import TrainingError
from ppm.evaluation.judges.registry import Scorer
from ppm.jsonl import Pair, Prompt, Text, normalised
from ppm.training.source import SourcePatch
from ppm.training.teacher import Question
from ppm.training_table import Collect

__all__ = ["Collected", "Counts", "choose_pairs", "distinct_prompts", "questions_of"]


@dataclass(frozen=True)
class Counts:
    """What became of the prompts: each is counted once, in the order of the fields, or is one of the pairs.

    `base_failures` and `teacher_failures` are the mean scores of their answers, as failures.
    """

    prompts: int
    repeated: int = 0
    in_suites: int = 0
    without_answer: int = 0
    same_answer: int = 0
    teacher_not_acceptable: int = 0
    base_not_worse: int = 0
    pairs: int = 0
    base_failures: float = 0.0
    teacher_failures: float = 0.0

    def words(self) -> str:
        """The counts as a sentence."""
        named = {
            "repeated": "repeated",
            "in_suites": "in a suite",
            "without_answer": "without an answer",
            "same_answer": "with the same answer twice",
            "teacher_not_acceptable": "with an unacceptable answer from the teacher",
            "base_not_worse": "where the base's answer is not clearly worse",
        }
        dropped = [f"{count} {text}" for key, text in named.items() if (count := getattr(self, key))]
        return (
            f"{self.pairs} pairs of {self.prompts} prompts"
            + (f"; dropped: {', '.join(dropped)}" if dropped else "")
            + f". Failures: base {self.base_failures:.2f}, teacher {self.teacher_failures:.2f}"
        )


@dataclass(frozen=True)
class Collected:
    """The pairs that were kept, and what became of the rest."""

    pairs: tuple[Pair, ...]
    counts: Counts


def distinct_prompts(prompts: Sequence[Text], suites: Sequence[Prompt]) -> tuple[list[Text], Counts]:
    """The prompts without repetitions and without those of any suite, as compared normalised."""
    tested = {normalised(prompt.prompt) for prompt in suites}
    kept: dict[str, Text] = {}
    repeated = in_suites = 0
    for text in prompts:
        key = normalised(text)
        if key in tested:
            in_suites += 1
        elif key in kept:
            repeated += 1
        else:
            kept[key] = text
    return list(kept.values()), Counts(len(prompts), repeated, in_suites)


def questions_of(source: SourcePatch) -> tuple[list[Question], Counts]:
    """What the base and the teacher are asked, and what became of the other prompts."""
    prompts, counts = distinct_prompts(source.prompts, source.tested())
    samples = source.training.collect.samples
    return [Question(text, sample) for text in prompts for sample in range(samples)], counts


def choose_pairs(
    prompts: Sequence[Text],
    chosen: Sequence[Sequence[str]],
    rejected: Sequence[Sequence[str]],
    scorer: Scorer,
    settings: Collect,
    goal: str,
    counts: Counts,
) -> Collected:
    """A pair for each prompt whose best chosen answer is acceptable and clearly better than its worst rejected one.

    `chosen` and `rejected` are the teacher's and the base's answers to each prompt. Raises TrainingError, with the
    counts, when there are fewer pairs than `least_pairs`.
    """
    asked = [Prompt(str(i), text) for i, text in enumerate(prompts)]
    scores = [
        scorer.judged([(prompt, tuple(texts)) for prompt, texts in zip(asked, answers, strict=True)])
        for answers in (chosen, rejected)
    ]
    failures = [[[s if goal == "lower" else 1 - s for s in row] for row in part] for part in scores]
    pairs = []
    without = same = not_acceptable = not_worse = 0
    for text, good, bad, good_scores, bad_scores in zip(prompts, chosen, rejected, *failures, strict=True):
        # Among equally good answers the first, so that only the score decides.
        best = min(_with_text(good_scores, good), key=_score, default=None)
        worst = max(_with_text(bad_scores, bad), key=_score, default=None)
        if best is None or worst is None:
            without += 1
        elif best[1].strip() == worst[1].strip():
            same += 1
        elif best[0] > settings.acceptable:
            not_acceptable += 1
        elif worst[0] - best[0] < settings.margin:
            not_worse += 1
        else:
            pairs.append(Pair(text, best[1], worst[1], chosen_score=best[0], rejected_score=worst[0]))
    means = [_mean([s for row in part for s in row]) for part in failures]
    counts = replace(
        counts,
        without_answer=without,
        same_answer=same,
        teacher_not_acceptable=not_acceptable,
        base_not_worse=not_worse,
        pairs=len(pairs),
        teacher_failures=round(means[0], 4),
        base_failures=round(means[1], 4),
    )
    if len(pairs) < settings.least_pairs:
        weak = means[1] - means[0] < settings.margin / 2
        raise TrainingError(
            f"only {counts.words()}. At least {settings.least_pairs} pairs are needed",
            hint="the teacher is hardly safer than the base: use another one"
            if weak
            else "give more prompts, more samples, or a smaller margin under [training.collect]",
        )
    return Collected(tuple(pairs), counts)


def _with_text(scores: Sequence[float], texts: Sequence[str]) -> list[tuple[float, str]]:
    return [(score, text) for score, text in zip(scores, texts, strict=True) if text.strip()]


def _score(answer: tuple[float, str]) -> float:
    return answer[0]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
