"""Training on one risk after the other, with replay of the earlier ones."""

import random

import torch

from ppm.composition.steps import Context, step
from ppm.errors import RequestError
from ppm.jsonl import Pair
from ppm.manifest import Stage
from ppm.training.trainers import dpo, sft

__all__ = ["replay_mix", "train"]


def replay_mix(current: list[Pair], earlier: list[list[Pair]], share: float, rng: random.Random) -> list[Pair]:
    """Pairs of the current risk with so many of the earlier ones, taken evenly, that they make up `share` of all."""
    wanted = round(len(current) * share / (1 - share)) if earlier else 0
    mixed = list(current)
    for index, pairs in enumerate(earlier):
        count = wanted // len(earlier) + (index < wanted % len(earlier))
        mixed += [pairs[i % len(pairs)] for i in rng.sample(range(max(count, len(pairs))), count)]
    rng.shuffle(mixed)
    return mixed


@step("train")
def train(
    context: Context,
    prefix: torch.Tensor | None,
    *,
    share: float = 0.5,
    sft_steps: int = 150,
    dpo_steps: int = 60,
    sft_learning_rate: float = 2e-2,
    dpo_learning_rate: float = 5e-3,
    batch_size: int = 12,
    retention_weight: float = 3.0,
) -> torch.Tensor:
    """Start from the first patch's prefix and train on each later risk; `share` of the pairs are replayed.

    Raises RequestError when a patch has no packaged pairs.
    """
    if not 0 <= share < 1:
        raise RequestError("share must be 0 or more and below 1")
    for specialist in context.specialists:
        if not specialist.replay:
            raise RequestError(
                f"{specialist.name} has no replay pairs, which the step 'train' needs", hint="use concat or merged"
            )
    rng = random.Random(context.seed)
    current = prefix if prefix is not None else context.specialists[0].prefix
    for index, specialist in enumerate(context.specialists[1:], 1):
        earlier = [list(other.replay) for other in context.specialists[:index]] if share > 0 else []
        pairs = replay_mix(list(specialist.replay), earlier, share, rng)
        for function, stage in (
            (sft, Stage(sft_steps, sft_learning_rate, batch_size)),
            (dpo, Stage(dpo_steps, dpo_learning_rate, batch_size)),
        ):
            current = function(
                context.model,
                context.tokenizer,
                current,
                pairs,
                context.retention,
                stage,
                placement=context.placement,
                retention_weight=retention_weight,
                seed=context.seed + index,
                progress=context.progress,
            )
    return current
