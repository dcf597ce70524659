"""Steps that train on the patches' pairs: one risk after the other, in stacked blocks, or all at once."""

import random
from collections.abc import Sequence

import torch

from ppm.bank import Bank
from ppm.composition.options import Joint, Train
from ppm.composition.replay import ReplayBuffer, mix
from ppm.composition.steps import Context, built_in
from ppm.errors import RequestError
from ppm.jsonl import Pair
from ppm.runtime.tensors import bank_of

__all__ = ["joint", "train"]


@built_in("train")
def train(context: Context, bank: Bank | None, options: Train) -> Bank:
    """Start from the first patch's prefix and train on each later risk; `share` of the pairs are replayed.

    With `grow`, what is there is frozen for each later risk, and a new block is trained, which starts from its
    specialist's prefix and stands last. The replay buffer keeps `capacity` pairs of the earlier risks (0: all),
    `balanced` or as a `reservoir`. Raises RequestError when a patch has no packaged pairs.
    """
    specialists = context.ordered(options.order)
    replay = ReplayBuffer(random.Random(context.seed), options.buffer, options.capacity)
    context.with_pairs("train", specialists if options.share > 0 else specialists[1:])
    current = context.prefix(bank if bank is not None else specialists[0].bank)
    replay.add(specialists[0].name, specialists[0].replay)
    for index, specialist in enumerate(specialists[1:], 1):
        pairs = _mixed(context, specialist.name, specialist.replay, replay, options.share)
        frozen = len(current) if options.grow else 0
        start = torch.cat([current, context.prefix(specialist.bank)]) if options.grow else current
        current = _learn(context, start, pairs, options, context.seed + index, frozen=frozen)
        replay.add(specialist.name, specialist.replay)
    return bank_of(current)


@built_in("joint")
def joint(context: Context, bank: Bank | None, options: Joint) -> Bank:
    """Train the joined `bank` on the pairs of all patches at once, as many of each."""
    if bank is None:
        raise RequestError("joint needs a prefix to start from", hint="put average or concatenate before it")
    context.with_pairs("joint")
    rng = random.Random(context.seed)
    most = max(len(s.replay) for s in context.specialists)
    pairs = [s.replay[i % len(s.replay)] for s in context.specialists for i in range(most)]
    rng.shuffle(pairs)
    context.notes["joint"] = {s.name: len(s.replay) for s in context.specialists}
    return bank_of(_learn(context, context.prefix(bank), pairs, options, context.seed))


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
