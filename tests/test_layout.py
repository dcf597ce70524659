"""The way down: a module imports only from parts above its own, and what is above the line needs no torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ppm

ROOT = Path(ppm.__file__).parent
PARTS = [
    "errors",
    "plugins",
    "document",
    "names",
    "suite",
    "building",
    "manifest",
    "jsonl",
    "package",
    "resources",
    "base",
    "sources",
    "resolve",
    "lock",
    "environment",
    "prefix",
    "evaluation",
    "training",
    "composition",
    "audit",
    "install",
    "lab",
    "cli",
]
LIGHT = PARTS[: PARTS.index("prefix")]


def part_of(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path, *, lazy):
    """Parts of ppm that a file imports; `lazy` ones too, inside functions."""
    tree = ast.parse(path.read_text())
    nodes = ast.walk(tree) if lazy else tree.body
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("ppm."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("ppm."))


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path):
    own = part_of(path)
    if own in ("__init__", "__main__"):
        return
    assert own in PARTS
    for other in imported(path, lazy=True):
        assert PARTS.index(other) <= PARTS.index(own), f"{path} imports {other}"


@pytest.mark.parametrize("part", LIGHT)
def test_what_is_above_the_line_needs_no_torch(part):
    script = f"import sys, ppm.{part}; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_every_module_says_what_it_is_for_and_what_it_offers():
    for path in ROOT.rglob("*.py"):
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), path
        if path.name != "__init__.py":
            names = [
                t.id
                for node in tree.body
                if isinstance(node, ast.Assign)
                for t in node.targets
                if isinstance(t, ast.Name)
            ]
            assert "__all__" in names, path
