"""Fixtures that many tests share: no network, no user's home, small real packages."""

import os
import signal
import tempfile

import pytest
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


def pytest_collection_modifyitems(items):
    """The slow ones begin, so that no process is left with them at the end."""
    items.sort(key=lambda item: "integration" not in item.path.parts)


@pytest.fixture(autouse=True)
def ppm_home(tmp_path_factory, monkeypatch):
    """A PPM_HOME of the test's own."""
    home = tmp_path_factory.mktemp("ppm-home")
    monkeypatch.setenv("PPM_HOME", str(home))
    return home
