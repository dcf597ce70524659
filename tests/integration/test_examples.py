"""The examples run as their first lines say."""

import subprocess
import sys
from pathlib import Path

import pytest
from commands import ppm

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


@pytest.mark.slow
def test_build_a_patch(ppm_home, tmp_path):
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "build_a_patch.py"), str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "calm==0.1.0 can be built" in done.stdout
    assert "Deployed calm==0.1.0 as deployment 1" in done.stdout
    assert "patched:" in done.stdout


def test_serve(deployed):
    prompt = "When the old pilot broke the lamp in the office, the manager shouted:"
    done = subprocess.run([sys.executable, str(EXAMPLES / "serve.py"), prompt], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_strategy_is_well_formed():
    assert 'use = "distil"' in ppm("strategies", "show", str(EXAMPLES / "longer.toml")).out
