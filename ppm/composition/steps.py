"""Steps: functions `(context, bank, **options) -> bank` that strategies name.

`bank` is None for the first step of a strategy. Another distribution adds steps through the entry point group
`ppm.steps`: each entry names a function of this kind, and its keyword parameters are the schema of its options.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ppm.bank import Bank
from ppm.composition.options import BUILT_IN, Options
from ppm.composition.registry import STEPS
from ppm.errors import RequestError
from ppm.evaluation.scoring import ScoredText
from ppm.jsonl import Benign, Pair
from ppm.manifest import Placement
from ppm.progress import Progress, silent
from ppm.project import Gates
from ppm.runtime.loading import LoadedBase
from ppm.runtime.tensors import prefix_of

__all__ = [
    "Context",
    "OptionError",
    "OwnStep",
    "Parent",
    "Specialist",
    "built_in",
]


class OptionError(ValueError):
    """Raised by a step for a value that an option can't have; it ends in one clear message."""


@dataclass(frozen=True)
class Specialist:
    """One patch of a composition: its name, bank and packaged pairs.

    `initial` is the prefix (virtual_tokens, hidden_size) that its training started from; None when that is not known.
    """

    name: str
    bank: Bank
    replay: tuple[Pair, ...]
    initial: torch.Tensor | None


@dataclass(frozen=True)
class Parent:
    """A deployed composition to go on from: its bank, and the digest of its package file as `sha256:...`."""

    bank: Bank
    digest: str


@dataclass(frozen=True)
class Context:
    """What steps work with: the frozen base, the specialists, benign texts, and where to report progress.

    `parent` is what is deployed, if there is anything to go on from. `benign` are all benign rows at hand, of which
    `retention` are so many of the packages'. `conditional` says whether patches may stand behind triggers, and
    `policy` what the deployer asks of these. What a step adds to `notes` (plain data) ends in the composition's
    provenance.
    """

    base: LoadedBase
    placement: Placement
    specialists: tuple[Specialist, ...]
    retention: tuple[ScoredText, ...]
    seed: int = 0
    progress: Progress = silent
    parent: Parent | None = None
    benign: tuple[Benign, ...] = ()
    conditional: bool = True
    policy: Gates = field(default_factory=Gates)
    notes: dict[str, object] = field(default_factory=dict)

    def prefix(self, bank: Bank) -> torch.Tensor:
        """A joined bank as one prefix (virtual_tokens, hidden_size), float32, where the base is."""
        return prefix_of(bank).to(self.base.model.device)

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


def built_in(name: str) -> Callable[[Callable[[Context, Bank | None, Any], Bank]], "OwnStep"]:
    """Registers a step of ppm's own: `(context, bank, options)`, with the class of its options in `BUILT_IN`."""

    def add(function: Callable[[Context, Bank | None, Any], Bank]) -> OwnStep:
        STEPS[name] = own = OwnStep(function, BUILT_IN[name])
        return own

    return add


@dataclass(frozen=True)
class OwnStep:
    """A step of ppm's own, which takes its options by name, as any step does. Raises OptionError."""

    function: Callable[[Context, Bank | None, Any], Bank]
    options: type[Options]

    def __call__(self, context: Context, bank: Bank | None, **given: object) -> Bank:
        try:
            options = self.options(**given)
        except ValueError as error:
            raise OptionError(str(error)) from error
        return self.function(context, bank, options)
