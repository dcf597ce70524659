"""What long work shows where there is no terminal."""

import time

from ppm.cli.progress import shown


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
