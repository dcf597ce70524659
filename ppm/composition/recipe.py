"""Checks the steps of a strategy and runs them, one after the other."""

import torch

import ppm.composition.distil
import ppm.composition.merging
import ppm.composition.routing
import ppm.composition.training  # noqa: F401
from ppm.bank import Bank
from ppm.composition.registry import PLUGINS, STEPS, options_of, step_names
from ppm.composition.steps import Context, OptionError
from ppm.composition.strategy import StepCall, Strategy
from ppm.errors import ManifestError, RequestError, TrainingError, did_you_mean

__all__ = [
    "check_composable",
    "check_strategy",
    "run_strategy",
]


def check_strategy(strategy: Strategy) -> None:
    """Raises ManifestError for a step or an option that does not exist, and for an option of the wrong type.

    The candidates of an automatic strategy are checked too. Raises RequestError for one that does not exist.
    """
    names = step_names()
    for name in strategy.candidates:
        check_strategy(strategy.candidate(name))
    for index, call in enumerate(strategy.steps):
        where = f"strategy {strategy.name}, step {index + 1}"
        if call.use in PLUGINS.broken:
            raise PLUGINS.broken[call.use]
        schema = options_of(call.use)
        if schema is None:
            hint = did_you_mean(call.use, names, f"steps are {', '.join(sorted(names))}")
            raise ManifestError(f"there is no step {call.use!r}", context=where, hint=hint)
        schema.check(call.options, f"the step {call.use!r}", context=where)


def check_composable(strategy: Strategy) -> None:
    """`check_strategy`, and RequestError for an automatic strategy, which only an install can run."""
    check_strategy(strategy)
    if strategy.is_automatic:
        raise RequestError(
            f"{strategy.name!r} chooses between candidates by gating them, so only `ppm install` can use it",
            hint=f"name one of its candidates: {', '.join(strategy.candidates)}",
        )


def run_strategy(strategy: Strategy, context: Context) -> Bank:
    """The composed bank. Raises RequestError for an automatic strategy."""
    check_composable(strategy)
    bank: Bank | None = None
    for call in strategy.steps:
        where = f"strategy {strategy.name}"
        try:
            made = STEPS[call.use](context, bank, **call.options)
        except OptionError as error:
            raise ManifestError(f"the step {call.use!r}: {error}", context=where) from error
        bank = _checked(call, made, context, where)
    assert bank is not None
    return bank


def _checked(call: StepCall, made: object, context: Context, where: str) -> Bank:
    """What a step made. Raises ManifestError when it is no bank for this base, TrainingError when it is not finite."""
    width = context.specialists[0].bank.hidden_size
    if not isinstance(made, Bank) or made.hidden_size != width:
        found = f"a bank of width {made.hidden_size}" if isinstance(made, Bank) else type(made).__name__
        raise ManifestError(
            f"the step {call.use!r} made {found} instead of a bank of width {width}",
            context=where,
            hint="a step takes and returns a bank; bank_of and context.prefix turn tensors into banks and back",
        )
    if not bool(torch.isfinite(context.prefix(made)).all()):
        raise TrainingError(
            f"the step {call.use!r} made a prefix with values that are not finite numbers",
            context=where,
            hint="lower its learning_rate, or its scale",
        )
    return made
