"""How long work tells of itself: how far it is, and lines of text. Knows nothing of who watches."""

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Events", "Progress", "silent"]

Progress = Callable[[str, int, int], None]
"""Called with what is under way, how much of it is done, and of how much."""


def silent(label: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True)
class Events:
    """`tell` gets a line of text, `detail` one for those who want to know more, `progress` how far the work is."""

    tell: Callable[[str], None] = lambda message: None
    detail: Callable[[str], None] = lambda message: None
    progress: Progress = silent
