"""How far long work is, on standard error: bars on a terminal, else a line now and then."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import click

from ppm.cli.options import is_quiet, is_verbose
from ppm.cli.output import agreed, clean, console, print_above, say, stdout_is_terminal, warn
from ppm.progress import Events, Pace, shown_time

__all__ = ["Downloads", "shown"]

_SHOWN = "ppm.shown"


class Downloads:
    """Progress of downloads: among what the command shows, or by itself while there are any. Threads may share it."""

    def __init__(self) -> None:
        self._context = click.get_current_context()
        self._lock = threading.Lock()
        self._own = ExitStack()
        self._under_way: set[str] = set()
        self._events = Events()

    def __call__(self, label: str, done: int, total: int) -> None:
        with self._lock, self._context.scope(cleanup=False):  # a thread has no context of its own
            events: Events | None = self._context.meta.get(_SHOWN)
            if events is not None:
                events.progress(label, done, total)
                return
            if not self._under_way:
                self._events = self._own.enter_context(_shown())
            self._under_way.add(label)
            self._events.progress(label, done, total)
            if done >= total:
                self._under_way.discard(label)
                if not self._under_way:
                    self._own.close()


@contextmanager
def shown(*, quiet: bool = False) -> Iterator[Events]:
    """Events that are shown to the user while the block runs; warnings and questions alone when it is `quiet`, or the
    user wants that.
    """
    context = click.get_current_context(silent=True)
    meta = context.meta if context is not None else {}
    with _shown(quiet=quiet) as events:
        meta[_SHOWN] = events
        try:
            yield events
        finally:
            del meta[_SHOWN]


@contextmanager
def _shown(*, quiet: bool = False) -> Iterator[Events]:
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
        lock = threading.Lock()  # downloads tell of themselves from threads

        def tell(message: str) -> None:
            with lock:
                for task in current.values():
                    bars.remove_task(task)
                current.clear()
                paces.clear()
            print_above(bars.console, message)

        def progress(label: str, done: int, total: int) -> None:
            label = clean(label)
            key = label.split(" (")[0]
            with lock:
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
