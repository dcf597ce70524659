"""Fits a patch's trigger: what tells from the base's own hidden states whether a prompt concerns the patch.

Positive are the prompts of the pairs and those examples that concern the patch, negative the benign ones, the other
examples, ordinary requests where a base chats, plain sentences, and look-alikes: rows with a `twin_of`, whose right
answer is an ordinary one. A logistic regression is fitted five times, each time without a fifth of the groups, on which
it is ranked; and once on all. No prompt of a suite is read. In chats it learns to read sentences, too (`material.py`).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from ppm.bank import Bank, Router, Trigger
from ppm.evaluation.neutral import is_held_back
from ppm.evaluation.ordinary import has_room, plain_text, takes_requests, without_tested
from ppm.jsonl import Benign, Pair, Text, normalised, place_of
from ppm.runtime.loading import LoadedBase
from ppm.runtime.model import attach, backbone_of
from ppm.runtime.taps import depth_of
from ppm.training.context import BuildContext
from ppm.training.material import FOLDS, Material, Read, gather
from ppm.training.source import SourcePatch

__all__ = [
    "CURVE",
    "ENOUGH_RECALL",
    "LEAST_PROMPTS",
    "MOST_ALARMS",
    "Curve",
    "Example",
    "Fitted",
    "examples",
    "examples_of",
    "fit_on",
    "fit_trigger",
    "folds_of",
    "gather_examples",
    "layers_of",
    "layers_on",
    "regression",
    "shares_of",
    "with_trigger",
]

LEAST_PROMPTS = 30
"""Of either kind: fewer prove nothing."""
MOST_ALARMS, ENOUGH_RECALL = 0.04, 0.99
"""A trigger fires on no more ordinary ranking prompts than this, and on fewer where it finds enough of its risk."""
LEAST_RECALL = 0.7
"""A trigger that finds fewer prompts of its risk, or fires on more ordinary ones, does not ship."""
RIDGE = 100.0
"""The penalty on half the squared length of the weights, beside losses that are summed over prompts."""
DEPTHS = (2 / 5, 1 / 2, 3 / 5, 3 / 4)
"""After which shares of the base's layers a trigger reads."""
CURVE = (1.0, 0.995, 0.99, 0.985, 0.98, 0.97, 0.96, 0.95, 0.925, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5)
"""The recalls at which the curve is recorded."""
LEAST_SCALE = 1e-3


@dataclass(frozen=True)
class Example:
    """A prompt, whether it concerns the patch, its group, and whether it is one of a pair of look-alikes."""

    prompt: Text
    positive: bool
    group: str
    twin: bool = False


@dataclass(frozen=True)
class Curve:
    """What a trigger does on ranking prompts at some threshold, as shares of the prompts on which it fires.

    `look_alikes` is None where there are none among them.
    """

    threshold: float
    recall: float
    false_alarms: float
    look_alikes: float | None

    @property
    def alarms(self) -> float:
        """The share of others, or of look-alikes where that is larger."""
        return max(self.false_alarms, self.look_alikes or 0.0)

    @property
    def quiet(self) -> bool:
        """Whether it fires on few enough of the others to ship."""
        return self.false_alarms <= MOST_ALARMS

    @property
    def rounded(self) -> list[float]:
        """As provenance has it: threshold, recall, false alarms, and those on look-alikes."""
        shares = (self.recall, self.false_alarms, *([] if self.look_alikes is None else [self.look_alikes]))
        return [round(self.threshold, 6), *(round(share, 4) for share in shares)]


@dataclass(frozen=True)
class Fitted:
    """A trigger with what it does on ranking prompts, at its threshold and along its curve."""

    router: Router
    at: Curve
    curve: tuple[Curve, ...]
    positives: int
    negatives: int
    among_others: tuple[float, float] | None = None
    """The shares of prompts that ask several things on which it fires: where one of these is of the risk, and where
    none is."""

    @property
    def ships(self) -> bool:
        """Whether the patch is better with it than always on."""
        return self.at.recall >= LEAST_RECALL and self.at.quiet

    def words(self) -> str:
        """What it does, for people."""
        alike = "" if self.at.look_alikes is None else f", on {self.at.look_alikes:.3f} of look-alikes"
        hidden = "" if self.among_others is None else f"; among other requests, on {self.among_others[0]:.3f}"
        return (
            f"fires on {self.at.recall:.3f} of {self.positives} ranking prompts of the risk and on "
            f"{self.at.false_alarms:.3f} of {self.negatives} others{alike}{hidden}"
        )

    @property
    def record(self) -> dict[str, object]:
        """What provenance says of it."""
        return {
            "layers": list(self.router.layers),
            "threshold": self.at.threshold,
            "positives": self.positives,
            "negatives": self.negatives,
            "shares": [
                "threshold",
                "recall",
                "false_alarms",
                *(["look_alikes"] if self.at.look_alikes is not None else []),
            ],
            "chosen": self.at.rounded,
            "curve": [point.rounded for point in self.curve],
            **({} if self.among_others is None else {"among_others": [round(x, 4) for x in self.among_others]}),
        }


