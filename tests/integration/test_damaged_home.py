"""Every file under PPM_HOME in turn is cut, emptied, zeroed, changed, removed or replaced by a folder.

The files are found by walking a home that has everything in it, so that a new kind of file is tried as well. Whatever a
command then says is either what it said before, or it tells of the damage in one message; and there is a way back.
"""

import os
import re
import shutil
from pathlib import Path

import pytest
import torch
from commands import ppm
from integration.deployed import deployed, patch, write

from ppm.environment.attempts import Asked, GatedAttempt, ledger_of
from ppm.errors import PpmError
from ppm.evaluation.results import ResultStore
from ppm.jsonl import Pair
from ppm.runtime.tensors import bank_of, prefix_of
from ppm.training.pairs import Collected, Counts
from ppm.training.stages import Stages

KEY = "ab" * 32
BASE, SUITE = "sha256:" + "1" * 64, Asked.of("s", ["one", "two"])


def attempt(composition):
    return GatedAttempt(composition, "distilled", 0)


def _flipped(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :] if data else b"x"


DAMAGE = {
    "halved": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "emptied": lambda path: path.write_bytes(b""),
    "zeroed": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "changed": lambda path: path.write_bytes(_flipped(path.read_bytes())),
    "removed": lambda path: path.unlink(),
    "replaced by a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """(a home with everything in it, a source, a project)."""
    top = tmp_path_factory.mktemp("whole")
    home, source, project = top / "home", top / "source", top / "project"
    before = os.environ["PPM_HOME"], Path.cwd()
    os.environ["PPM_HOME"] = str(home)
    try:
        write(source, patch("app"), patch("app", "2.0.0"), patch("core"))
        deployed(["app"], patch("app"), rates=0.2)
        deployed(["app", "core"], patch("app"), patch("core"))
        deployed(["core"], patch("core"), env="staging")
        assert ppm("hold", "app", "--base", "lab", "--reason", "audited by hand").code == 0
        project.mkdir()
        (project / "ppm.toml").write_text(f'base = "lab"\npatches = ["app"]\nsources = ["{source}"]\n')
        os.chdir(project)
        assert ppm("lock").code == 0
        assert ppm("outdated", "-f", source, "--base", "lab").code == 0
        ledger = ledger_of(home, BASE)
        assert [ledger.begin(attempt(c), [SUITE])["s"] for c in "abc"] == [1, 2, 3]
        ledger.end(attempt("a"), "fail")
        results = ResultStore(home / "cache" / "results", "weights")
        results.put(KEY, {"one": (0.0, ("fine",)), "two": (1.0, ("bad",))})
        stages = Stages(home / "cache" / "training")
        stages.keep_bank("sha256:" + KEY, bank_of(torch.ones(2, 4)))
        pairs = (Pair("one", "good", "bad"),)
        stages.keep_collected("sha256:" + KEY, Collected(pairs, Counts(1, 1, 1, 1)), {"teacher": "t"})
    finally:
        os.environ["PPM_HOME"] = before[0]
        os.chdir(before[1])
    return home, source, project


def files_in(home):
    """Every file, by its path below the home."""
    return sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())


def commands(source):
    """What a user looks at, by name: the arguments of ppm."""
    return {
        "list": ("list", "--base", "lab", "--json"),
        "list staging": ("list", "--base", "lab", "--env", "staging", "--json"),
        "history": ("history", "--base", "lab", "--json"),
        "metrics": ("history", "--base", "lab", "--metrics", "--json"),
        "diff": ("diff", "1", "2", "--base", "lab", "--json"),
        "environments": ("env", "list", "--json"),
        "holds": ("hold", "--base", "lab", "--json"),
        "install": ("install", "core", "--base", "lab", "-f", source, "--dry-run", "--json"),
        "verify": ("verify", "--base", "lab"),
    }


def seen(home, source):
    """What each command says, and what the evidence is that none of them shows."""
    found = {name: ppm(*arguments) for name, arguments in commands(source).items()}
    return found, _attempts(home), _kept(home)


def _attempts(home):
    try:
        return ledger_of(home, BASE).begin(attempt("d"), [SUITE])["s"]
    except PpmError as error:
        return str(error)


def _kept(home):
    stages = Stages(home / "cache" / "training")
    bank, collected = stages.bank("sha256:" + KEY), stages.collected("sha256:" + KEY)
    return (
        ResultStore(home / "cache" / "results", "weights").get(KEY),
        prefix_of(bank).tolist() if bank is not None else None,
        (len(collected[0].pairs), collected[1]) if collected else None,
    )


def copied(whole, tmp_path, monkeypatch):
    """A fresh copy of the home, always in the same place, with the source."""
    home, source, project = whole
    target = tmp_path / "home"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(home, target)
    monkeypatch.setenv("PPM_HOME", str(target))
    monkeypatch.chdir(project)
    return target, source


def test_the_home_has_everything_in_it(whole):
    kinds = {re.sub(r"[0-9a-f]{32,}|[0-9a-f]{2}(?=/)|\d{6}", "*", path) for path in files_in(whole[0])}
    attempts = "attempts/base-*.jsonl", "attempts/prompts/*"
    for kind in ("holds.toml", *attempts, "current", "audit.json", "prefix.safetensors", "ppm.lock"):
        assert any(path.endswith(kind) for path in kinds), kind
    for folder in ("store/", "cache/results/", "cache/training/prefixes/", "cache/sources/", "projects/"):
        assert any(path.startswith(folder) for path in kinds), folder
    assert len(files_in(whole[0])) > 30


@pytest.mark.parametrize("damage", list(DAMAGE))
def test_damage_to_any_file_is_told_or_harmless_and_can_be_mended(whole, tmp_path, monkeypatch, damage):
    healthy, source = copied(whole, tmp_path, monkeypatch)
    said, attempts, kept = seen(healthy, source)
    assert {name: result.code for name, result in said.items()} == dict.fromkeys(said, 0)
    assert attempts == 4
    assert None not in kept
    wrong = []
    for path in files_in(whole[0]):
        home, _ = copied(whole, tmp_path, monkeypatch)
        DAMAGE[damage](home / path)
        now, counted, read = seen(home, source)
        wrong += [f"{path}: {fault}" for fault in _faults(said, now)]
        if counted != attempts and not re.search("ppm verify --mend|move it away", str(counted)):
            wrong.append(f"{path}: {counted} attempts are counted")
        if any(part not in (good, None, {}) for part, good in zip(read, kept, strict=True)):
            wrong.append(f"{path}: another result or stage is read")
        wrong += [f"{path}: {fault}" for fault in _unmended(home, home / path, source)]
    assert wrong == [], "\n".join(wrong)


def _faults(said, now):
    """What commands got wrong: other words than before without a word of damage, or more than a message."""
    for name, result in now.items():
        if "Traceback" in result.err:
            yield f"{name} has a traceback: {result.err[-500:]}"
        elif result.code not in (0, 1, 4):
            yield f"{name} exits {result.code}: {result.err}"
        elif result.code == 0 and _plain(result.out) != _plain(said[name].out) and not _tells(result):
            yield f"{name} says without a warning: {result.out[:300]}"
        elif result.code and name != "verify" and result.err.count("error:") != 1:
            yield f"{name} exits {result.code} and says {result.err!r}"
        elif result.code and not result.err + result.out:
            yield f"{name} exits {result.code} without a word"


def _plain(text):
    """The text without where a file would be taken from, which may be elsewhere once it is lost here."""
    return re.sub(r'"source": "[^"]*"', "", text)


def _tells(result):
    text = (result.out + result.err).casefold()
    words = (
        "damaged",
        '"error"',
        "(not in force)",
        "which deployment is in force",
        "the store lacks",
        "can't be read",
    )
    return any(word in text for word in words)


def _unmended(home, path, source):
    """What the ways back that messages name don't mend."""
    if path.is_dir():
        path.rmdir()  # "move it away"
    ppm("verify", "--base", "lab", "--mend")
    if ppm("verify", "--base", "lab").code == 4:
        ppm("install", "app", "core", "--base", "lab", "-f", source)
    if ppm("verify", "--base", "lab").code == 4:
        ppm("rollback", "1", "--base", "lab")
    ppm("env", "drop", "--damaged", "--base", "lab")
    found = ppm("verify", "--base", "lab", "--all")
    if found.code != 0:
        yield f"verify still exits {found.code}: {found.out}{found.err}"
    held = ppm("hold", "app", "--base", "lab", "--json")
    if held.code != 0:
        yield f"nothing can be held: {held.err}"
    if not isinstance(_attempts(home), int):
        yield f"attempts can't be counted: {_attempts(home)}"
    again = ppm("install", "core", "--base", "lab", "-f", source, "--dry-run")
    if again.code != 0:
        yield f"nothing can be installed: {again.err}"
