"""Strategies written in a line, and what they make as tensors."""

import torch

from ppm.composition.recipe import run_strategy
from ppm.composition.steps import Context, Specialist
from ppm.composition.strategy import StepCall, Strategy
from ppm.runtime.tensors import prefix_of


def strategy(*steps):
    return Strategy(schema=1, name="mine", steps=tuple(StepCall(use, options) for use, options in steps))


def made(recipe: Strategy, context: Context) -> torch.Tensor:
    """The prefix (virtual_tokens, hidden_size) that a strategy makes."""
    return prefix_of(run_strategy(recipe, context))


def own(specialist: Specialist) -> torch.Tensor:
    """A specialist's prefix (virtual_tokens, hidden_size)."""
    return prefix_of(specialist.bank)
