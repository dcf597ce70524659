"""`accelerate launch` on two processes makes the updates that one process makes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "updates.py"
LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
LAUNCH += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]


def run(*command):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["sft", "dpo"])
def test_the_first_20_updates_are_those_of_one_process(how, tmp_path):
    run(sys.executable, SCRIPT, how, tmp_path / "one")
    run(*LAUNCH, SCRIPT, how, tmp_path / "two")
    one, two, other = (json.loads((tmp_path / name).read_text()) for name in ("one", "two", "two.1"))
    assert len(one["losses"]) == len(two["losses"]) >= 20
    assert two["losses"] == pytest.approx(one["losses"], abs=2e-3)  # as they are shown, to three digits
    assert max(one["losses"]) - min(one["losses"]) > 0.1
    assert [x for row in two["values"] for x in row] == pytest.approx(
        [x for row in one["values"] for x in row], abs=1e-4
    )
    assert other["prefix"] == two["prefix"]
