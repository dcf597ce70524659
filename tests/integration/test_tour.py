"""docs/tour.md: its commands print what the page says, but for figures, digests and times."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.slow
def test_the_tour_prints_what_it_says(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "examples"), *sys.path])
    from tour import Shell, outline, sessions

    told = sessions((ROOT / "docs" / "tour.md").read_text())
    assert sum(command.startswith(("ppm ", "export ")) for command, _ in told) >= 20
    shell = Shell(tmp_path)
    for command, printed in told:
        assert outline(shell.run(command)) == outline(printed), command
