"""`ppm base`: fetching, importing, listing, showing and removing bases from the command line."""

import shutil

import pytest
from commands import imported, ppm
from gguf_files import write_gguf
from integration.deployed import FINGERPRINT, deployed, patch

from ppm.base import identify
from ppm.bases.catalogue import REAL_BASES
from ppm.bases.kept import ORIGIN_FILE, Origin
from ppm.lock import LockedBase
from ppm.resources import lab_data

PACKAGES = lab_data() / "packages"
INSTALL = ("install", "toxicity", "--base", "smollm2", "--find-links", PACKAGES, "--strategy", "merged")


@pytest.fixture
def kept(ppm_home):
    """A PPM_HOME with a base called smollm2, which is the lab's in truth."""
    folder = ppm_home / "bases" / "smollm2"
    shutil.copytree(lab_data() / "base", folder)
    fingerprint = identify(folder).fingerprint
    origin = Origin(1, "wheel", fingerprint, "bfloat16", name="smollm2", licence="Apache-2.0")
    (folder / ORIGIN_FILE).write_bytes(origin.render())
    return folder


def test_a_base_that_is_not_fetched_yet_says_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "smollm2").mkdir()
    for command in ("generate hello", "install toxicity", "compose toxicity --strategy merged -o x"):
        done = ppm(*command.split(), "--base", "smollm2")
        assert done.code == 1
        assert "smollm2: has not been fetched yet\nhint: `ppm base fetch smollm2` does it" in done.err
    assert "`ppm base fetch gemma3-270m --from hub` does it" in ppm("generate", "hi", "--base", "gemma3-270m-hub").err


def test_a_fetched_base_has_its_name_everywhere(kept, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = ppm("generate", "hello", "--base", "smollm2", "--unpatched", "--max-new-tokens", "2")
    assert done.code == 0, done.err
    done = ppm(*INSTALL, "--dry-run")
    assert done.code == 0, done.err
    (tmp_path / "ppm.toml").write_text('base = "smollm2"\npatches = ["toxicity"]\n')
    done = ppm("lock", "--find-links", PACKAGES)
    assert done.code == 0, done.err
    assert 'model = "smollm2"' in (tmp_path / "ppm.lock").read_text()


def test_a_mistyped_name(ppm_home):
    assert "did you mean 'smollm2'?" in ppm("base", "fetch", "smolm2").err
    assert "did you mean 'smollm2'?" in ppm("base", "fetch", "SmolLM2").err
    assert "did you mean 'smollm2'?" in ppm("generate", "hi", "--base", "smolm2").err
    assert "did you mean 'gemma3-270m'?" in ppm("base", "show", "gemma-270m").err
    assert "did you mean 'smollm2'?" in ppm("base", "remove", "smollm", "--yes").err


def test_terms_are_shown_and_asked_for_before_anything_is_kept(tmp_path, monkeypatch, ppm_home):
    from gguf_files import real_base

    base = real_base(tmp_path / "wheels", write_gguf(tmp_path / "tiny.gguf").read_bytes(), asked=True)
    monkeypatch.setitem(REAL_BASES, "tiny", base)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    refused = ppm("base", "fetch", "tiny")
    assert refused.code == 1
    assert "Be kind." in refused.err
    assert "the Kind License must be accepted first; nothing was kept" in refused.err
    assert "--accept-license: https://example.org/kind" in refused.err
    assert not (ppm_home / "bases" / "tiny").exists()
    taken = ppm("base", "fetch", "tiny", "--accept-license", "--json")
    assert taken.code == 0, taken.err
    assert taken.json["licence"] == "Kind License"
    assert len(taken.json["accepted"]) == len("2026-11-26")
    assert not taken.json["was_there"]
    again = ppm("base", "fetch", "tiny")
    assert (again.code, "is there already" in again.out) == (0, True)
    shown = ppm("base", "show", "tiny")
    assert "accepted: 20" in shown.out
    assert "sha256:" in shown.out


def test_list_show_and_remove(kept, ppm_home):
    listed = {row["name"]: row for row in ppm("base", "list", "--json").json}
    assert set(listed) == {"lab", "smollm2", "gemma3-270m"}
    assert listed["smollm2"]["folder"] == str(kept)
    assert listed["gemma3-270m"]["folder"] is None
    assert "not fetched" in ppm("base", "list").out
    assert ppm("base", "show", "smollm2", "--json").json["fingerprint"] == identify(kept).fingerprint
    assert "download: 238,203,400" in ppm("base", "show", "gemma3-270m").out
    asked = ppm("base", "remove", "smollm2")
    assert (asked.code, "use --yes" in asked.err) == (1, True)
    assert ppm("base", "remove", "smollm2", "--yes").code == 0
    assert not kept.exists()
    again = ppm("base", "remove", "smollm2", "--yes")
    assert (again.code, "not kept here" in again.err) == (1, True)


def test_removing_says_which_environments_need_it(kept):
    deployed(["app"], patch("app"), base=LockedBase("smollm2", FINGERPRINT))
    [row] = ppm("env", "list", "--json").json
    removed = ppm("base", "remove", "smollm2", "--yes", "--json")
    assert removed.json == {"removed": "smollm2", "environments": [row["environment"]]}
    assert "`ppm base fetch smollm2` does it" in ppm("generate", "hi").err


def test_a_gguf_is_imported_and_used(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_gguf(tmp_path / "tiny.gguf")
    made = ppm("base", "import", "tiny.gguf", "--output", "mine")
    assert (made.code, made.out) == (0, "Made mine in bfloat16. Use it as --base mine.\n"), made.err
    assert ppm("generate", "hell", "--base", "mine", "--unpatched", "--max-new-tokens", "2").code == 0
    assert "tiny.gguf sha256:" in ppm("base", "show", "mine").out
    again = ppm("base", "import", "tiny.gguf", "--output", "mine")
    assert (again.code, "is there already" in again.err) == (1, True)


def test_what_can_not_be_imported_is_one_message(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "empty").mkdir()
    for source in ("notes.txt", "nothing.gguf", "empty", "https://example.org/x.gguf"):
        done = ppm("base", "import", source, "--output", "mine")
        assert done.code in (1, 2), source
        assert done.err.count("error:") == done.err.count("hint:") == 1, done.err
        assert "Traceback" not in done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "notes.txt"]


def test_a_damaged_record_says_what_to_do(kept):
    (kept / ORIGIN_FILE).write_text("schema = 1\nsource = 7\n")
    done = ppm("base", "fetch", "smollm2")
    assert (done.code, "remove the folder" in done.err) == (1, True)


@pytest.mark.parametrize("arguments", [["base", "list"], ["base", "show", "smollm2"], ["base", "fetch", "smolm2"]])
def test_no_command_about_what_is_kept_needs_torch(arguments):
    _, modules = imported(*arguments)
    assert not {"torch", "transformers", "numpy"} & modules


@pytest.mark.parametrize("revision", ["main", "1" * 39, "Z" * 40])
def test_a_revision_is_a_whole_commit(revision):
    done = ppm("base", "fetch", "smollm2", "--from", "hub", "--revision", revision)
    assert (done.code, "all 40 digits" in done.err) == (1, True)
    assert "is for --from hub" in ppm("base", "fetch", "smollm2", "--revision", "1" * 40).err