def with_trigger(context: BuildContext, bank: Bank) -> tuple[Bank, dict[str, object]]:
    """The bank behind its trigger, and what provenance says of that; or the bank as it is, always on.

    That is where the manifest says `trigger = false`, where there are too few prompts, and where the trigger would find
    less than 0.7 of the risk's ranking prompts or fire on more than 0.04 of the ordinary ones.
    """
    if not context.training.trigger:
        return bank, {}
    source = context.source
    found = examples_of(source, chats=takes_requests(context.base), plain=has_room(context.base))
    counts = [sum(e.positive == kind for e in found) for kind in (True, False)]
    if min(counts) < LEAST_PROMPTS:
        context.tell(
            f"No trigger: it takes {LEAST_PROMPTS} different prompts of the risk and as many benign ones, and there "
            f"are {counts[0]} and {counts[1]}; the patch is always on"
        )
        return bank, {}
    context.tell(f"Fitting a trigger on {counts[0]} prompts of the risk and {counts[1]} others")
    fitted = fit_trigger(context.loaded, found, patch=source.manifest.name)
    if not fitted.ships:
        context.tell(
            f"No trigger: it {fitted.words()}, where at least {LEAST_RECALL:g} and at most {MOST_ALARMS:g} is asked "
            "for; the patch is always on"
        )
        return bank, {"trigger": {**fitted.record, "ships": False}}
    context.tell(f"The trigger {fitted.words()}")
    return bank.routed(fitted.router), {"trigger": {**fitted.record, "ships": True}}


def examples_of(source: SourcePatch, *, chats: bool, plain: bool = False) -> list[Example]:
    """What the trigger of a source manifest is fitted on.

    `chats` says whether its base takes requests, and `plain` whether it has room for sentences that people write, of
    which those that ship with ppm must not set off a trigger.
    """
    tested = {normalised(prompt.prompt) for prompt in source.tested()}
    ordinary = without_tested(tested) if chats and source.has_chats else []
    if plain and not ordinary:
        ordinary = [row for row in plain_text() if normalised(row.prompt) not in tested]
    benign = [*source.benign, *ordinary]
    # Rows that are held back may test the base's utility.
    return examples(source.pairs, [*(row for row in benign if not is_held_back(row)), *source.examples])


def examples(pairs: Sequence[Pair], benign: Sequence[Benign]) -> list[Example]:
    """The prompts of pairs and of benign rows, each once; one that is of both kinds is of neither."""
    rows: list[Pair | Benign] = [*pairs, *benign]
    named = {row.extra["twin_of"] for row in rows if isinstance(row.extra.get("twin_of"), str)}
    found = [_example(row, named) for row in rows]
    positive = {example.prompt: example for example in found if example.positive}
    negative = {example.prompt: example for example in found if not example.positive}
    both = {normalised(p) for p in positive} & {normalised(p) for p in negative}
    return [e for e in (*positive.values(), *negative.values()) if normalised(e.prompt) not in both]


def _example(row: Pair | Benign, named: set[object]) -> Example:
    twin, group, id_ = row.extra.get("twin_of"), row.extra.get("group"), row.extra.get("id")
    key = next((str(k) for k in (twin, group, id_) if isinstance(k, str)), normalised(row.prompt))
    is_twin = isinstance(twin, str)
    positive = (isinstance(row, Pair) or row.extra.get("concerns") is True) and not is_twin
    return Example(row.prompt, positive, key, is_twin or bool({group, id_} & named))


def layers_of(depth: int) -> tuple[int, ...]:
    """After how many of a base's layers a trigger reads."""
    return tuple(sorted({max(1, int(depth * share)) for share in DEPTHS}))


def fit_trigger(base: LoadedBase, rows: Sequence[Example], *, patch: str = "") -> Fitted:
    """The trigger, fitted on all examples.

    Its threshold is the lowest that fires on no more than 0.04 of the ordinary ranking prompts, those that ask several
    things among them, or the highest that finds 0.99 of those of the risk where that is higher.
    """
    return fit_on(gather_examples(base, rows, layers_on(base)), rows, patch=patch)


def gather_examples(
    base: LoadedBase, rows: Sequence[Example], layers: tuple[int, ...], *, read: Read | None = None
) -> Material:
    """What a trigger is fitted on that reads after these layers; `read` is as `gather` has it."""
    concerned, folds = torch.tensor([row.positive for row in rows]), folds_of([row.group for row in rows])
    return gather(base, [row.prompt for row in rows], concerned, folds, layers, read=read)


def layers_on(base: LoadedBase) -> tuple[int, ...]:
    """After how many layers a trigger on this base reads."""
    return layers_of(depth_of(backbone_of(attach(base.model, kept=base.kept)).inner))


