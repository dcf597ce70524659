"""Fixtures that many tests share: no network, no user's home, small real packages."""

import os

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"


@pytest.fixture(autouse=True)
def ppm_home(tmp_path_factory, monkeypatch):
    """A PPM_HOME of the test's own."""
    home = tmp_path_factory.mktemp("ppm-home")
    monkeypatch.setenv("PPM_HOME", str(home))
    return home
