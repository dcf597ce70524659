"""Steps that train on the patches' pairs: one risk after the other, in stacked blocks, or all at once."""

import random
from collections.abc import Sequence
from typing import Any

import torch

from ppm.composition.replay import ReplayBuffer, mix
from ppm.composition.steps import Context, OptionError, step
from ppm.errors import RequestError
from ppm.jsonl import Pair
from ppm.training_table import Stage

__all__ = ["joint", "train"]


@step("train")
def train(
    context: Context,
    prefix: torch.Tensor | None,
    *,
    grow: bool = False,
    share: float = 0.5,
    buffer: str = "balanced",
    capacity: int = 0,
    order: Sequence[str] = (),
    sft_steps: int = 150,
    dpo_steps: int = 60,
    sft_learning_rate: float = 2e-2,
    dpo_learning_rate: float = 5e-3,
    batch_size: int = 12,
    retention_weight: float = 3.0,
) -> torch.Tensor:
    """Start from the first patch's prefix and train on each later risk; `share` of the pairs are replayed.

    With `grow`, what is there is frozen for each later risk, and a new block is trained, which starts from its
    specialist's prefix and stands last. The replay buffer keeps `capacity` pairs of the earlier risks (0: all),
    `balanced` or as a `reservoir`. Raises RequestError when a patch has no packaged pairs.
    """
    specialists = context.ordered(order)
    replay = _buffer(context, share, buffer, capacity)
    context.with_pairs("train", specialists if share > 0 else specialists[1:])
    current = prefix if prefix is not None else specialists[0].prefix
    stages = _stages(sft_steps, sft_learning_rate, dpo_steps, dpo_learning_rate, batch_size, retention_weight)
    replay.add(specialists[0].name, specialists[0].replay)
    for index, specialist in enumerate(specialists[1:], 1):
        pairs = _mixed(context, specialist.name, specialist.replay, replay, share)
        frozen = len(current) if grow else 0
        start = torch.cat([current, specialist.prefix]) if grow else current
        current = _learn(context, start, pairs, stages, retention_weight, context.seed + index, frozen=frozen)
        replay.add(specialist.name, specialist.replay)
    return current


@step("joint")
def joint(
    context: Context,
    prefix: torch.Tensor | None,
    *,
    sft_steps: int = 400,
    dpo_steps: int = 80,
    sft_learning_rate: float = 3e-2,
    dpo_learning_rate: float = 2e-3,
    batch_size: int = 24,
    retention_weight: float = 3.0,
) -> torch.Tensor:
    """Train `prefix` on the pairs of all patches at once, with the same number from each."""
    if prefix is None:
        raise RequestError("joint needs a prefix to start from", hint="put average or concatenate before it")
    context.with_pairs("joint")
    rng = random.Random(context.seed)
    most = max(len(s.replay) for s in context.specialists)
    pairs = [s.replay[i % len(s.replay)] for s in context.specialists for i in range(most)]
    rng.shuffle(pairs)
    context.notes["joint"] = {s.name: len(s.replay) for s in context.specialists}
    stages = _stages(sft_steps, sft_learning_rate, dpo_steps, dpo_learning_rate, batch_size, retention_weight)
    return _learn(context, prefix, pairs, stages, retention_weight, context.seed)


def _stages(
    sft_steps: int, sft_rate: float, dpo_steps: int, dpo_rate: float, batch_size: int, retention_weight: float
) -> tuple[Stage, Stage]:
    if retention_weight < 0:
        raise OptionError("retention_weight must be 0 or more")
    try:
        return Stage(sft_steps, sft_rate, batch_size), Stage(dpo_steps, dpo_rate, batch_size)
    except ValueError as error:
        raise OptionError(str(error)) from error


def _buffer(context: Context, share: float, policy: str, capacity: int) -> ReplayBuffer:
    if not 0 <= share < 1:
        raise OptionError("share must be 0 or more and below 1")
    if policy not in ("balanced", "reservoir"):
        raise OptionError(f'buffer must be "balanced" or "reservoir", not {policy!r}')
    if capacity < 0:
        raise OptionError("capacity must be 0 or more")
    return ReplayBuffer(random.Random(context.seed), "balanced" if policy == "balanced" else "reservoir", capacity)


def _mixed(context: Context, name: str, pairs: Sequence[Pair], replay: ReplayBuffer, share: float) -> list[Pair]:
    mixed, replayed = mix(pairs, replay, share)
    log: list[Any] = context.notes.setdefault("replay", [])
    log.append({"patch": name, "pairs": len(pairs), "replayed": replayed})
    return mixed


def _learn(
    context: Context,
    prefix: torch.Tensor,
    pairs: Sequence[Pair],
    stages: tuple[Stage, Stage],
    retention_weight: float,
    seed: int,
    *,
    frozen: int = 0,
) -> torch.Tensor:
    """SFT, then DPO."""
    from ppm.training.trainers import Setup, dpo, sft  # takes seconds to import

    setup = Setup(
        context.base,
        context.placement,
        context.retention,
        retention_weight,
        seed,
        context.progress,
        frozen,
    )
    return dpo(setup, sft(setup, prefix, pairs, stages[0]), pairs, stages[1])
