"""How often a judge agrees with people, measured on completions that they labelled.

A completion is found when the judge scores it at least 0.5, as the metric `rate` counts. Labels say whether a
completion has what the judge looks for, has it not, or stands apart (a partial refusal): what stands apart is counted
and decides nothing. Intervals are at 95 %: exact (Clopper and Pearson), or over group means where rows name groups.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ppm.errors import ManifestError
from ppm.evaluation.judges.base import Scorer
from ppm.evaluation.measures.completions import HIT
from ppm.evaluation.statistics import Interval, rate_interval
from ppm.jsonl import Label, Prompt, numbered_labels
from ppm.package import sha256
from ppm.suite import Evidence

__all__ = ["APART", "NEGATIVE", "POSITIVE", "Agreement", "Labels", "Row", "measure", "read_labels"]

Side = Literal["positive", "negative", "apart"]
POSITIVE = ("true", "1", "yes", "2_full_refusal")
NEGATIVE = ("false", "0", "no", "1_full_compliance")
APART = ("partial", "3_partial_refusal")
"""What labels mean where nobody says otherwise; the last of each as XSTest has it, of refusals."""
HALF_ALPHA = 0.025


@dataclass(frozen=True)
class Labels:
    """Labelled completions, each with the side it is on, and the digest of their file."""

    rows: tuple[tuple[Label, Side], ...]
    digest: str
    origin: str

    @property
    def groups(self) -> int | None:
        """How many groups the rows that count come from; None where no row names one."""
        counted = [label for label, side in self.rows if side != "apart"]
        if all(label.group is None for label in counted):
            return None
        return len({_group_of(label, number) for number, label in enumerate(counted)})


@dataclass(frozen=True)
class Row:
    """One line of the confusion table: how many completions of a label the judge found, and of how many."""

    label: str
    side: Side
    found: int
    completions: int


@dataclass(frozen=True)
class Agreement:
    """A judge on labelled completions: the confusion by label, and how often it is right on each side.

    `positives` is the share found of what has it, `negatives` the share not found of what has it not.
    """

    judge: str
    version: str
    labels: Labels
    table: tuple[Row, ...]
    positives: Interval
    negatives: Interval

    def evidence(self, goal: Literal["lower", "higher"]) -> Evidence:
        """What a suite carries of it: sensitivity and specificity of failures, as a suite of this goal counts them."""
        sides = [(self.positives, self._count("positive")), (self.negatives, self._count("negative"))]
        (sensitivity, failures), (specificity, successes) = sides if goal == "lower" else reversed(sides)
        return Evidence(
            judge=self.judge,
            version=self.version,
            sensitivity=round(sensitivity.value, 4),
            specificity=round(specificity.value, 4),
            failures=failures,
            successes=successes,
            labels=self.labels.digest,
            groups=self.labels.groups,
        )

    def _count(self, side: Side) -> int:
        return sum(row.completions for row in self.table if row.side == side)


def read_labels(data: bytes, origin: str, meanings: Mapping[str, Side]) -> Labels:
    """Labelled completions from JSON Lines; `meanings` are of labels beside the usual ones, or instead of them.

    Raises ManifestError for a label of unknown meaning, a line without a completion, one that occurs twice, or where a
    side is empty.
    """
    known: dict[str, Side] = {}
    sides: tuple[tuple[Side, tuple[str, ...]], ...] = (("positive", POSITIVE), ("negative", NEGATIVE), ("apart", APART))
    for side, usual in sides:
        known |= dict.fromkeys(usual, side)
    known |= meanings
    rows = []
    for number, label in numbered_labels(data, origin):
        if label.label not in known:
            raise ManifestError(
                f"nobody says what the label {label.label!r} means",
                context=f"{origin}, line {number}",
                hint=f"known are {', '.join(known)}; say which side others are on with --positive, --negative or "
                f"--apart, such as --positive {label.label[:40]!r}",
            )
        rows.append((label, known[label.label]))
    _check_sides(rows, origin)
    return Labels(tuple(rows), f"sha256:{sha256(data)}", origin)


def _check_sides(rows: Sequence[tuple[Label, Side]], origin: str) -> None:
    counted = {side for _, side in rows} - {"apart"}
    if len(counted) < 2:
        only = f"only {counted.pop()} labels" if counted else "only labels that stand apart"
        raise ManifestError(
            f"has {only}, and a judge's errors show on both sides",
            context=origin,
            hint="add completions that people labelled the other way",
        )


def measure(judge: str, version: str, scorer: Scorer, labels: Labels) -> Agreement:
    """Let a judge score labelled completions and count where it agrees. Raises PpmError."""
    if not scorer.opinion:
        raise ManifestError(
            f"the judge {judge!r} computes its figure: there is no opinion that people could differ from",
            hint="`ppm judges` lists the others",
        )
    scorer.prepare()
    cases = [
        (Prompt(str(number), label.prompt, _expected(label), label.group, label.extra), (label.completion,))
        for number, (label, _) in enumerate(labels.rows)
    ]
    found = [row[0] >= HIT for row in scorer.judged(cases)]
    return Agreement(
        judge,
        version,
        labels,
        _table(labels, found),
        _right(labels, found, "positive"),
        _right(labels, found, "negative"),
    )


def _expected(label: Label) -> str | None:
    expected = label.extra.get("expected")
    return expected if isinstance(expected, str) else None


def _table(labels: Labels, found: Sequence[bool]) -> tuple[Row, ...]:
    counts: dict[tuple[Side, str], list[bool]] = {}
    for (label, side), hit in zip(labels.rows, found, strict=True):
        counts.setdefault((side, label.label), []).append(hit)
    order = ("positive", "negative", "apart")
    ordered = sorted(counts.items(), key=lambda item: (order.index(item[0][0]), item[0][1]))
    return tuple(Row(label, side, sum(hits), len(hits)) for (side, label), hits in ordered)


def _right(labels: Labels, found: Sequence[bool], wanted: Side) -> Interval:
    """The share of one side that the judge is right on, means of groups where rows name them."""
    by_group: dict[str, list[float]] = {}
    for number, ((label, side), hit) in enumerate(zip(labels.rows, found, strict=True)):
        if side == wanted:
            by_group.setdefault(_group_of(label, number), []).append(float(hit == (wanted == "positive")))
    return rate_interval([sum(hits) / len(hits) for hits in by_group.values()], HALF_ALPHA)


def _group_of(label: Label, number: int) -> str:
    """The group of a row; one that names none is a group of its own."""
    return f"group {label.group}" if label.group is not None else f"row {number}"
