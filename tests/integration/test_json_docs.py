"""What docs/json.md says that `--json` prints is what it prints."""

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest
from commands import ppm
from gguf_files import write_gguf
from integration.deployed import deployed, patch, write

from ppm.audit.comparison import Comparison
from ppm.bases.fetch import import_base
from ppm.bases.kept import folder_of

TEXT = (Path(__file__).parent.parent.parent / "docs" / "json.md").read_text()
TYPES = {"string": str, "integer": int, "number": (int, float), "boolean": bool}


def shape_of(command):
    """The shape that is documented for a command."""
    for words, block in re.findall(r"\n\n([^\n#`]*`[^\n]*(?:\n[^\n]+)*?)\n\n```json\n(.*?)```", TEXT, re.DOTALL):
        if f"`{command}`" in words:
            return json.loads(block)
    raise AssertionError(f"docs/json.md says nothing of {command}")


def differs(value, shape, where="the value"):
    """Where a value is not of a shape, or None. Keys that are not in the shape are new ones."""
    if shape == "any":
        return None
    if isinstance(shape, str):
        if value is None:
            return None if shape.endswith("?") else f"{where} is null"
        wanted = TYPES[shape.removesuffix("?")]
        sound = isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool))
        return None if sound else f"{where} is {value!r}, not {shape}"
    if isinstance(shape, list):
        if not isinstance(value, list):
            return f"{where} is no list"
        found = (differs(item, shape[0], f"{where}[{i}]") for i, item in enumerate(value))
        return next((fault for fault in found if fault), None)
    if not isinstance(value, dict):
        return f"{where} is no table"
    keys = dict.fromkeys(value, shape["*"]) if "*" in shape else shape
    found = (
        differs(value[key], of, f"{where}.{key}") if key in value else f"{where} lacks {key}"
        for key, of in keys.items()
    )
    return next((fault for fault in found if fault), None)


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    core = patch("core")
    deployed(["app"], patch("app", needs={"core": "*"}), core)
    deployed(["app", "tool"], patch("app", "1.1.0", {"core": "*"}), core, patch("tool"))
    (tmp_path / "ppm.toml").write_text('base = "lab"\npatches = ["app"]\nsources = ["dist"]\n')
    return write(tmp_path / "dist", patch("app", "2.0.0", {"core": "*"}), core)


@pytest.mark.parametrize(
    "arguments",
    [
        ["list"],
        ["outdated"],
        ["show", "app"],
        ["tree"],
        ["why", "core"],
        ["check"],
        ["advisories"],
        ["verify"],
        ["freeze"],
        ["history"],
        ["history", "--metrics"],
        ["log"],
        ["diff"],
        ["env", "list"],
        ["use", "lab"],
        ["hold", "tool"],
        ["unhold", "tool"],
        ["env", "drop", "1"],
        ["env", "remove"],
        ["rollback"],
        ["lock"],
        ["add", "core"],
        ["remove", "app"],
        ["search", "app"],
        ["download", "app"],
        ["base", "list"],
        ["base", "import", "tiny.gguf", "--output", "made"],
        ["base", "remove", "smollm2", "--yes"],
        ["cache", "info"],
        ["cache", "prune"],
        ["config"],
        ["strategies"],
        ["judges"],
    ],
    ids=" ".join,
)
def test_what_is_printed_is_as_documented(world, ppm_home, arguments):
    given = ("app", "core", "tool", "lab", "1", "tiny.gguf", "--output", "made", "smollm2", "--yes")
    documented = " ".join(word for word in arguments if word not in given)
    if arguments[0] == "base":
        write_gguf(Path("tiny.gguf"))
        import_base(Path("tiny.gguf"), folder_of("smollm2", ppm_home), tell=str)
    if arguments == ["remove", "app"]:
        ppm("add", "core")
    if arguments == ["unhold", "tool"]:
        ppm("hold", "app", "tool")
    if arguments == ["env", "remove"]:
        arguments = [*arguments, ppm("env", "list", "--json").json[0]["environment"], "--yes"]
    done = ppm(*arguments, "--json")
    assert done.code == 0, done.err
    assert done.json
    assert differs(done.json, shape_of(documented)) is None


def test_a_dry_run_is_as_documented_but_for_what_it_did_not_do(world):
    shape = shape_of("install")
    plan = {key: of for key, of in shape.items() if key not in ("changed", "deployment", "path", "audit")}
    for arguments in (["install", "core"], ["upgrade"], ["uninstall", "tool"], ["autoremove"]):
        assert differs(ppm(*arguments, "--dry-run", "--json").json, plan) is None, arguments


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        (1, "string"),
        (None, "integer"),
        (True, "integer"),
        ([1], ["string"]),
        ({}, {"a": "any"}),
        ({"x": 1}, {"*": "string"}),
    ],
)
def test_a_difference_would_be_noticed(value, shape):
    assert differs(value, shape) is not None


def test_every_field_of_a_comparison_is_documented():
    assert set(shape_of("audit")["comparisons"][0]) == {field.name for field in fields(Comparison)}
