"""Looking into a backbone while it runs: its states after some layers, and whether the pass goes on from there."""

import copy
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn

from ppm.errors import ModelError

__all__ = ["Reached", "States", "depth_of", "tapped", "unreadable"]

States = dict[int, torch.Tensor]
"""Hidden states (B, T, hidden_size), or what is made of them, by after how many layers they are."""


class Reached(Exception):
    """The last layer that is read has been reached, and the pass ends there."""


class _Tap(nn.Module):
    """Stands in the place of a layer, shows what comes into it, and lets the layer run, or ends the pass."""

    def __init__(self, layer: nn.Module, goes_on: Callable[[torch.Tensor], bool]) -> None:
        super().__init__()
        self.layer = layer
        self.goes_on = goes_on

    def __getattr__(self, name: str):  # type: ignore[no-untyped-def]
        # Some models ask a layer of what kind it is.
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("layer"), name)

    def forward(self, *args: object, **kwargs: object) -> object:
        hidden = args[0] if args else kwargs["hidden_states"]
        assert isinstance(hidden, torch.Tensor)
        if not self.goes_on(hidden):
            raise Reached
        return self.layer(*args, **kwargs)


def _stack(inner: nn.Module) -> tuple[str, nn.ModuleList]:
    """The layers of a backbone, with the name they have there. Raises ModelError where there are none."""
    found = [(name, child) for name, child in inner._modules.items() if isinstance(child, nn.ModuleList) and len(child)]
    if not found:
        raise ModelError(
            "a router reads the layers of the base model, but this architecture does not show any",
            context=type(inner).__name__,
            hint="use a patch without a trigger",
        )
    return max(found, key=lambda item: len(item[1]))


def depth_of(inner: nn.Module) -> int:
    """How many layers a backbone has."""
    return len(_stack(inner)[1])


def tapped(inner: nn.Module, layers: Sequence[int], decide: Callable[[States], bool]) -> nn.Module:
    """A backbone that calls `decide` with its states after these many layers, and ends its pass there if that is False.

    The backbone itself is left as it is: a copy that shares its weights, so that others can go on using it meanwhile.
    """
    name, stack = _stack(inner)
    wanted = sorted(set(layers))
    states: States = {}

    def reached(layer: int, hidden: torch.Tensor) -> bool:
        states[layer] = hidden
        return layer != wanted[-1] or decide(states)

    taps: list[nn.Module] = list(stack)
    for layer in wanted:
        taps[layer] = _Tap(stack[layer], partial(reached, layer))
    short = copy.copy(inner)
    short._modules = {**inner._modules, name: nn.ModuleList(taps)}
    return short


def unreadable(inner: nn.Module) -> ModelError:
    """What to raise where a backbone does not run its layers one after the other."""
    return ModelError(
        "a router can't read this architecture, whose layers don't run one after the other",
        context=type(inner).__name__,
        hint="use a patch without a trigger",
    )
