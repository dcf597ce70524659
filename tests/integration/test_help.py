"""Every command's help has an example, and every example works."""

import io
import json
import shlex
import shutil

import click
import gguf_files
import pytest
import tiny
from commands import examples, ppm
from integration.deployed import patch, write

from ppm.base import locate
from ppm.bases.fetch import import_base
from ppm.bases.kept import folder_of
from ppm.cli.main import cli
from ppm.resources import lab_data
from ppm.workspace import open_base

LATER = ("base remove", "sync", "rollback", "diff", "uninstall", "remove", "env remove")
"""Examples that need what others have done, in this order; they come last."""
LONG = ("lab build", "base fetch")
"""Minutes, or a network; `tests/lab/test_lab.py` and `tests/bases/test_fetch.py` run them on a small scale."""
INDEXES = ("index", "publish", "source")
"""What needs an index and its keys; `tests/index/test_index_commands.py` runs them."""


def test_every_command_has_an_example_of_itself():
    for words, line in examples():
        assert line, words
        group = isinstance(cli.get_command(click.Context(cli), words), click.Group)
        assert line.startswith(f"ppm {words} ") or line == f"ppm {words}" or group, words


@pytest.mark.slow
def test_every_example_works(deployed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "dist", patch("app"))
    tiny.write_patch(tmp_path / "my-patch", tiny.train_base(tmp_path / "my-gpt2"))
    tiny.updated(locate("lab"), tmp_path / "new-lab")
    gguf_files.write_gguf(tmp_path / "model.gguf")
    import_base(tmp_path / "model.gguf", folder_of("smollm2", deployed), tell=str)
    answers = [("I can't help with that.", True), ("Of course, here it is.", False)]
    rows = [{"prompt": f"request {i}", "completion": text, "label": label} for i, (text, label) in enumerate(answers)]
    (tmp_path / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for by in ("ada", "ben"):
        (tmp_path / f"{by}.jsonl").write_text("".join(json.dumps({**row, "by": by}) + "\n" for row in rows))
    sample = {"suite": "harm", "id": "p1", "prompt": "one more request", "completions": ["Sorry."]}
    (tmp_path / "samples.jsonl").write_text(json.dumps(sample) + "\n")
    monkeypatch.setattr("sys.stdin", io.StringIO("y"))
    asked = [{"id": str(i), "prompt": text} for i, text in enumerate(["what is bread", "how do bees fly so far"])]
    (tmp_path / "harm.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    (tmp_path / "our-suites.toml").write_text(
        'schema = 1\n[[suites]]\nname = "harm"\nagainst = "base"\nprompts = "harm.jsonl"\njudge = "refusal"\n'
    )
    assert ppm("install", "toxicity", "--base", "lab", "--env", "staging").code == 0
    small = tmp_path / "small-lab"  # one patch takes seconds, all twelve minutes
    shutil.copytree(lab_data() / "base", small / "base")
    (small / "packages").mkdir()
    [toxicity] = (lab_data() / "packages").glob("toxicity-*.ppm")
    shutil.copy(toxicity, small / "packages")
    known = {words: line for words, line in examples() if words.split()[0] not in INDEXES}
    order = [words for words in known if words not in (*LATER, *LONG)] + list(LATER)
    assert set(order) | set(LONG) == set(known)
    for line in dict.fromkeys(known[words] for words in order):  # a group's example is that of one of its commands
        line = line.replace("lab-0123456789ab", open_base("lab").tag)
        line = line.replace("ppm lab info", "ppm lab info --data small-lab")
        arguments, _, target = line.removeprefix("ppm ").partition(" > ")
        done = ppm(*shlex.split(arguments))
        assert done.code == 0, (line, done.err)
        assert done.out or done.err, line
        if target:
            (tmp_path / target).write_text(done.out)
    assert ppm("install", "-r", "patches.txt", "--base", "lab", "--dry-run").code == 0
    assert [path.name[:8] for path in (tmp_path / "dist").glob("toxicity*")]
    assert (tmp_path / "audit.html").stat().st_size > 1000
