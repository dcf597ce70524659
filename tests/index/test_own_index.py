"""The example of an index of one's own runs, and docs/json.md says what its owner and users get as JSON."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import ppm
from index.indexes import one_patch, trust

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_example_runs(answered, tmp_path):
    shutil.copytree(answered / "cache", tmp_path / "work" / "home" / "cache")
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "own-index" / "run.py", tmp_path / "work"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "toxicity==1.0.0  (from http://127.0.0.1:" in done.stdout
    assert "Deployed toxicity==1.0.0 as deployment 1" in done.stdout
    for verdict in ("VENDOR-2026-1, toxicity==1.0.0: affected", "VENDOR-2026-2, toxicity==1.0.0: not affected"):
        assert f"{verdict}: fails on " in done.stdout
    assert "Withdrew VENDOR-2026-1 on toxicity 1.0.0" in done.stdout
    _, withdrawn = done.stdout.split("Withdrew", 1)
    assert "VENDOR-2026-2, toxicity==1.0.0: not affected" in withdrawn
    assert ": affected" not in withdrawn
    assert "Yanked toxicity 1.0.0 (1 file): there is a better one" in done.stdout
    assert "has a file that is not the signed one" in done.stderr
    assert not (tmp_path / "work" / "got").exists() or not any((tmp_path / "work" / "got").iterdir())


def test_json_is_as_documented(tmp_path, ppm_home):
    owned = one_patch(tmp_path / "index")
    text = (ROOT / "docs" / "json.md").read_text()
    index = trust(ppm_home, owned.folder.as_uri(), owned.first_root)
    (index.folder.parent / "sources.toml").write_text(
        f'schema = 1\n[[sources]]\nname = "acme"\nurl = "{index.url}"\n', encoding="utf-8"
    )
    for command, arguments in {"source list": (), "index status": (str(owned.folder),)}.items():
        shape = json.loads(re.search(rf"`{command}`:\n\n```json\n(.*?)```", text, re.DOTALL)[1])
        found = ppm(*command.split(), *arguments, "--json").json
        assert keys_of(found) == keys_of(shape)


def keys_of(value):
    """The keys of nested tables; of a list, those of its first entry."""
    if isinstance(value, list):
        return [keys_of(value[0])]
    return {key: keys_of(item) for key, item in value.items()} if isinstance(value, dict) else None
