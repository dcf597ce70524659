"""A small share of the fuzzing: the benchmark of the same name runs a hundred thousand cases."""

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def test_damaged_and_hostile_files_end_in_clear_errors():
    command = [sys.executable, BENCHMARKS / "fuzz.py", "--cases", "1500", "--seed", "7"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    rows = [line.split(" | ") for line in done.stdout.splitlines()[2:]]
    assert len(rows) == 18
    read, refused = (sum(int(row[i].replace(",", "")) for row in rows) for i in (2, 3))
    assert read > 100
    assert refused > 500
