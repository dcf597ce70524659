"""The frame of the command line: typos, versions, help, errors, debug."""

import os
import signal
import time

import pytest
from commands import ppm

import ppm as library
from ppm.cli.main import COMMANDS


def test_version():
    assert library.__version__ in ppm("--version").out


def test_a_mistyped_command_names_the_nearest():
    result = ppm("instal")
    assert result.code == 2
    assert "'install'" in result.err


@pytest.mark.parametrize(
    ("arguments", "message", "helped"),
    [
        (["install", "--bse", "lab"], "error: no such option '--bse'", "ppm install --help"),
        (["diff", "one"], "error: invalid value for '[OLD]': 'one' is not a valid integer", "ppm diff --help"),
        (["cache", "prun"], "error: no such command 'prun'. Did you mean 'prune'?", "ppm cache --help"),
        (["lock", "--base"], "error: option '--base' requires an argument", "ppm --help"),
    ],
)
def test_a_mistyped_option_is_one_error_with_a_hint(arguments, message, helped):
    result = ppm(*arguments)
    assert result.code == 2
    first, second = result.err.splitlines()
    assert first.startswith(message)
    assert second == f"hint: `{helped}` shows how it is used"


def test_the_list_of_commands_fits_a_narrow_terminal():
    shown = ppm("--help").out
    assert all(f"  {name} " in shown for name in COMMANDS)
    assert "..." not in shown.split("Change what is deployed:")[1]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name):
    result = ppm(name, "--help")
    assert result.code == 0
    assert "Example:" in result.out
    assert "ppm " + name in result.out


def test_debug_shows_the_traceback_and_changes_nothing_else():
    for arguments in (["--debug", "strategies", "show", "nothing"], ["strategies", "show", "nothing", "--debug"]):
        done = ppm(*arguments)
        assert done.code == 1
        assert "Traceback" in done.err
        assert "error: there is no strategy 'nothing'" in done.err
    assert "Traceback" not in ppm("strategies", "show", "nothing").err


def test_a_broken_file_is_named(tmp_path):
    bad = tmp_path / "patch.toml"
    bad.write_text('schema = 1\n[patch]\nnmae = "x"\n')
    result = ppm("build", "--check", str(bad))
    assert result.code == 1
    assert "'nmae'" in result.err
    assert "did you mean 'name'" in result.err
    assert str(bad) in result.err


def test_an_argument_that_is_no_text_is_one_clear_error():
    refused = ppm("hold", "toxicity", "--reason", "caf\udce9")
    assert (refused.code, "'caf\\xe9' is not UTF-8" in refused.err) == (2, True)


def test_an_interrupt_ends_a_command_whatever_it_comes_up_as(monkeypatch):
    def work(*arguments):
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)
        except KeyboardInterrupt:
            raise RecursionError("maximum recursion depth exceeded") from None

    monkeypatch.setattr("ppm.cli.packages._current", work)
    done = ppm("list")
    assert (done.code, "interrupted" in done.err, "Traceback" in done.err) == (130, True, False)

    def fail(*arguments):
        raise RecursionError

    monkeypatch.setattr("ppm.cli.packages._current", fail)
    with pytest.raises(RecursionError):
        ppm("list")


@pytest.mark.parametrize("url", ["https://patches.example.org/index", "file:///srv/patches"])
def test_a_url_is_no_folder(url):
    refused = ppm("search", "x", "--find-links", url)
    assert (refused.code, "is a URL, where a path should be" in refused.err) == (2, True)
