"""Whatever others wrote, and wherever it goes: a terminal is safe, and no output ends in a traceback."""

import ast
import io
import json
import os
import pty
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from commands import command, ppm, start
from integration.deployed import deployed, patch, write

import ppm.cli as rooms
from ppm.cli.output import Styled, clean, print_json, print_table
from ppm.cli.output import write as print_line
from ppm.package import Package

HOSTILE = "\x1b]0;owned\x07\x9b31m\u202egnp.exe\r\x00\u2028"
PRINTERS = {"echo", "secho", "echo_via_pager", "confirm", "prompt", "print", "print_exc", "print_exception"}


def hostile_patch():
    """A patch whose every free text, keys included, tries something on a terminal."""
    package = patch("app", "1.0.0")
    scores = {f"{HOSTILE}suite": {f"{HOSTILE}base": f"{HOSTILE}0.5"}}
    manifest = replace(package.manifest, provenance={"scores": scores, HOSTILE: HOSTILE})
    return Package(manifest, package.bank, package.files)


def in_ascii(*arguments):
    """What a command prints where the output can show nothing but ASCII."""
    variables = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    return subprocess.run(command(*arguments), env=variables, capture_output=True, text=True, encoding="ascii")


def test_nothing_prints_but_the_writer():
    for path in sorted(Path(rooms.__path__[0]).glob("*.py")):
        if path.name == "output.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = node.func
                name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
                assert name not in PRINTERS or getattr(called, "id", "") == "confirm", (path, node.lineno)
            if isinstance(node, ast.Attribute):
                assert node.attr not in ("stdout", "stderr"), (path, node.lineno)


def test_keys_and_values_of_others_reach_no_terminal_as_they_are(tmp_path):
    folder = write(tmp_path / "dist", hostile_patch())
    shown = ppm("show", next(folder.iterdir()))
    assert shown.code == 0
    assert "suite" in shown.out
    assert clean(shown.out) == shown.out


def test_json_escapes_what_a_terminal_would_obey_and_keeps_the_text(tmp_path):
    folder = write(tmp_path / "dist", hostile_patch())
    shown = ppm("show", next(folder.iterdir()), "--json")
    assert clean(shown.out) == shown.out
    assert shown.json["manifest"]["provenance"][HOSTILE] == HOSTILE


@pytest.mark.parametrize("text", ["\x7f", "\x85", "\u200e", "\u061c", "\u2066x\u2069", "\udce9", "é✓😀"])
def test_every_text_comes_back_from_the_json(text, capsys):
    print_json({text: [text]})
    printed = capsys.readouterr().out
    assert json.loads(printed) == {text: [text]}
    printed.encode()


def test_colors_are_the_writers_alone(monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    out.isatty = lambda: True
    print_line([Styled("fine", "green"), " \x1b[31mred\x1b[0m"])
    print_table(["A"], [["\x1b[31mred"], [[Styled("ok", "green"), "\x1b[1m!"]]])
    assert out.getvalue().splitlines() == [
        "\x1b[32mfine\x1b[0m ?[31mred?[0m",
        "\x1b[1mA\x1b[0m",
        "?[31mred",
        "\x1b[32mok\x1b[0m?[1m!",
    ]


def test_columns_stand_where_they_should(capsys):
    print_table(["Name", "n"], [["a\tb\nc", "1"], [[Styled("x", "red"), "y"], "22"], ["", ""]], right=[1])
    assert capsys.readouterr().out.splitlines() == ["Name    n", "a b c   1", "xy     22", ""]


def test_an_output_that_can_not_show_a_character_gets_what_it_can(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    core, app = patch("core"), patch("app", needs={"core": "*"})
    described = replace(core.manifest, patch=replace(core.manifest.patch, summary="Naïve ✓ 😀"))
    core = Package(described, core.bank, core.files)
    deployed(["app"], app, core)
    file = next(write(tmp_path / "dist", core).iterdir())
    shown = in_ascii("show", file)
    assert (shown.returncode, "Na\\xefve \\u2713 \\U0001f600" in shown.stdout) == (0, True)
    assert json.loads(in_ascii("show", file, "--json").stdout)["manifest"]["patch"]["summary"] == "Naïve ✓ 😀"
    assert in_ascii("tree").stdout.splitlines() == ["app 1.0.0", "`-- core 1.0.0"]
    refused = in_ascii("why", "naïve✓")
    assert (refused.returncode, "Traceback" in refused.stderr) == (1, False)


def test_a_reader_who_goes_away_changes_no_exit_code(tmp_path):
    bad = tmp_path / "bad.ppm"
    bad.write_bytes(b"nothing")
    for stream in ("stdout", "stderr"):
        process = start("verify", bad, home=tmp_path)
        getattr(process, stream).close()
        assert process.wait(60) == 4
        assert stream == "stderr" or process.stderr.read().startswith(f"error: not sound: {bad}\nhint: ")


def test_data_goes_where_it_was_sent_while_bars_are_shown(tmp_path):
    script = (
        "from ppm.cli.output import write\nfrom ppm.cli.progress import shown\n"
        "with shown() as events:\n"
        "    events.progress('[red]\\x1b[2J', 1, 2)\n    events.tell('hello \\x1b[2J')\n    write('data')\n"
    )
    leader, follower = pty.openpty()
    variables = {**os.environ, "TERM": "xterm"}
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=follower, env=variables)
    os.close(follower)
    terminal = os.read(leader, 100_000).decode()
    assert (done.returncode, done.stdout) == (0, b"data\n")
    assert "hello ?[2J" in terminal
    assert "\x1b[2J" not in terminal
    assert "[red]?[2J" in terminal


def test_the_traceback_of_an_error_or_a_bug_is_harmless_too(tmp_path):
    told = ppm("strategies", "show", "x\x1b]0;owned\x07", "--debug")
    assert "Traceback" in told.err
    assert clean(told.err) == told.err
