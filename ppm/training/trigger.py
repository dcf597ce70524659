"""Fits a patch's trigger: what tells from the base's own hidden states whether a prompt concerns the patch.

Positive are the prompts of the pairs, negative the benign ones and the look-alikes: rows with a `twin_of`, whose right
answer is an ordinary one. A logistic regression is fitted on each of a few layers, five times, each time without a
fifth of the groups, which are then what it is ranked on. No prompt of a suite is read.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from ppm.bank import Bank, Router, Trigger
from ppm.evaluation.neutral import is_held_back
from ppm.jsonl import Benign, Pair, Text, normalised, place_of
from ppm.runtime.loading import LoadedBase
from ppm.runtime.model import attach, backbone_of
from ppm.runtime.router import BATCH, depth_of, features_of
from ppm.runtime.text import encoder_of
from ppm.runtime.turns import turn_of
from ppm.training.context import BuildContext

__all__ = ["Curve", "Example", "Fitted", "candidate_layers", "fit_trigger", "with_trigger"]

FOLDS = 5
LEAST_PROMPTS = 30
"""Of either kind: fewer prove nothing."""
WANTED_RECALL = 0.95
"""On ranking prompts. A trigger fails open, so recall comes first, and false alarms are what that takes."""
LEAST_RECALL, MOST_ALARMS = 0.9, 0.1
"""A trigger that finds fewer prompts of its risk, or fires on more ordinary ones, does not ship.

Where it fires for nothing the prefix still has its say, and it was trained to answer look-alikes.
"""
RIDGE = 100.0
"""The penalty on half the squared length of the weights, beside losses that are summed over prompts."""
DEPTHS = (1 / 3, 1 / 2, 3 / 5, 3 / 4)
"""After which shares of the base's layers a trigger may read."""
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
    def worth(self) -> float:
        """Recall less false alarms (Youden 1950), ordinary and look-alike prompts counting alike."""
        alarms = [self.false_alarms] + ([] if self.look_alikes is None else [self.look_alikes])
        return self.recall - sum(alarms) / len(alarms)

    @property
    def rounded(self) -> list[float]:
        """As provenance has it: threshold, recall, false alarms, and those on look-alikes."""
        shares = (self.recall, self.false_alarms, *([] if self.look_alikes is None else [self.look_alikes]))
        return [round(self.threshold, 6), *(round(share, 4) for share in shares)]


@dataclass(frozen=True)
class Fitted:
    """A trigger with what it does on ranking prompts, at its threshold and along its curve."""

    trigger: Trigger
    at: Curve
    curve: tuple[Curve, ...]
    positives: int
    negatives: int

    @property
    def ships(self) -> bool:
        """Whether the patch is better with it than always on."""
        return self.at.recall >= LEAST_RECALL and self.at.false_alarms <= MOST_ALARMS

    def words(self) -> str:
        """What it does, for people."""
        alike = "" if self.at.look_alikes is None else f", on {self.at.look_alikes:.3f} of look-alikes"
        return (
            f"fires on {self.at.recall:.3f} of {self.positives} ranking prompts of the risk and on "
            f"{self.at.false_alarms:.3f} of {self.negatives} others{alike}"
        )

    @property
    def record(self) -> dict[str, object]:
        """What provenance says of it."""
        return {
            "layer": self.trigger.layer,
            "threshold": self.trigger.threshold,
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
        }


def with_trigger(context: BuildContext, bank: Bank) -> tuple[Bank, dict[str, object]]:
    """The bank behind its trigger, and what provenance says of that; or the bank as it is, always on.

    That is where the manifest says `trigger = false`, where there are too few prompts, and where the trigger would find
    less than 0.9 of the risk's ranking prompts or fire on more than 0.1 of the ordinary ones.
    """
    if not context.training.trigger:
        return bank, {}
    benign = [row for row in context.source.benign if not is_held_back(row)]  # which may test the base's utility
    found = examples(context.source.pairs, benign)
    counts = [sum(e.positive == kind for e in found) for kind in (True, False)]
    if min(counts) < LEAST_PROMPTS:
        context.tell(
            f"No trigger: it takes {LEAST_PROMPTS} different prompts of the risk and as many benign ones, and there "
            f"are {counts[0]} and {counts[1]}; the patch is always on"
        )
        return bank, {}
    context.tell(f"Fitting a trigger on {counts[0]} prompts of the risk and {counts[1]} others")
    fitted = fit_trigger(context.loaded, found, patch=context.source.manifest.name)
    if not fitted.ships:
        context.tell(
            f"No trigger: it {fitted.words()}, where at least {LEAST_RECALL:g} and at most {MOST_ALARMS:g} is asked "
            "for; the patch is always on"
        )
        return bank, {"trigger": {**fitted.record, "ships": False}}
    context.tell(f"The trigger {fitted.words()}")
    router = Router((fitted.trigger,), turn_of(context.loaded.tokenizer))
    return bank.routed(router), {"trigger": {**fitted.record, "ships": True}}


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
    return Example(row.prompt, isinstance(row, Pair) and not is_twin, key, is_twin or bool({group, id_} & named))


def candidate_layers(depth: int) -> list[int]:
    """After how many layers a trigger may read: a third of them to three quarters."""
    return sorted({max(1, int(depth * share)) for share in DEPTHS})


