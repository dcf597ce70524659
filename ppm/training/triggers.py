"""Fits the triggers that patches of a composition lack: together, so that they compete for each prompt.

One regression says how likely a prompt concerns each of the patches, or none (multinomial logistic regression). A
patch's trigger is the log odds of its patch against none, so the block whose trigger is farthest above the threshold,
which all share, is the likeliest one. As for a single trigger, a fifth of the groups is held out in turn.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from ppm.bank import Router, Trigger
from ppm.bank_table import Turn
from ppm.jsonl import Text
from ppm.runtime.loading import LoadedBase
from ppm.training.material import gather
from ppm.training.trigger import (
    CURVE,
    ENOUGH_RECALL,
    Curve,
    Example,
    Fitted,
    folds_of,
    layers_on,
    regression,
    shares_of,
)

__all__ = ["fit_triggers"]

LEAST_COST = 1e-6
"""A patch that moves nothing costs this much all the same, as there is no log of nothing."""
ASIDE = 0.01
"""How far above the other prompts, of the way to the risks' own, triggers work at least."""


def fit_triggers(
    base: LoadedBase,
    rows: Mapping[str, Sequence[Example]],
    *,
    costs: Mapping[str, float] | None = None,
    recall: float = 0.0,
    alarms: float | None = None,
    layers: tuple[int, ...] = (),
    turn: Turn | None = None,
) -> dict[str, Fitted]:
    """The triggers of patches that are composed, by the patch's name, fitted on the examples of all of them.

    They read after those `layers`, if any are given, and that `turn`, or else the base's; each prompt is read once.
    Their threshold is where the expected cost on ranking prompts is least: that of a prompt that does not meet a block
    of its own is 1, beyond the 0.01 of each risk that may be missed, and that of a false alarm what `costs` say of the
    patch, 1 by default. Of the thresholds that cost as little it is the one where a prompt as likely as that costs the
    same either way, cost / (1 + cost) for the patch that costs most, but no higher than halfway in log odds. `recall`
    is how much of each risk's ranking prompts must meet a block of their own, as far as no other patch is likelier, and
    `alarms` the largest share of the prompts that concern no patch that may meet each block. Where both can't hold,
    `alarms` does.
    """
    layers = layers or layers_on(base)
    names = list(rows)
    concerned: dict[Text, set[str]] = {}
    groups: dict[Text, str] = {}
    for name, own in rows.items():
        for row in own:
            concerned.setdefault(row.prompt, set()).update({name} if row.positive else ())
            groups.setdefault(row.prompt, row.group)
    concerns = torch.tensor([[name in some for name in names] for some in concerned.values()])
    folds = folds_of(list(groups.values()))
    material = gather(base, list(concerned), concerns.any(1), folds, layers, turn=turn)

    def fit(features: torch.Tensor, of: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return _fit_together(features, concerns[of])

    odds, compound_odds = material.held_out(fit)
    ordinary = compound_odds[~material.risky].reshape(-1, len(names))
    ranked = _Ranked(
        torch.cat([odds, ordinary]),
        torch.cat([concerns, concerns.new_zeros(len(ordinary), len(names))]),
        [(costs or {}).get(name, 1.0) for name in names],
    )
    limit = max(ranked.limit(recall), -math.inf if alarms is None else ranked.quiet(alarms))
    weight, bias = material.fitted(fit)
    asked = [concerns[list(compound.parts)].any(0) for compound in material.compounds]
    found = {}
    for i, name in enumerate(names):
        [at] = ranked.at([limit], i)
        trigger = Trigger(at.threshold, weight[:, i].numpy().tobytes(), bias[i : i + 1].numpy().tobytes(), patch=name)
        positives = int(concerns[:, i].sum())
        others = int((~ranked.concerns.any(1)).sum())
        router = Router((trigger,), layers, material.turn)
        hidden = None
        if asked:
            hidden = shares_of(compound_odds[:, i] >= limit, torch.stack(asked)[:, i], ~material.risky)
        found[name] = Fitted(router, at, ranked.curve(i), positives, others, hidden)
    return found


def _fit_together(features: torch.Tensor, concerns: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The log odds of each patch against none, from features (N, F): weight (F, K) and bias (K,).

    `concerns` (N, K) says which patches each prompt concerns. All patches, and none, count the same.
    """
    wanted = torch.cat([concerns, ~concerns.any(1, keepdim=True)], dim=1).float()
    wanted = wanted / wanted.sum(1, keepdim=True)
    weights = wanted @ (len(wanted) / wanted.shape[1] / wanted.sum(0).clamp(min=1))

    def losses(found: torch.Tensor) -> torch.Tensor:
        return -(wanted * torch.log_softmax(found, -1)).sum(-1)

    weight, bias, mean, scale = regression(features, (wanted.shape[1],), weights, losses)
    against = (weight[:, :-1] - weight[:, -1:]) / scale[:, None]
    return against.contiguous(), bias[:-1] - bias[-1] - mean @ against


@dataclass(frozen=True)
class _Ranked:
    """The log odds (N, K) of held-out prompts, which patches these concern (N, K), and what false alarms cost."""

    odds: torch.Tensor
    concerns: torch.Tensor
    costs: Sequence[float]

    def _shares(self, limits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What blocks stand in front of at some thresholds in log odds, each (L, K).

        First the share of each patch's own prompts that meet its block, or that of another patch which they concern;
        then the share of those that concern none and meet its block.
        """
        highest, likeliest = self.odds.max(1)
        right = self.concerns.gather(1, likeliest[:, None])[:, 0]
        none = ~self.concerns.any(1)
        recalls, alarms = [], []
        for patch, own in enumerate(self.concerns.unbind(1)):
            recalls.append(_reached(highest[own & right], limits) / own.sum())
            alarms.append(_reached(highest[none & (likeliest == patch)], limits) / none.sum().clamp(min=1))
        return torch.stack(recalls, 1), torch.stack(alarms, 1)

    def at(self, limits: Sequence[float], patch: int) -> list[Curve]:
        """What a patch's trigger does at some thresholds in log odds."""
        recalls, alarms = (shares[:, patch].tolist() for shares in self._shares(torch.tensor(limits)))
        thresholds = torch.tensor(limits).double().sigmoid().tolist()
        return [Curve(*point, None) for point in zip(thresholds, recalls, alarms, strict=True)]

    def curve(self, patch: int) -> tuple[Curve, ...]:
        """Some points along it, by falling recall."""
        own = self.odds[self.concerns[:, patch], patch].sort().values
        limits = {float(own[min(int((1 - recall) * len(own)), len(own) - 1)]) for recall in CURVE}
        return tuple(self.at(sorted(limits), patch))

    def limit(self, recall: float) -> float:
        """The threshold in log odds, as `fit_triggers` says."""
        ordered = torch.unique(self.odds.max(1).values.double())
        low, high = (ordered[:-1], ordered[1:]) if len(ordered) > 1 else (ordered, ordered)
        recalls, alarms = self._shares(((low + high) / 2).float())
        missed = (max(recall, ENOUGH_RECALL) - recalls).clamp(min=0).sum(1)
        losses = missed + (alarms * torch.tensor(self.costs)).sum(1)
        least = losses <= losses.min() + 1e-6
        first = int(least.nonzero()[0])
        later = (~least[first:]).nonzero()
        last = first + int(later[0]) - 1 if len(later) else len(losses) - 1
        begins, ends = float(low[first]), float(high[last])
        even = math.log(max(*self.costs, LEAST_COST))
        chosen = min(max(even, begins + (ends - begins) * ASIDE), (begins + ends) / 2)
        return min([chosen, *(self._floor(recall, patch) for patch in range(len(self.costs)) if recall)])

    def quiet(self, alarms: float) -> float:
        """The lowest threshold at which each block meets no more of the prompts that concern no patch."""
        ordered = torch.unique(self.odds.max(1).values)
        limits = torch.cat([(ordered[:-1] + ordered[1:]) / 2, ordered[-1:] + 1])
        few = (self._shares(limits)[1] <= alarms + 1e-6).all(1)
        return float(limits[int(few.nonzero()[0])])

    def _floor(self, recall: float, patch: int) -> float:
        """The highest threshold at which so much of a patch's own prompts meets its block."""
        highest, likeliest = self.odds.max(1)
        own = self.concerns[:, patch]
        ordered = highest[own & self.concerns.gather(1, likeliest[:, None])[:, 0]].sort(descending=True).values
        count = min(math.ceil(recall * int(own.sum()) - 1e-6), len(ordered))
        return float(ordered[count - 1]) if count else math.inf


def _reached(odds: torch.Tensor, limits: torch.Tensor) -> torch.Tensor:
    """How many are at or above each of the limits (L,)."""
    return len(odds) - torch.searchsorted(odds.sort().values, limits)
