"""Steps that train on the patches' pairs: one risk after the other, in stacked blocks, or all at once."""

import random
from collections.abc import Sequence

import torch

from ppm.composition.options import Joint, Train
from ppm.composition.replay import Policy, ReplayBuffer, mix
from ppm.composition.steps import Context, built_in
from ppm.errors import RequestError
from ppm.jsonl import Pair

__all__ = ["joint", "train"]


@built_in("train")
def train(context: Context, prefix: torch.Tensor | None, options: Train) -> torch.Tensor:
    """Start from the first patch's prefix and train on each later risk; `share` of the pairs are replayed.

    With `grow`, what is there is frozen for each later risk, and a new block is trained, which starts from its
    specialist's prefix and stands last. The replay buffer keeps `capacity` pairs of the earlier risks (0: all),
    `balanced` or as a `reservoir`. Raises RequestError when a patch has no packaged pairs.
    """
    specialists = context.ordered(options.order)
    policy: Policy = "balanced" if options.buffer == "balanced" else "reservoir"
    replay = ReplayBuffer(random.Random(context.seed), policy, options.capacity)
    context.with_pairs("train", specialists if options.share > 0 else specialists[1:])
    current = prefix if prefix is not None else specialists[0].prefix
    replay.add(specialists[0].name, specialists[0].replay)
    for index, specialist in enumerate(specialists[1:], 1):
        pairs = _mixed(context, specialist.name, specialist.replay, replay, options.share)
        frozen = len(current) if options.grow else 0
        start = torch.cat([current, specialist.prefix]) if options.grow else current
        current = _learn(context, start, pairs, options, context.seed + index, frozen=frozen)
        replay.add(specialist.name, specialist.replay)
    return current


@built_in("joint")
def joint(context: Context, prefix: torch.Tensor | None, options: Joint) -> torch.Tensor:
    """Train `prefix` on the pairs of all patches at once, as many of each."""
    if prefix is None:
        raise RequestError("joint needs a prefix to start from", hint="put average or concatenate before it")
    context.with_pairs("joint")
    rng = random.Random(context.seed)
    most = max(len(s.replay) for s in context.specialists)
    pairs = [s.replay[i % len(s.replay)] for s in context.specialists for i in range(most)]
    rng.shuffle(pairs)
    context.notes["joint"] = {s.name: len(s.replay) for s in context.specialists}
    return _learn(context, prefix, pairs, options, context.seed)


def _mixed(context: Context, name: str, pairs: Sequence[Pair], replay: ReplayBuffer, share: float) -> list[Pair]:
    mixed, replayed = mix(pairs, replay, share)
    log = context.notes.setdefault("replay", [])
    assert isinstance(log, list)
    log.append({"patch": name, "pairs": len(pairs), "replayed": replayed})
    return mixed


def _learn(
    context: Context,
    prefix: torch.Tensor,
    pairs: Sequence[Pair],
    options: Train | Joint,
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
        options.retention_weight,
        seed,
        context.progress,
        frozen,
    )
    first, second = options.stages
    return dpo(setup, sft(setup, prefix, pairs, first), pairs, second)
