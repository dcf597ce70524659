"""The environment that commands mean: chosen for good, shown, and outdone by whatever says more."""

import pytest
from commands import ppm
from integration.deployed import deployed, patch

from ppm.workspace import open_base

TAG = open_base("lab").tag


@pytest.fixture
def two(tmp_path, monkeypatch):
    """Two environments of the lab's base, with an app of their own each."""
    monkeypatch.chdir(tmp_path)
    deployed(["app"], patch("app", "1.0.0"))
    deployed(["app"], patch("app", "2.0.0"), env="staging")


def version(*arguments):
    return ppm("list", "--json", *arguments).json["patches"][0]["version"]


def test_a_chosen_environment_is_what_commands_mean(two):
    asked = ppm("list")
    assert (asked.code, "which one?" in asked.err, "ppm use" in asked.err) == (1, True, True)
    for name, found in (("staging", "2.0.0"), ("lab", "1.0.0"), (f"{TAG}/staging", "2.0.0")):
        assert ppm("use", name).code == 0
        assert version() == found
        assert found in ppm("freeze").out
        assert ppm("install", "app", "--dry-run", "--json").json["patches"][0]["version"] == found
    assert ppm("use", "--json").json == {"environment": f"{TAG}/staging"}


def test_what_says_more_goes_before_it(two, tmp_path):
    ppm("use", "staging")
    assert version("--base", TAG) == "1.0.0"
    assert version("--base", "lab") == "1.0.0"
    (tmp_path / "ppm.toml").write_text('base = "lab"\n')
    assert version() == "1.0.0"
    (tmp_path / "ppm.toml").unlink()
    ppm("use", "lab")
    assert version("--env", "staging") == "2.0.0"


def test_it_is_shown_and_forgotten(two):
    ppm("use", "staging")
    assert f"*  {TAG}/staging" in ppm("env", "list").out
    assert [row["in_use"] for row in ppm("env", "list", "--json").json] == [False, True]
    assert ["environment", f"{TAG}/staging", "ppm use"] in [list(row.values()) for row in ppm("config", "--json").json]
    assert ppm("use", "--clear", "--json").json == {"environment": None}
    assert ppm("use").out == "No environment is chosen.\n"
    assert ppm("list").code == 1


def test_a_name_that_does_not_exist_is_one_message_with_the_nearest(two):
    refused = ppm("use", "stagin")
    assert (refused.code, refused.err) == (
        1,
        "error: there is no environment 'stagin'\nhint: did you mean 'staging'?\n",
    )
    assert TAG in ppm("use", "nothing-like-it").err
    assert ppm("use", "staging", "--clear").code == 2


def test_a_name_that_several_have_is_no_choice(two):
    deployed(["app"], patch("app"), env="lab")
    refused = ppm("use", "lab")
    assert (refused.code, "several environments are named 'lab'" in refused.err) == (1, True)
    assert ppm("use", f"{TAG}/lab").code == 0


def test_an_environment_that_is_removed_is_meant_no_more(two, ppm_home):
    ppm("use", "staging")
    ppm("env", "remove", f"{TAG}/staging", "--yes")
    assert version() == "1.0.0"
    (ppm_home / "use").write_text(f"{TAG}/gone\n")
    refused = ppm("list")
    assert (refused.code, f"chose {TAG}/gone" in refused.err, "ppm use" in refused.err) == (1, True, True)


@pytest.mark.parametrize("data", [b"", b"lab", b"\0" * 20, b"a\nb\n", b"\xff\x1b\n"])
def test_a_damaged_choice_is_told_and_mended(two, ppm_home, data):
    (ppm_home / "use").write_bytes(data)
    refused = ppm("list")
    assert (refused.code, "does not name an environment" in refused.err) == (1, True)
    assert ppm("list", "--base", "lab").code == 0
    assert ppm("use", "staging").code == 0
    assert version() == "2.0.0"


def test_a_whole_choice_is_no_longer_one_when_it_is_cut(two, ppm_home):
    ppm("use", "staging")
    whole = (ppm_home / "use").read_bytes()
    for size in range(len(whole)):
        (ppm_home / "use").write_bytes(whole[:size])
        assert ppm("list").code == 1, size
