"""A share of `benchmarks/kills.py`: killed before a change of the disk, a command leaves the old or the new state."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("commands", "every"), [(("sync", "rollback", "prune", "add", "unhold"), 8), (("install",), 60)]
)
def test_killed_commands_leave_the_old_or_the_new_state(commands, every):
    command = [sys.executable, BENCHMARKS / "kills.py", "--commands", *commands, "--every", str(every)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {row[0]: int(row[2]) for row in (line.strip("| ").split(" | ") for line in done.stdout.splitlines()[2:])}
    assert set(rows) == set(commands)
    assert sum(rows.values()) >= 3
