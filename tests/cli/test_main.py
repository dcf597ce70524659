"""The frame of the command line: typos, versions, help, errors, debug."""

import os
import subprocess
import sys

import pytest
from commands import command, ppm

import ppm as library
from ppm.cli.main import CALLED_ELSEWHERE, COMMANDS


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
        (["install", "one", "--seed", str(2**64)], "error: invalid value for '--seed'", "ppm install --help"),
    ],
)
def test_a_mistyped_option_is_one_error_with_a_hint(arguments, message, helped):
    result = ppm(*arguments)
    assert result.code == 2
    first, second = result.err.splitlines()
    assert first.startswith(message)
    assert second == f"hint: `{helped}` shows how to use it"


@pytest.mark.parametrize(
    ("called", "near"), [("info", "show"), ("update", "upgrade"), ("instal", "install"), ("xyzzy", None)]
)
def test_an_unknown_command_is_one_error_with_what_it_may_be(called, near):
    result = ppm(called)
    assert result.code == 2
    said = f"error: there is no command {called!r}" + (f"; did you mean {near!r}?" if near else "")
    assert result.err.splitlines() == [said, "hint: `ppm --help` lists the commands"]


def test_what_other_package_managers_call_a_command_is_none_of_ours():
    assert not CALLED_ELSEWHERE.keys() & COMMANDS.keys()
    assert set(CALLED_ELSEWHERE.values()) <= COMMANDS.keys()


@pytest.mark.parametrize(
    ("arguments", "near"), [(["generate", "--file", "x"], None), (["install", "--forse"], "'--force'")]
)
def test_only_a_near_option_is_suggested(arguments, near):
    message = ppm(*arguments).err.splitlines()[0]
    assert message.endswith(f"Did you mean {near}?" if near else f"no such option {arguments[1]!r}")


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


@pytest.mark.parametrize("interrupted", [True, False])
def test_an_interrupt_ends_a_command_whatever_it_comes_up_as(tmp_path, interrupted):
    """A library that is being imported when Ctrl-C comes may make another error of it."""
    act = "os.kill(os.getpid(), signal.SIGINT); time.sleep(10)" if interrupted else "raise KeyboardInterrupt"
    (tmp_path / "torch.py").write_text(
        f"import os, signal, time\ntry:\n    {act}\nexcept KeyboardInterrupt:\n    raise RecursionError from None\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run(command("lab", "info"), capture_output=True, text=True, env=environment)
    said = "interrupted" in done.stderr, "RecursionError" in done.stderr
    assert (done.returncode, said) == ((130, (True, False)) if interrupted else (1, (False, True)))


URL = "https://patches.example.org/index"


@pytest.mark.parametrize(
    "arguments",
    [
        ["search", "x", "--find-links", URL],
        ["search", "x", "--find-links", "file:///srv/patches"],
        ["install", "x", "--base", "lab", "-r", URL],
        ["install", "x", "--base", "lab", "-c", URL],
        ["install", "x", "--base", "lab", "--override", URL],
        ["install", "x", "--base", URL],
        ["install", f"{URL}/x-1.0.0-lab.ppm", "--base", "lab"],
        ["install", f"x @ {URL}", "--base", "lab"],
        ["install", "toxicity", "--base", "lab", "--strategy", f"{URL}/mine.toml"],
        ["install", "x", "--base", "lab", "--html", f"{URL}/page.html"],
        ["list", "--base", URL],
        ["show", f"{URL}/x.ppm"],
        ["verify", URL],
        ["build", URL],
        ["build", ".", "--output", URL],
        ["compose", "x", "y", "--base", "lab", "--strategy", "merged", "-o", URL],
        ["download", "x", "--base", "lab", "--dest", URL],
        ["strategies", "show", URL],
        ["generate", "x", "--base", URL],
        ["lab", "info", "--data", URL],
        ["add", "x", "--base", URL],
    ],
    ids=" ".join,
)
def test_a_url_is_called_one_wherever_a_path_is_meant(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused = ppm(*arguments)
    assert refused.code in (1, 2)
    assert "URL" in refused.err
    assert refused.err.startswith("error: ")
    assert "Traceback" not in refused.err


@pytest.mark.parametrize("line", ['base = "{}"', 'sources = ["{}"]', 'strategy = "{}"', '[gates]\nsuites = ["{}"]'])
def test_a_url_in_the_project_s_file_is_called_one(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ppm.toml").write_text(line.format(URL) + "\n")
    refused = ppm("search", "x")
    assert (refused.code, "is a URL" in refused.err, "ppm.toml" in refused.err) == (1, True, True)
