"""A home in which the quickstart ran once; every test works on a copy of its own."""

import os
import shutil

import pytest
from commands import Result, ppm


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory) -> tuple[object, Result]:
    """(home, result of `ppm quickstart --json`)."""
    home = tmp_path_factory.mktemp("quickstart")
    before = os.environ.get("PPM_HOME")
    os.environ["PPM_HOME"] = str(home)
    try:
        return home, ppm("quickstart", "--json")
    finally:
        if before is None:
            del os.environ["PPM_HOME"]
        else:
            os.environ["PPM_HOME"] = before


@pytest.fixture
def deployed(quickstart, ppm_home):
    """A PPM_HOME with the three patches deployed, and kept results."""
    home, result = quickstart
    assert result.code == 0, result.err
    shutil.copytree(home, ppm_home, dirs_exist_ok=True)
    return ppm_home
