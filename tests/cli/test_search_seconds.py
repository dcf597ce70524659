"""PPM_SEARCH_SECONDS: how long a search for versions may take."""

import pytest
from commands import ppm
from integration.deployed import deployed, patch, write

COMMANDS = (
    "download app --base lab --dest out",
    "install app --base lab --dry-run",
    "upgrade --dry-run",
    "uninstall tool --dry-run",
    "autoremove --dry-run",
    "outdated",
    "compose app core --base lab --strategy merged --output out",
    "quickstart",
)


@pytest.fixture
def folder(ppm_home, tmp_path, monkeypatch):
    """Where `app` and `core`, which are deployed, have newer versions."""
    deployed(["app", "tool"], patch("app", needs={"core": "*"}), patch("core"), patch("tool"))
    monkeypatch.chdir(write(tmp_path / "dist", patch("app", "2.0.0", {"core": ">=2"}), patch("core", "2.0.0")))
    (tmp_path / "dist" / "ppm.toml").write_text('base = "lab"\nsources = ["."]\n')


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan"])
def test_it_must_be_a_time(folder, monkeypatch, text, command):
    monkeypatch.setenv("PPM_SEARCH_SECONDS", text)
    done = ppm(*command.split())
    assert done.code == 2
    assert f"PPM_SEARCH_SECONDS must be a number above 0, not {text!r}" in done.err


@pytest.mark.parametrize("command", COMMANDS)
def test_a_search_ends_by_it(folder, monkeypatch, command):
    """And is told from one that has found that there is nothing newer."""
    monkeypatch.setenv("PPM_SEARCH_SECONDS", "1e-9")
    done = ppm(*command.split())
    assert done.code == 3
    assert "no set of patches was found in 1e-09 seconds, and none was ruled out." in done.err
    assert "give the search more time: PPM_SEARCH_SECONDS=" in done.err


def test_nothing_stands_for_its_default(folder, monkeypatch):
    monkeypatch.setenv("PPM_SEARCH_SECONDS", "")
    for command in COMMANDS[:6]:
        assert ppm(*command.split()).code == 0, command
