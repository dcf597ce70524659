"""Steps and judges of another distribution: found by entry point, their options checked as the built-in ones are."""

import json
import os
import shutil
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
[project.entry-points."ppm.judges"]
shouting = "little_steps:shouting"
noun = "little_steps"
[tool.hatch.build.targets.wheel]
include = ["*.py"]
"""
MODULE = """\
from little_parts import scale

def shouting(share: float = 0.5):
    \"\"\"How much of a completion is in capitals.\"\"\"
    from ppm.evaluation.judges.base import each
    return each(lambda prompt, text: float(sum(map(str.isupper, text)) > share * len(text)))
"""
PARTS = """\
from ppm.runtime.tensors import bank_of

def scale(context, bank, *, factor: float = 1.0):
    return bank_of(context.prefix(bank) * factor)
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
    from ppm.resources import lab_data
    from ppm.runtime.tensors import prefix_of

    done = compose(STRATEGY, installed, tmp_path, ppm_home)
    assert done.returncode == 0, done.stderr
    assert "left out" not in done.stderr
    made = prefix_of(read_package(tmp_path / json.loads(done.stdout)["file"]).bank)
    named = ("toxicity", "gender_bias")
    parts = [read_package(next((lab_data() / "packages").glob(f"{name}-*.ppm"))) for name in named]
    wanted = sum(prefix_of(part.bank) for part in parts) / 4
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


def test_a_judge_of_another_package_is_listed_with_its_version(installed, ppm_home):
    environment = {"PYTHONPATH": str(installed), "PPM_HOME": str(ppm_home), "PATH": ""}
    done = subprocess.run(command("judges", "--json"), capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    [found] = [row for row in json.loads(done.stdout) if row["name"] == "shouting"]
    assert found == {
        "name": "shouting",
        "version": "little-steps 0.1.0",
        "options": ["share"],
        "summary": "How much of a completion is in capitals.",
    }


def test_a_judge_of_another_package_scores_a_suite(installed, tmp_path):
    script = f"""
import sys
sys.path.insert(0, {str(installed)!r})
from ppm.errors import ManifestError
from ppm.evaluation.judges.registry import make_judge
from ppm.jsonl import Prompt
from ppm.suite import Judge
print(make_judge(Judge("shouting", {{"share": 0.3}}), {{}}, "x").score([(Prompt("1", "p"), ("HELLO you", "hello"))]))
try:
    make_judge(Judge("noun"), {{}}, "x")
except ManifestError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, *rest = done.stdout.splitlines()
    assert first == "[[1.0, 0.0]]"
    assert "little-steps 0.1.0" in rest[0]


def test_the_code_of_a_judge_is_part_of_what_its_results_are_kept_by(installed, tmp_path):
    script = """
import sys
from ppm.evaluation.suites import load_suite
from ppm.suite import Judge, Suite
suite = Suite("loud", "p.jsonl", Judge("shouting"))
loaded = load_suite(suite, {"p.jsonl": b'{"id": "1", "prompt": "x"}\\n'}, origin="a test", owner=None)
print(loaded.digest, loaded.judge_version)
"""
    found = []
    for change in ("", "", "# another line\n"):
        site = tmp_path / f"site-{len(found)}"
        shutil.copytree(installed, site)
        with (site / "little_parts.py").open("a") as stream:
            stream.write(change)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), *sys.path])}
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        found.append(done.stdout)
    assert found[0] == found[1] != found[2]
    assert "little-steps 0.1.0" in found[0]
