"""Quiet, verbose and colorless output, and what a command says while it waits for another."""

import io
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from commands import command, ppm, start
from integration.deployed import deployed, patch, write

from ppm.cli.output import agreed
from ppm.environment.transaction import writer
from ppm.errors import RequestError
from ppm.workspace import Workspace, open_base


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    deployed(["app"], patch("app"))
    return write(tmp_path / "dist", patch("app", "2.0.0"))


def test_options_of_output_stand_before_a_command_too(source):
    assert ppm("-q", "upgrade", "--dry-run", "-f", source).err == ""
    assert ppm("--no-color", "list").code == 0


@pytest.mark.parametrize("place", [("-q",), ("--quiet",)])
def test_quiet_says_nothing_but_errors(source, place):
    assert ppm("upgrade", "--dry-run", "-f", source, *place).err == ""
    failed = ppm("install", "nowhere", *place)
    assert (failed.code, failed.out) == (3, "")
    assert failed.err.startswith("error: ")
    assert "app" in ppm("list", *place).out
    for arguments in (["hold", "app"], ["unhold", "app"], ["check"], ["verify"], ["cache", "prune"], ["search", "no"]):
        done = ppm(*arguments, *place, *(("-f", source) if arguments[0] == "search" else ()))
        assert (done.code, done.out, done.err) == (0, "", ""), arguments


def test_help_of_every_command_has_the_options_of_output():
    for words in (["install"], ["lock"], ["cache", "prune"], ["strategies"]):
        text = ppm(*words, "--help").out
        assert all(option in text for option in ("--quiet", "--verbose", "--no-color")), words


def test_errors_have_no_color_when_none_is_wanted(tmp_path):
    script = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"

    def colored(*arguments, **more):
        """Whether a command's error has a color on a terminal."""
        variables = {**os.environ, "PPM_HOME": str(tmp_path), "TERM": "xterm", **more}
        terminal = [sys.executable, "-c", script, *command("why", "x", *arguments)]
        done = subprocess.run(terminal, env=variables, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert "nothing is deployed" in done.stdout
        return "\x1b[" in done.stdout

    assert colored()
    assert not colored("--no-color")
    assert not colored(NO_COLOR="1")


def test_whoever_waits_is_told_for_whom(source, monkeypatch):
    monkeypatch.setenv("PPM_LOCK_TIMEOUT", "20")
    environment = Workspace.open(Path.cwd()).environment_for(open_base("lab"))
    held, let_go = threading.Event(), threading.Event()

    def hold():
        with writer(environment, command="ppm something long"):
            held.set()
            let_go.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(30)
    process = start("hold", "app", home=environment.home)
    line = process.stderr.readline()
    let_go.set()
    thread.join()
    process.communicate(timeout=120)
    assert line.startswith("Waiting for process ")
    assert "(`ppm something long`, since " in line
    assert "at most 20 s" in line
    assert process.returncode == 0


WRITERS = (
    "hold app",
    "unhold app",
    "rollback",
    "uninstall app",
    "verify --mend",
    "env remove LABEL --yes",
    "env drop 1",
    "quickstart",
)


@pytest.mark.parametrize("command", WRITERS)
def test_a_wait_ends_and_names_the_holder(source, monkeypatch, command):
    environment = Workspace.open(Path.cwd()).environment_for(open_base("lab"))
    arguments = command.replace("LABEL", environment.label).split()
    monkeypatch.setenv("PPM_LOCK_TIMEOUT", "0.2")
    started = time.monotonic()
    with writer(environment, command="ppm something long"):
        done = ppm(*arguments)
    assert done.code == 1
    assert "`ppm something long`" in done.err
    assert "waited 0.2 s" in done.err
    assert time.monotonic() - started < 10
    monkeypatch.setenv("PPM_LOCK_TIMEOUT", "soon")
    assert "PPM_LOCK_TIMEOUT: must be a number of seconds" in ppm(*arguments).err


def test_a_question_that_nobody_can_answer_is_no_interruption(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    with pytest.raises(RequestError, match="no terminal to answer"):
        agreed("Is that the fingerprint?")
