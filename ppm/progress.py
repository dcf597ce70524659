"""How long work tells of itself: how far it is, and lines of text. Knows nothing of who watches."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Events", "Pace", "Progress", "shown_time", "silent"]

Progress = Callable[[str, int, int], None]
"""Called with what is under way, how much of it is done, and of how much."""


def silent(label: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


class Pace:
    """How much longer some work takes, by its rate over the recent past: the first batch says little of the last."""

    RECENT = 90.0
    """Seconds that count at least, or as many as the last two reports are apart."""
    SHARE = 0.02
    """Of all work, how much counts at least: some batches are of a row or two, and take as long as others."""

    def __init__(self) -> None:
        self._reports: deque[tuple[float, int]] = deque()
        self._total = 0

    def left(self, done: int, total: int, now: float) -> float | None:
        """The seconds that are left at the time `now`, in seconds of any clock; None as long as nothing tells."""
        if self._reports and (done < self._reports[-1][1] or total != self._total):
            self._reports.clear()  # another piece of work under the same name
        self._total = total
        if not self._reports or done > self._reports[-1][1]:
            self._reports.append((now, done))
        while len(self._reports) > 2 and self._is_enough(self._reports[1], total, now):
            self._reports.popleft()
        (then, before), (last, sofar) = self._reports[0], self._reports[-1]
        if sofar <= before or last <= then:
            return None
        return max((total - sofar) * (last - then) / (sofar - before) - (now - last), 0.0)

    def _is_enough(self, since: tuple[float, int], total: int, now: float) -> bool:
        """Whether what was reported since then tells the pace."""
        return since[0] <= now - self.RECENT and self._reports[-1][1] - since[1] >= self.SHARE * total


def shown_time(seconds: float) -> str:
    """A time to wait, as people say it."""
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@dataclass(frozen=True)
class Events:
    """`tell` gets a line of text, `detail` one for those who want to know more, `progress` how far the work is.

    `warn` gets a line that must not be missed. `ask` asks for a yes or a no; None where nobody can be asked.
    """

    tell: Callable[[str], None] = lambda message: None
    detail: Callable[[str], None] = lambda message: None
    progress: Progress = silent
    warn: Callable[[str], None] = lambda message: None
    ask: Callable[[str], bool] | None = None
