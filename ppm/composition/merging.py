"""Steps that compute a composition from the prefixes alone, in seconds: concatenate, isolate, average, and merging.

Where prefixes are merged token by token, shorter ones are repeated to the length of the longest. A *delta* is what
training added to the prefix that it started from.
"""

from collections.abc import Sequence

import torch

from ppm.bank import Bank
from ppm.composition.options import Average, Concatenate, Isolate, Resume, Slerp, TaskArithmetic, Ties
from ppm.composition.steps import Context, OptionError, built_in
from ppm.errors import RequestError
from ppm.runtime.tensors import bank_of

__all__ = ["average", "concatenate", "isolate", "resume", "slerp", "task_arithmetic", "ties"]


@built_in("concatenate")
def concatenate(context: Context, bank: Bank | None, options: Concatenate) -> Bank:
    """The prefixes one after the other, as one joined block: (sum of virtual_tokens, hidden_size)."""
    return bank_of(torch.cat([context.prefix(s.bank) for s in context.ordered(options.order)]))


@built_in("isolate")
def isolate(context: Context, bank: Bank | None, options: Isolate) -> Bank:
    """The prefixes side by side, none of which sees another: an isolated bank of a block each."""
    blocks = tuple(block for s in context.specialists for block in bank_of(context.prefix(s.bank)).blocks)
    return Bank(blocks, "isolated" if len(blocks) > 1 else "joined")


@built_in("resume")
def resume(context: Context, bank: Bank | None, options: Resume) -> Bank:
    """The bank that is deployed, to go on from. Raises RequestError when there is none, or one of several blocks."""
    if context.parent is None:
        raise RequestError(
            "there is no deployed composition to continue from", hint="use distilled, which starts from the patches"
        )
    if len(context.parent.bank.blocks) > 1:
        raise RequestError(
            "what is deployed keeps each patch's own block, and there is no one prefix to continue from",
            hint="use routed, which trains nothing, or distilled",
        )
    return context.parent.bank


@built_in("average")
def average(context: Context, bank: Bank | None, options: Average) -> Bank:
    """The weighted mean of the prefixes, token by token."""
    return bank_of(_weighted(_prefixes(context), options.weights))


@built_in("task-arithmetic")
def task_arithmetic(context: Context, bank: Bank | None, options: TaskArithmetic) -> Bank:
    """The mean of the initial prefixes plus `scale` times the sum of the deltas (Ilharco et al. 2023, section 2)."""
    start, deltas = _deltas(context)
    return bank_of(start + options.scale * deltas.sum(0))


@built_in("ties")
def ties(context: Context, bank: Bank | None, options: Ties) -> Bank:
    """Trim each delta to its largest entries, elect a sign for each entry, average those that agree, and add.

    `density` is the share of entries that is kept (Yadav et al. 2023, section 3 and algorithm 1).
    """
    start, deltas = _deltas(context)
    sizes = deltas.abs().flatten(1)  # (N, M * D)
    kept = max(1, round(options.density * sizes.shape[1]))
    thresholds = sizes.topk(kept, dim=1).values[:, -1]
    trimmed = torch.where(deltas.abs() >= thresholds[:, None, None], deltas, 0.0)
    sign = torch.sign(trimmed.sum(0))
    agreeing = torch.where((torch.sign(trimmed) == sign) & (trimmed != 0), trimmed, 0.0)
    count = (agreeing != 0).sum(0).clamp(min=1)
    return bank_of(start + options.scale * agreeing.sum(0) / count)


@built_in("slerp")
def slerp(context: Context, bank: Bank | None, options: Slerp) -> Bank:
    """Spherical interpolation between two prefixes, token by token (Shoemake 1985, section 3.3).

    `share` is the second's; lengths are interpolated linearly. Raises RequestError unless there are two patches.
    """
    if len(context.specialists) != 2:
        raise RequestError(
            f"slerp interpolates between two patches, but there are {len(context.specialists)}",
            hint="use merged, merged-ties or merged-task-arithmetic for more",
        )
    share = options.share
    first, second = _aligned(_prefixes(context))
    lengths = first.norm(dim=-1, keepdim=True), second.norm(dim=-1, keepdim=True)  # (M, 1) each
    a, b = first / lengths[0].clamp(min=1e-12), second / lengths[1].clamp(min=1e-12)
    angle = torch.acos((a * b).sum(-1, keepdim=True).clamp(-1, 1))
    straight = angle.sin() < 1e-4  # no great circle to follow
    sine = angle.sin().where(~straight, torch.ones_like(angle))
    direction = torch.where(
        straight, (1 - share) * a + share * b, (((1 - share) * angle).sin() * a + (share * angle).sin() * b) / sine
    )
    return bank_of(direction * ((1 - share) * lengths[0] + share * lengths[1]))


def _prefixes(context: Context) -> list[torch.Tensor]:
    return [context.prefix(specialist.bank) for specialist in context.specialists]


def _aligned(prefixes: Sequence[torch.Tensor]) -> torch.Tensor:
    """The prefixes, repeated to the longest's length: (N, M, D)."""
    length = max(len(p) for p in prefixes)
    index = torch.arange(length, device=prefixes[0].device)
    return torch.stack([p[index % len(p)] for p in prefixes])


def _weighted(prefixes: Sequence[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
    shares = list(weights) or [1.0] * len(prefixes)
    if len(shares) != len(prefixes) or sum(shares) <= 0:
        raise OptionError(f"weights must have {len(prefixes)} numbers with a positive sum")
    stacked = _aligned(prefixes)
    share = torch.tensor(shares, dtype=stacked.dtype, device=stacked.device) / sum(shares)
    return (stacked * share[:, None, None]).sum(0)


def _deltas(context: Context) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean initial prefix (M, D), and what training added to each specialist's own (N, M, D)."""
    unknown = next((s.name for s in context.specialists if s.initial is None), None)
    if unknown is not None:
        raise RequestError(f"{unknown} does not record what its training started from", hint="use merged")
    trained = _aligned(_prefixes(context))
    initial = _aligned([specialist.initial for specialist in context.specialists if specialist.initial is not None])
    initial = initial.to(trained.device)
    return initial.mean(0), trained - initial
