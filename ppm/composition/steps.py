"""Steps: functions `(context, prefix, **options) -> prefix` that strategies name.

The signature of a step is the schema of its options. `prefix` is None for the first step of a strategy.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ppm.composition.strategy import StepCall, Strategy
from ppm.errors import ManifestError, RequestError, did_you_mean
from ppm.evaluation.scoring import ScoredText
from ppm.jsonl import Pair
from ppm.manifest import Placement
from ppm.training.trainers import Progress

__all__ = ["STEPS", "Context", "Specialist", "check_composable", "check_strategy", "run_strategy", "step"]

Step = Callable[..., torch.Tensor]
STEPS: dict[str, Step] = {}


@dataclass(frozen=True)
class Specialist:
    """One patch of a composition: its name, prefix (virtual_tokens, hidden_size) and packaged pairs."""

    name: str
    prefix: torch.Tensor
    replay: tuple[Pair, ...]


@dataclass(frozen=True)
class Context:
    """What steps work with: the frozen base, the specialists, benign texts, and where to report progress."""

    model: Any
    tokenizer: Any
    placement: Placement
    specialists: tuple[Specialist, ...]
    retention: tuple[ScoredText, ...]
    seed: int = 0
    progress: Progress = field(default=lambda stage, done, total, loss: None)


def step(name: str) -> Callable[[Step], Step]:
    """Registers a step under the name that strategies use."""

    def add(function: Step) -> Step:
        STEPS[name] = function
        return function

    return add


def _load_steps() -> None:
    """Import the modules that register the built-in steps."""
    import ppm.composition.distil
    import ppm.composition.sequential  # noqa: F401


def check_strategy(strategy: Strategy) -> None:
    """Raises ManifestError for a step or an option that does not exist, naming the nearest, or of a wrong type."""
    _load_steps()
    for index, call in enumerate(strategy.steps):
        where = f"strategy {strategy.name}, step {index + 1}"
        if call.use not in STEPS:
            hint = did_you_mean(call.use, STEPS, f"steps are {', '.join(sorted(STEPS))}")
            raise ManifestError(f"there is no step {call.use!r}", context=where, hint=hint)
        options = {
            name: parameter
            for name, parameter in inspect.signature(STEPS[call.use]).parameters.items()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        }
        for name, value in call.options.items():
            if name not in options:
                hint = did_you_mean(name, options, f"its options are {', '.join(options) or 'none'}")
                raise ManifestError(f"the step {call.use!r} has no option {name!r}", context=where, hint=hint)
            _check_option(call, name, value, options[name].default, where)


def check_composable(strategy: Strategy) -> None:
    """`check_strategy`, and RequestError for an automatic strategy, which only an install can run."""
    if strategy.is_automatic:
        raise RequestError(
            f"{strategy.name!r} chooses between candidates by gating them, which only `ppm install` does",
            hint=f"name one of its candidates: {', '.join(strategy.candidates)}",
        )
    check_strategy(strategy)


def _check_option(call: StepCall, name: str, value: Any, default: Any, where: str) -> None:
    kinds = {int: "a whole number", float: "a number", str: "a string", bool: "true or false", tuple: "a list"}
    wanted = type(default)
    given = tuple if isinstance(value, list) else type(value)
    if wanted in kinds and given is not wanted and not (wanted is float and given is int):
        raise ManifestError(
            f"the option {name!r} of step {call.use!r} must be {kinds[wanted]}, not {value!r}", context=where
        )


def run_strategy(strategy: Strategy, context: Context) -> torch.Tensor:
    """The composed prefix (virtual_tokens, hidden_size). Raises RequestError for an automatic strategy."""
    check_composable(strategy)
    prefix: torch.Tensor | None = None
    for call in strategy.steps:
        try:
            prefix = STEPS[call.use](context, prefix, **call.options)
        except (TypeError, ValueError) as error:
            raise ManifestError(f"the step {call.use!r}: {error}", context=f"strategy {strategy.name}") from error
    assert prefix is not None
    return prefix.detach()


def _prefixes(context: Context, order: Sequence[str]) -> list[torch.Tensor]:
    """The specialists' prefixes, in an order given by name or as they come."""
    by_name = {specialist.name: specialist.prefix for specialist in context.specialists}
    unknown = [name for name in order if name not in by_name]
    if unknown or (order and len(order) != len(by_name)):
        raise RequestError(
            f"order must name each patch once: {', '.join(by_name)}",
            hint="leave order out to take the order of the request",
        )
    return [by_name[name] for name in (order or by_name)]


@step("concatenate")
def concatenate(context: Context, prefix: torch.Tensor | None, *, order: Sequence[str] = ()) -> torch.Tensor:
    """The prefixes one after the other: (sum of virtual_tokens, hidden_size)."""
    return torch.cat(_prefixes(context, order))


@step("average")
def average(context: Context, prefix: torch.Tensor | None, *, weights: Sequence[float] = ()) -> torch.Tensor:
    """The weighted mean of the prefixes, token by token; shorter ones are repeated to the longest's length."""
    prefixes = _prefixes(context, ())
    shares = list(weights) or [1.0] * len(prefixes)
    if len(shares) != len(prefixes) or sum(shares) <= 0:
        raise RequestError(f"weights must hold {len(prefixes)} numbers with a positive sum")
    length = max(len(p) for p in prefixes)
    index = torch.arange(length, device=prefixes[0].device)
    stacked = torch.stack([p[index % len(p)] for p in prefixes])  # (N, M, D)
    share = torch.tensor(shares, dtype=stacked.dtype, device=stacked.device) / sum(shares)
    return (stacked * share[:, None, None]).sum(0)
