"""A home in which the quickstart ran once; every test works on a copy of its own, or of its results."""

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
from commands import Result, ppm
from filelock import FileLock


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
