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

from ppm.composition.options import BUILT_IN
from ppm.composition.strategy import STEP_PLUGINS
from ppm.errors import RequestError
from ppm.evaluation.scoring import ScoredText
from ppm.jsonl import Pair
from ppm.manifest import Placement
from ppm.plugins import Plugins
from ppm.progress import Progress, silent
from ppm.runtime.loading import LoadedBase
from ppm.signature import schema_of

__all__ = [
    "PLUGINS",
    "STEPS",
    "Context",
    "OptionError",
    "Parent",
    "Specialist",
    "built_in",
    "step",
]

Step = Callable[..., torch.Tensor]


def _accept(entry: EntryPoint, found: object) -> Step:
    if not callable(found):
        raise TypeError("it can't be called")
    schema_of(found, keyword_only=True)
    return found


PLUGINS: Plugins[Step] = Plugins(STEP_PLUGINS, "step", _accept)


STEPS = PLUGINS.known


class OptionError(ValueError):
    """Raised by a step for a value that an option can't have; it ends in one clear message."""


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
    """A deployed composition to go on from: its prefix, and the digest of its package file as `sha256:...`."""

    prefix: torch.Tensor
    digest: str


@dataclass(frozen=True)
class Context:
    """What steps work with: the frozen base, the specialists, benign texts, and where to report progress.

    `parent` is what is deployed, if there is anything to go on from. What a step adds to `notes` (plain data)
    ends in the composition's provenance.
    """

    base: LoadedBase
    placement: Placement
    specialists: tuple[Specialist, ...]
    retention: tuple[ScoredText, ...]
    seed: int = 0
    progress: Progress = silent
    parent: Parent | None = None
    notes: dict[str, object] = field(default_factory=dict)

    def ordered(self, names: Sequence[str]) -> list[Specialist]:
        """The specialists in an order given by name, or as they come. Raises OptionError."""
        by_name = {specialist.name: specialist for specialist in self.specialists}
        if names and sorted(names) != sorted(by_name):
            raise OptionError(
                f"order must name each patch once: {', '.join(by_name)}; without it, the order of the request is used"
            )
        return [by_name[name] for name in (names or by_name)]

    def with_pairs(self, step: str, specialists: Sequence[Specialist] | None = None) -> None:
        """Raises RequestError, naming the step, when one of the specialists (all by default) has no replay pairs."""
        asked = self.specialists if specialists is None else specialists
        lacking = next((s.name for s in asked if not s.replay), None)
        if lacking is not None:
            raise RequestError(
                f"the step {step!r} needs replay pairs, but {lacking} has none",
                hint="use concat or merged, or `ppm compose --manifests` with its source manifest",
            )


def step(name: str) -> Callable[[Step], Step]:
    """Registers a step under the name that strategies use."""

    def add(function: Step) -> Step:
        STEPS[name] = function
        return function

    return add


def built_in(name: str) -> Callable[[Callable[[Context, torch.Tensor | None, Any], torch.Tensor]], Step]:
    """Registers a step of ppm's own: `(context, prefix, options)`, with the class of its options in `BUILT_IN`.

    What is registered takes the options by name, as any step does, and its signature shows them.
    """
    kind = BUILT_IN[name]

    def add(function: Callable[[Context, torch.Tensor | None, Any], torch.Tensor]) -> Step:
        def run(context: Context, prefix: torch.Tensor | None, **given: object) -> torch.Tensor:
            try:
                options = kind(**given)
            except ValueError as error:
                raise OptionError(str(error)) from error
            return function(context, prefix, options)

        own = inspect.signature(function)
        first = list(own.parameters.values())[:2]
        shown = own.replace(parameters=[*first, *inspect.signature(kind).parameters.values()])
        run.__doc__, run.__name__, run.__qualname__ = function.__doc__, function.__name__, function.__qualname__
        run.__module__ = function.__module__
        run.__annotations__ = {p.name: p.annotation for p in shown.parameters.values()} | {"return": torch.Tensor}
        vars(run)["__signature__"] = shown
        return step(name)(run)

    return add
