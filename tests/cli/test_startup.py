"""Commands without a model start at once: they import neither torch nor transformers."""

import os
import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "trl", "datasets", "scipy", "numpy", "networkx")


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["freeze"], ["install", "--help"], ["history", "--help"]])
def test_no_heavy_import(arguments):
    script = (
        "import sys\n"
        "from ppm.cli.main import run\n"
        "try:\n    run(sys.argv[1:])\n"
        "except SystemExit as error:\n    code = error.code\n"
        f"print(code, sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, env=os.environ)
    assert done.stderr.splitlines()[-1] == "0 []"


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate", "hello", "--base", "lab"],
        ["compose", "nope", "--base", "lab", "--strategy", "merged", "-o", "x"],
        ["install", "toxicity", "--base", "lab", "--strategy", "mergd"],
    ],
)
def test_a_mistake_is_told_without_a_heavy_import(arguments):
    script = (
        "import sys\n"
        "from ppm.cli.main import run\n"
        "try:\n    run(sys.argv[1:])\n"
        "except SystemExit as error:\n    code = error.code\n"
        "print(code, 'torch' in sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, env=os.environ)
    code, heavy = done.stderr.splitlines()[-1].split()
    assert code in ("1", "3")
    assert heavy == "False"


def test_importing_the_library_is_light():
    script = f"import sys, ppm; print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.strip() == "[]"
