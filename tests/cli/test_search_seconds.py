"""PPM_SEARCH_SECONDS: how long a search for versions may take."""

import pytest
from commands import ppm


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan"])
def test_it_must_be_a_time(tmp_path, monkeypatch, text):
    monkeypatch.setenv("PPM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PPM_SEARCH_SECONDS", text)
    done = ppm("download", "toxicity", "--base", "lab", "--dest", str(tmp_path / "out"))
    assert done.code == 2
    assert f"PPM_SEARCH_SECONDS must be a number above 0, not {text!r}" in done.err


def test_a_search_ends_by_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PPM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PPM_SEARCH_SECONDS", "1e-9")
    done = ppm("download", "toxicity", "--base", "lab", "--dest", str(tmp_path / "out"))
    assert done.code == 3
    assert "no set of patches was found in 1e-09 seconds, and none was ruled out." in done.err
    assert "give the search more time: PPM_SEARCH_SECONDS=" in done.err
    monkeypatch.setenv("PPM_SEARCH_SECONDS", "")
    assert ppm("download", "toxicity", "--base", "lab", "--dest", str(tmp_path / "out")).code == 0
