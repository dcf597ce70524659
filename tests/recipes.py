"""Strategies written in a line."""

from ppm.composition.strategy import StepCall, Strategy


def strategy(*steps):
    return Strategy(schema=1, name="mine", steps=tuple(StepCall(use, options) for use, options in steps))
