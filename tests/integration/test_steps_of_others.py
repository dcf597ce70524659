"""A step from another distribution: found by its entry point, its options checked as the built-in ones are."""

import json
import subprocess
import sys

import pytest
from commands import command

PYPROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "little-steps"
version = "0.1.0"
[project.entry-points."ppm.steps"]
scale = "little_steps:scale"
noun = "little_steps"
gone = "little_steps:gone"
[tool.hatch.build.targets.wheel]
include = ["*.py"]
"""
MODULE = """\
from little_parts import scale
"""
PARTS = """\
def scale(context, prefix, *, factor: float = 1.0):
    return prefix * factor
"""
STRATEGY = """\
schema = 1
name = "scaled"
[[steps]]
use = "average"
[[steps]]
use = "scale"
factor = 0.5
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder into which pip has installed the little package."""
    folder = tmp_path_factory.mktemp("little")
    (folder / "source").mkdir()
    (folder / "source" / "pyproject.toml").write_text(PYPROJECT)
    (folder / "source" / "little_steps.py").write_text(MODULE)
    (folder / "source" / "little_parts.py").write_text(PARTS)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", folder / "site", folder / "source"], check=True, capture_output=True)
    return folder / "site"


def compose(strategy, installed, tmp_path, home):
    recipe = tmp_path / "mine.toml"
    recipe.write_text(strategy)
    arguments = ["toxicity", "gender-bias", "--base", "lab", "--strategy", recipe, "--output", tmp_path, "--json"]
    script = command("compose", *arguments)
    return subprocess.run(
        script, capture_output=True, text=True, env={"PYTHONPATH": str(installed), "PPM_HOME": str(home), "PATH": ""}
    )


@pytest.mark.slow
def test_a_step_of_another_package_is_run(installed, tmp_path, ppm_home):
    from ppm.package import read_package
    from ppm.prefix.tensors import from_bytes
    from ppm.resources import lab_data

    done = compose(STRATEGY, installed, tmp_path, ppm_home)
    assert done.returncode == 0, done.stderr
    assert "left out" not in done.stderr
    made = from_bytes(read_package(tmp_path / json.loads(done.stdout)["file"]).prefix)
    named = ("toxicity", "gender_bias")
    parts = [read_package(next((lab_data() / "packages").glob(f"{name}-*.ppm"))) for name in named]
    wanted = sum(from_bytes(part.prefix) for part in parts) / 4
    assert made.allclose(wanted, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("factor", "facter", "'factor'"),
        ("0.5", '"half"', "a number"),
        ('"scale"', '"scal"', "'scale'"),
        ('"scale"\nfactor = 0.5', '"gone"', "little-steps 0.1.0"),
        ('"scale"\nfactor = 0.5', '"noun"', "little-steps 0.1.0"),
    ],
)
def test_a_mistake_names_the_nearest(installed, tmp_path, ppm_home, before, after, words):
    done = compose(STRATEGY.replace(before, after), installed, tmp_path, ppm_home)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
