"""Steps: functions `(context, prefix, **options) -> prefix` that strategies name.

The signature of a step is the schema of its options. `prefix` is None for the first step of a strategy. Another
distribution adds steps through the entry point group `ppm.steps`: each entry names a function of this kind.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from typing import Any

import torch

from ppm.composition.strategy import StepCall, Strategy
from ppm.errors import ManifestError, RequestError, TrainingError, did_you_mean
from ppm.evaluation.scoring import ScoredText
from ppm.jsonl import Pair
from ppm.manifest import Placement
from ppm.plugins import Plugins
from ppm.training.progress import Progress

__all__ = [
    "STEPS",
    "Context",
    "OptionError",
    "Parent",
    "Specialist",
    "check_composable",
    "check_strategy",
    "run_strategy",
    "step",
]

Step = Callable[..., torch.Tensor]


def _accept(entry: EntryPoint, found: Any) -> Step:
    inspect.signature(found)  # raises for what can't be called
    step: Step = found
    return step


_PLUGINS: Plugins[Step] = Plugins("ppm.steps", "step", _accept)
STEPS = _PLUGINS.known


class OptionError(ValueError):
    """What a step raises for the value of an option that can't be; it ends as one clear message."""


@dataclass(frozen=True)
class Specialist:
    """One patch of a composition: its name, prefix (virtual_tokens, hidden_size) and packaged pairs.

    `initial` is the prefix that its training started from; None when that is not known.
    """

    name: str
    prefix: torch.Tensor
    replay: tuple[Pair, ...]
    initial: torch.Tensor | None


@dataclass(frozen=True)
class Parent:
    """A deployed composition to go on from: its prefix, and `sha256:` and the digest of its package file."""

    prefix: torch.Tensor
    digest: str


@dataclass(frozen=True)
class Context:
    """What steps work with: the frozen base, the specialists, benign texts, and where to report progress.

    `parent` is what is deployed, if there is anything to go on from. What a step adds to `notes` (plain data)
    ends in the composition's provenance.
    """

    model: Any
    tokenizer: Any
    placement: Placement
    specialists: tuple[Specialist, ...]
    retention: tuple[ScoredText, ...]
    seed: int = 0
    progress: Progress = field(default=lambda stage, done, total, loss: None)
    parent: Parent | None = None
    notes: dict[str, Any] = field(default_factory=dict)

    def ordered(self, names: Sequence[str]) -> list[Specialist]:
        """The specialists in an order given by name, or as they come. Raises OptionError."""
        by_name = {specialist.name: specialist for specialist in self.specialists}
        if names and sorted(names) != sorted(by_name):
            raise OptionError(
                f"order must name each patch once: {', '.join(by_name)}; without it, they come as requested"
            )
        return [by_name[name] for name in (names or by_name)]

    def with_pairs(self, step: str, specialists: Sequence[Specialist] | None = None) -> None:
        """Raises RequestError, naming the step, when one of the specialists (all by default) has no replay pairs."""
        asked = self.specialists if specialists is None else specialists
        lacking = next((s.name for s in asked if not s.replay), None)
        if lacking is not None:
            raise RequestError(
                f"{lacking} has no replay pairs, which the step {step!r} needs",
                hint="use concat or merged, or ppm compose with --manifests and its source manifest",
            )


def step(name: str) -> Callable[[Step], Step]:
    """Registers a step under the name that strategies use."""

    def add(function: Step) -> Step:
        STEPS[name] = function
        return function

    return add


def _load_steps() -> None:
    """Import the modules that register the built-in steps, and find those of other distributions."""
    import ppm.composition.distil
    import ppm.composition.merging
    import ppm.composition.training  # noqa: F401

    _PLUGINS.load()


def check_strategy(strategy: Strategy) -> None:
    """Raises ManifestError for a step or an option that does not exist, naming the nearest, or of a wrong type.

    The candidates of an automatic strategy are checked too. Raises RequestError for one that does not exist.
    """
    _load_steps()
    for name in strategy.candidates:
        check_strategy(strategy.candidate(name))
    for index, call in enumerate(strategy.steps):
        where = f"strategy {strategy.name}, step {index + 1}"
        if call.use in _PLUGINS.broken:
            raise _PLUGINS.broken[call.use]
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
            _check_option(call, value, options[name], where)
        for name, parameter in options.items():
            if parameter.default is inspect.Parameter.empty and name not in call.options:
                raise ManifestError(f"the step {call.use!r} needs the option {name!r}", context=where)


def check_composable(strategy: Strategy) -> None:
    """`check_strategy`, and RequestError for an automatic strategy, which only an install can run."""
    check_strategy(strategy)
    if strategy.is_automatic:
        raise RequestError(
            f"{strategy.name!r} chooses between candidates by gating them, which only `ppm install` does",
            hint=f"name one of its candidates: {', '.join(strategy.candidates)}",
        )


def _check_option(call: StepCall, value: Any, parameter: inspect.Parameter, where: str) -> None:
    kinds = {int: "a whole number", float: "a number", str: "a string", bool: "true or false", tuple: "a list"}
    wanted = type(parameter.default)
    given = tuple if isinstance(value, list) else type(value)
    kind = kinds.get(wanted)
    if kind is not None and given is not wanted and not (wanted is float and given is int):
        raise ManifestError(
            f"the option {parameter.name!r} of step {call.use!r} must be {kind}, not {value!r}", context=where
        )
    if given is tuple:
        elements, of = ((str,), "strings") if "str" in str(parameter.annotation) else ((int, float), "numbers")
        if not all(type(element) in elements for element in value):
            raise ManifestError(
                f"the option {parameter.name!r} of step {call.use!r} must be a list of {of}, not {value!r}",
                context=where,
            )


def run_strategy(strategy: Strategy, context: Context) -> torch.Tensor:
    """The composed prefix (virtual_tokens, hidden_size). Raises RequestError for an automatic strategy."""
    check_composable(strategy)
    prefix: torch.Tensor | None = None
    for call in strategy.steps:
        where = f"strategy {strategy.name}"
        try:
            prefix = STEPS[call.use](context, prefix, **call.options)
        except OptionError as error:
            raise ManifestError(f"the step {call.use!r}: {error}", context=where) from error
        _check_result(call, prefix, context, where)
    assert prefix is not None
    return prefix.detach()


def _check_result(call: StepCall, prefix: Any, context: Context, where: str) -> None:
    width = context.specialists[0].prefix.shape[1]
    if not isinstance(prefix, torch.Tensor) or prefix.ndim != 2 or prefix.shape[1] != width or not len(prefix):
        made = tuple(prefix.shape) if isinstance(prefix, torch.Tensor) else type(prefix).__name__
        raise ManifestError(
            f"the step {call.use!r} made {made} instead of a prefix (virtual tokens, {width})", context=where
        )
    if not bool(torch.isfinite(prefix).all()):
        raise TrainingError(
            f"the step {call.use!r} made a prefix with values that are no numbers",
            context=where,
            hint="lower its learning_rate, or its scale",
        )
