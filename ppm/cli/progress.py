"""How far long work is, on standard error: bars on a terminal, else a line now and then."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ppm.cli.options import is_quiet, is_verbose
from ppm.cli.output import agreed, clean, console, print_above, say, stdout_is_terminal, warn
from ppm.progress import Events, Pace, shown_time

__all__ = ["shown"]


@contextmanager
def shown(*, quiet: bool = False) -> Iterator[Events]:
    """Events that are shown to the user while the block runs; warnings and questions alone when it is `quiet`, or the
    user wants that.
    """
    ask = agreed if sys.stdin is not None and sys.stdin.isatty() else None
    if quiet or is_quiet():
        yield Events(warn=warn, ask=ask)
        return
    from rich.progress import BarColumn, Progress, TaskID, TextColumn

    terminal = console()
    if not terminal.is_terminal:
        yield Events(say, say if is_verbose() else _nothing, _Lines(), warn, ask)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TextColumn("{task.fields[left]}"),
    )
    # Bars take what is printed in between along to standard error, which data in a file or a pipe must not go to.
    redirect = stdout_is_terminal()
    with Progress(*columns, console=terminal, transient=True, redirect_stdout=redirect) as bars:
        current: dict[str, TaskID] = {}
        paces: dict[str, Pace] = {}

        def tell(message: str) -> None:
            for task in current.values():
                bars.remove_task(task)
            current.clear()
            paces.clear()
            print_above(bars.console, message)

        def progress(label: str, done: int, total: int) -> None:
            label = clean(label)
            key = label.split(" (")[0]
            if key not in current:
                current[key] = bars.add_task(label, total=total, left="")
            left = _left(paces.setdefault(key, Pace()), done, total, time.monotonic())
            bars.update(current[key], description=label, completed=done, total=total, left=left)

        def ask_between(question: str) -> bool:
            bars.stop()  # which would draw over what is typed
            try:
                return agreed(question)
            finally:
                bars.start()

        yield Events(tell, tell if is_verbose() else _nothing, progress, tell, ask_between if ask else None)


def _nothing(message: str) -> None:
    pass


def _left(pace: Pace, done: int, total: int, now: float) -> str:
    """How much longer work takes, in words; "" as long as nothing tells."""
    seconds = pace.left(done, total, now)
    return f"about {shown_time(seconds)} left" if seconds is not None and done < total else ""


class _Lines:
    """Progress for a log or a pipe: a line every `EVERY` seconds, so that slow work is seen to go on."""

    EVERY = 15.0

    def __init__(self) -> None:
        self.last = time.monotonic()
        self.paces: dict[str, Pace] = {}

    def __call__(self, label: str, done: int, total: int) -> None:
        now = time.monotonic()
        left = _left(self.paces.setdefault(label.split(" (")[0], Pace()), done, total, now)
        if now - self.last >= self.EVERY:
            self.last = now
            warn(f"  {label}: {done}/{total}" + (f", {left}" if left else ""))
