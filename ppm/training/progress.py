"""What training tells of its progress."""

from collections.abc import Callable

__all__ = ["Progress"]

Progress = Callable[[str, int, int, float], None]
"""Called with the stage, the step, the number of steps and the loss."""
