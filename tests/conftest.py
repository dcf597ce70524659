"""Fixtures that many tests share: no network, no user's home, and a home in which the quickstart ran once."""

import atexit
import json
import os
import shutil
import signal
import tempfile
from dataclasses import asdict
from pathlib import Path

import pytest
from commands import Result, ppm
from filelock import FileLock
from hypothesis import settings

# How long one example takes says nothing on a machine that does other work, too.
settings.register_profile("ppm", deadline=None)
settings.load_profile("ppm")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# What a model learns depends on the number of threads, and two processes of tests share the cores.
os.environ["OMP_NUM_THREADS"] = "1"
# A job that a script starts in the background ignores SIGINT, and would hand that on to the processes of the tests.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Fixtures of a wider scope than one test must not see the home of whoever runs the tests either.
os.environ["PPM_HOME"] = tempfile.mkdtemp(prefix="ppm-tests-")
# Small models that many tests begin with: the process that starts the others names the folder for all of them.
if "PPM_TESTS_SHARED" not in os.environ:
    os.environ["PPM_TESTS_SHARED"] = tempfile.mkdtemp(prefix="ppm-tests-shared-")
    atexit.register(shutil.rmtree, os.environ["PPM_TESTS_SHARED"], ignore_errors=True)


SLOW_FIRST = ("integration", "training", "lab", "audit")
"""Folders whose tests run first, so that no process is left with a long file at the end."""


def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    places = {folder: place for place, folder in enumerate(SLOW_FIRST)}
    items.sort(key=lambda item: places.get(item.path.relative_to(here).parts[0], len(places)))


@pytest.fixture(autouse=True)
def ppm_home(tmp_path_factory, monkeypatch):
    """A PPM_HOME of the test's own."""
    home = tmp_path_factory.mktemp("ppm-home")
    monkeypatch.setenv("PPM_HOME", str(home))
    return home


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory, worker_id) -> tuple[Path, Result]:
    """(home, result of `ppm quickstart --json`), the same for every process of tests."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder if worker_id == "master" else folder.parent
    home, kept = folder / "quickstart", folder / "quickstart.json"
    with FileLock(folder / "quickstart.lock"):
        if not kept.exists():
            kept.write_text(json.dumps(asdict(_run(home))))
    return home, Result(**json.loads(kept.read_text()))


def _run(home: Path) -> Result:
    before = os.environ["PPM_HOME"]
    os.environ["PPM_HOME"] = str(home)
    try:
        return ppm("quickstart", "--json")
    finally:
        os.environ["PPM_HOME"] = before


@pytest.fixture
def deployed(quickstart, ppm_home):
    """A PPM_HOME with the three patches deployed, and kept results."""
    home, result = quickstart
    assert result.code == 0, result.err
    shutil.copytree(home, ppm_home, dirs_exist_ok=True)
    return ppm_home


@pytest.fixture
def answered(quickstart, ppm_home):
    """An empty PPM_HOME, but for what the lab's base and its three patches answer to their suites."""
    home, _ = quickstart
    shutil.copytree(home / "cache" / "results", ppm_home / "cache" / "results", dirs_exist_ok=True)
    return ppm_home
