"""How long commands without a model take, beside `pip list`, in one run: `python benchmarks/startup.py`.

Each command runs in turn, several times over; the table shows the median and its ratio to that of `pip list`.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 11
BIN = Path(sys.executable).parent
COMMANDS = {
    "pip list": [sys.executable, "-m", "pip", "list", "--disable-pip-version-check"],
    "ppm list": [str(BIN / "ppm"), "list"],
    "ppm --help": [str(BIN / "ppm"), "--help"],
    "ppm history": [str(BIN / "ppm"), "history"],
}


def seconds(command: list[str], environment: dict[str, str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, env=environment, capture_output=True, check=True)
    return time.perf_counter() - started


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "PPM_HOME": home}
        subprocess.run(
            [str(BIN / "ppm"), "install", "toxicity", "--base", "lab"], env=environment, check=True, capture_output=True
        )
        found: dict[str, list[float]] = {name: [] for name in COMMANDS}
        for _ in range(ROUNDS):
            for name, command in COMMANDS.items():
                found[name].append(seconds(command, environment))
    reference = statistics.median(found["pip list"])
    print(f"{'command':<12} {'median s':>9} {'ratio':>6}   (medians of {ROUNDS}, in turn; budget: ratio at most 1)")
    for name, times in found.items():
        print(f"{name:<12} {statistics.median(times):>9.3f} {statistics.median(times) / reference:>6.2f}")


if __name__ == "__main__":
    main()
