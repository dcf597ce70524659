"""What tests of prefixes on models share."""

import warnings

import pytest


@pytest.fixture(autouse=True)
def _without_window_warnings():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*slide out of the window")
        yield
