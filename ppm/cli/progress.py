"""Messages and bars for long work: on standard error, bars only on a terminal."""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from ppm.install.events import Events

__all__ = ["shown"]


@contextmanager
def shown(*, quiet: bool = False) -> Iterator[Events]:
    """Events that are shown to the user while the block runs."""
    if quiet:
        yield Events()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield Events(tell=lambda message: click.echo(message, err=True))
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        current: dict[str, TaskID] = {}

        def tell(message: str) -> None:
            for task in current.values():
                bars.remove_task(task)
            current.clear()
            console.print(message, highlight=False, markup=False)

        def progress(label: str, done: int, total: int) -> None:
            key = label.split(" (")[0]
            if key not in current:
                current[key] = bars.add_task(label, total=total)
            bars.update(current[key], description=label, completed=done, total=total)

        yield Events(tell=tell, progress=progress)