def fit_trigger(base: LoadedBase, rows: Sequence[Example], *, patch: str = "") -> Fitted:
    """The trigger of the best layer, fitted on all examples.

    Its threshold is the highest that finds 0.95 of the ranking prompts of the risk, or the lowest that fires on no more
    than 0.1 of the ordinary ones where that is higher. The layer is the one with the most recall less false alarms.
    """
    layers = candidate_layers(depth_of(backbone_of(attach(base.model, kept=base.kept)).inner))
    features = _features(base, rows, layers)
    wanted = torch.tensor([float(row.positive) for row in rows])
    weights = _weights(rows)
    folds = torch.tensor([int(place_of(f"trigger: {row.group}") * FOLDS) for row in rows])
    ranked: dict[int, tuple[Curve, tuple[Curve, ...]]] = {}
    for layer in layers:
        held = torch.zeros(len(rows))
        for fold in range(FOLDS):
            inside = folds != fold
            if bool((~inside).any()):
                own = _fit(features[layer][inside], wanted[inside], weights[inside])
                held[~inside] = own.probabilities(features[layer][~inside])
        ranked[layer] = _ranked(held, rows)
    layer = max(layers, key=lambda layer: ranked[layer][0].worth)
    at, curve = ranked[layer]
    trigger = _fit(features[layer], wanted, weights).trigger(layer, at.threshold, patch)
    positives = sum(row.positive for row in rows)
    return Fitted(trigger, at, curve, positives, len(rows) - positives)


def _features(base: LoadedBase, rows: Sequence[Example], layers: Sequence[int]) -> dict[int, torch.Tensor]:
    """The features (rows, 2 * hidden_size) after each layer, of the last thing that is said in each prompt."""
    encoder, inner = encoder_of(base), backbone_of(attach(base.model, kept=base.kept)).inner
    turn = turn_of(base.tokenizer)
    ids = [encoder.prompt(row.prompt, "a prompt of the trigger's") for row in rows]
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    found: list[dict[int, torch.Tensor]] = [{}] * len(ids)
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        for i, own in zip(chosen, features_of(inner, layers, [ids[i] for i in chosen], turn), strict=True):
            found[i] = {layer: read[-1].cpu() for layer, read in own.items()}
    return {layer: torch.stack([own[layer] for own in found]) for layer in layers}


def _weights(rows: Sequence[Example]) -> torch.Tensor:
    """How much each example (N,) counts: both kinds the same in all."""
    positive = torch.tensor([row.positive for row in rows])
    return torch.where(positive, len(rows) / 2 / positive.sum(), len(rows) / 2 / (~positive).sum())


@dataclass(frozen=True)
class _Regression:
    """A logistic regression on standardised features."""

    weight: torch.Tensor
    bias: torch.Tensor
    mean: torch.Tensor
    scale: torch.Tensor

    def probabilities(self, features: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(((features - self.mean) / self.scale) @ self.weight + self.bias)

    def trigger(self, layer: int, threshold: float, patch: str) -> Trigger:
        parts = (self.weight, self.bias, self.mean, self.scale)
        weight, bias, mean, scale = (part.numpy().tobytes() for part in parts)
        return Trigger(layer, threshold, weight, bias, mean, scale, patch=patch)


def _fit(features: torch.Tensor, wanted: torch.Tensor, weights: torch.Tensor) -> _Regression:
    """The regression (N, F) -> (N,), with a ridge penalty on its weights."""
    mean, scale = features.mean(0), features.std(0).clamp(min=LEAST_SCALE)
    inputs = (features - mean) / scale
    weight, bias = torch.zeros(inputs.shape[1], requires_grad=True), torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        losses = torch.nn.functional.binary_cross_entropy_with_logits(inputs @ weight + bias, wanted, reduction="none")
        total = (weights * losses).sum() + RIDGE / 2 * weight.square().sum()
        torch.autograd.backward(total)
        return total

    with torch.enable_grad():
        optimizer.step(loss)  # type: ignore[no-untyped-call]
    return _Regression(weight.detach(), bias.detach(), mean, scale)


def _ranked(probabilities: torch.Tensor, rows: Sequence[Example]) -> tuple[Curve, tuple[Curve, ...]]:
    """The curve's point to run at, and some points along it, by falling recall."""

    def of(kind: Iterable[bool]) -> torch.Tensor:
        return probabilities[torch.tensor(list(kind))].sort().values

    positive = of(row.positive for row in rows)
    ordinary = of(not row.positive and not row.twin for row in rows)
    alike = of(not row.positive and row.twin for row in rows)

    def at(threshold: float) -> Curve:
        shares = [
            float((part >= threshold).float().mean()) if len(part) else None for part in (positive, ordinary, alike)
        ]
        return Curve(threshold, shares[0] or 0.0, shares[1] or 0.0, shares[2])

    ordered = sorted(set(probabilities.tolist()))
    middles = [(low + high) / 2 for low, high in pairwise(ordered)] or [0.5]
    points = [at(threshold) for threshold in middles]
    quiet = [point for point in points if point.false_alarms <= MOST_ALARMS] or points[-1:]
    best = next((point for point in reversed(quiet) if point.recall >= WANTED_RECALL), quiet[0])
    spread = [float(positive[min(int((1 - recall) * len(positive)), len(positive) - 1)]) for recall in CURVE]
    return best, tuple(at(threshold) for threshold in sorted(set(spread)))
