"""What long work shows where there is no terminal."""

import threading
import time

import click

from ppm.cli.progress import Downloads, shown


def test_without_a_terminal_a_line_is_written_now_and_then(capsys, monkeypatch):
    clock = iter([0.0, 5.0, 16.0, 20.0, 40.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with shown() as events:
        events.tell("Composing")
        for step in (1, 2, 3, 4):
            events.progress("distil (loss 0.500)", step, 4)
    assert capsys.readouterr().err.splitlines() == [
        "Composing",
        "  distil (loss 0.500): 2/4, about 22 s left",
        "  distil (loss 0.500): 4/4",
    ]


def test_quiet_work_shows_nothing(capsys):
    with shown(quiet=True) as events:
        events.tell("Composing")
        events.progress("distil (loss 0.500)", 1, 4)
    assert capsys.readouterr() == ("", "")


def test_downloads_are_shown_by_themselves_and_among_other_work(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with click.Context(click.Command("ppm")):
        downloads = Downloads()

        def take(label):
            now[0] += 20
            downloads(label, 5, 10)
            downloads(label, 10, 10)

        downloads("a", 1, 10)
        thread = threading.Thread(target=take, args=["b"])
        thread.start()
        thread.join()
        downloads("a", 10, 10)
        with shown(quiet=True):
            take("unseen")
        with shown() as events:
            take("c")
            now[0] += 20
            events.progress("composing", 1, 2)
    assert capsys.readouterr().err.splitlines() == ["  b: 5/10", "  c: 5/10", "  composing: 1/2"]
