"""What a long piece of work tells whoever watches it: messages, and how far it is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ppm.install.plan import Plan

__all__ = ["Events"]


@dataclass(frozen=True)
class Events:
    """`tell` gets a line of text, `detail` one for those who want to know more, `planned` what is resolved.

    `progress` gets a label, how much is done, and of how much.
    """

    tell: Callable[[str], None] = lambda message: None
    detail: Callable[[str], None] = lambda message: None
    progress: Callable[[str, int, int], None] = lambda label, done, total: None
    planned: Callable[["Plan"], None] = lambda plan: None

    def training_progress(self, stage: str, step: int, steps: int, loss: float) -> None:
        self.progress(f"{stage} (loss {loss:.3f})" if loss else stage, step, steps)

    def audit_progress(self, done: int, total: int) -> None:
        self.progress("completions", done, total)