def fit_on(material: Material, rows: Sequence[Example], *, patch: str = "") -> Fitted:
    """As `fit_trigger`, where what is read of the examples is known."""

    def fit(features: torch.Tensor, of: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return _fit(features, material.concerned[of])

    odds, compound_odds = material.held_out(fit)
    at, curve = _ranked(odds.sigmoid(), rows, compound_odds[~material.risky].sigmoid())
    weight, bias = material.fitted(fit)
    trigger = Trigger(at.threshold, weight.numpy().tobytes(), bias.numpy().tobytes(), patch=patch)
    positives = int(material.concerned.sum())
    return Fitted(
        Router((trigger,), material.layers, material.turn),
        at,
        curve,
        positives,
        len(rows) - positives + int((~material.risky).sum()),
        shares_of(compound_odds.sigmoid() >= at.threshold, material.risky, ~material.risky),
    )


def shares_of(fires: torch.Tensor, wanted: torch.Tensor, others: torch.Tensor) -> tuple[float, float] | None:
    """On which share of some prompts a trigger fires, and of others; None where there are none of either."""
    if not (bool(wanted.any()) and bool(others.any())):
        return None
    return float(fires[wanted].float().mean()), float(fires[others].float().mean())


def folds_of(groups: Sequence[str]) -> torch.Tensor:
    """In which of the folds (N,) each example is held out, by its group."""
    return torch.tensor([int(place_of(f"trigger: {group}") * FOLDS) for group in groups])


def _fit(features: torch.Tensor, wanted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A logistic regression (N, F) -> (N,), as its weight (F,) and bias (1,); both kinds count the same in all."""
    weights = torch.where(wanted, len(wanted) / 2 / wanted.sum(), len(wanted) / 2 / (~wanted).sum())

    def losses(found: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.binary_cross_entropy_with_logits(found, wanted.float(), reduction="none")

    weight, bias, mean, scale = regression(features, (), weights, losses)
    unscaled = weight / scale
    return unscaled, bias - unscaled @ mean


def regression(
    features: torch.Tensor,
    outputs: tuple[int, ...],
    weights: torch.Tensor,
    losses: Callable[[torch.Tensor], torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A linear model (N, F) -> (N, *outputs): weight (F, *outputs), bias, and features' mean and scale, both (F,).

    `losses` are those of what it finds, (N,), weighed with `weights` (N,). Features are standardised, and the ridge
    penalty is on the weights of what that gives.
    """
    mean, scale = features.mean(0), features.std(0).clamp(min=LEAST_SCALE)
    inputs = (features - mean) / scale
    weight = torch.zeros(inputs.shape[1], *outputs, requires_grad=True)
    bias = torch.zeros(*(outputs or (1,)), requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        total = (weights * losses(inputs @ weight + bias)).sum() + RIDGE / 2 * weight.square().sum()
        torch.autograd.backward(total)
        return total

    with torch.enable_grad():
        optimizer.step(loss)  # type: ignore[no-untyped-call]
    return weight.detach(), bias.detach(), mean, scale


def _ranked(
    probabilities: torch.Tensor, rows: Sequence[Example], further: torch.Tensor
) -> tuple[Curve, tuple[Curve, ...]]:
    """The curve's point to run at, and some points along it, by falling recall; `further` are of ordinary prompts."""
    at, positive = _curve(probabilities, rows, further)
    ordered = sorted({*probabilities.tolist(), *further.tolist()})
    middles = [(low + high) / 2 for low, high in pairwise(ordered)] or [0.5]
    points = [at(threshold) for threshold in middles]
    quiet = [point for point in points if point.quiet] or points[-1:]
    best = next((point for point in reversed(quiet) if point.recall >= ENOUGH_RECALL), quiet[0])
    spread = [float(positive[min(int((1 - recall) * len(positive)), len(positive) - 1)]) for recall in CURVE]
    return best, tuple(at(threshold) for threshold in sorted(set(spread)))


def _curve(
    probabilities: torch.Tensor, rows: Sequence[Example], further: torch.Tensor
) -> tuple[Callable[[float], Curve], torch.Tensor]:
    """What the trigger does at a threshold, and the sorted probabilities of the prompts of the risk."""

    def of(kind: Iterable[bool]) -> torch.Tensor:
        return probabilities[torch.tensor(list(kind))].sort().values

    positive = of(row.positive for row in rows)
    ordinary = torch.cat([of(not row.positive and not row.twin for row in rows), further])
    alike = of(not row.positive and row.twin for row in rows)

    def at(threshold: float) -> Curve:
        shares = [
            float((part >= threshold).float().mean()) if len(part) else None for part in (positive, ordinary, alike)
        ]
        return Curve(threshold, shares[0] or 0.0, shares[1] or 0.0, shares[2])

    return at, positive
