"""Commands without a model start at once: they import neither torch nor transformers."""

import subprocess
import sys

import pytest
from commands import imported

HEAVY = ("torch", "transformers", "trl", "datasets", "scipy", "numpy", "networkx")


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["freeze"], ["install", "--help"], ["history", "--help"]])
def test_no_heavy_import(arguments):
    code, modules = imported(*arguments)
    assert code == 0
    assert not set(HEAVY) & modules


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate", "hello", "--base", "lab"],
        ["compose", "nope", "--base", "lab", "--strategy", "merged", "-o", "x"],
        ["install", "toxicity", "--base", "lab", "--strategy", "mergd"],
    ],
)
def test_a_mistake_is_told_without_a_heavy_import(arguments):
    code, modules = imported(*arguments)
    assert code in (1, 3)
    assert "torch" not in modules


def test_importing_the_library_is_light():
    script = f"import sys, ppm; print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.strip() == "[]"


def test_composing_and_testing_wait_for_no_trainer():
    script = (
        "import sys, ppm.install.install, ppm.install.choose, ppm.install.ranking, ppm.audit.run;"
        "import ppm.composition.compose;"
        "from ppm.composition.recipe import check_strategy; from ppm.composition.strategy import read_strategy;"
        "check_strategy(read_strategy('sequential-replay')); print(sorted({'trl', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
