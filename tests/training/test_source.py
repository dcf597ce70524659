"""Source manifests: what a suite's judge and a filter judge may be, told before anything is trained."""

import json
from dataclasses import replace

import pytest
from tiny import config, make_tokenizer, write_patch
from transformers import AutoModelForCausalLM

from ppm.base import ModelName
from ppm.errors import ManifestError, ModelError
from ppm.resources import lab_manifests
from ppm.training.check import check_source, groups_in
from ppm.training.source import base_name, base_of, read_source
from ppm.training.teacher import check_teacher, load_teacher
from ppm.training_table import Teacher

LEXICON = '{ name = "lexicon", words = "suites/bad.txt" }'


def source(tmp_path, judge):
    manifest = write_patch(tmp_path / "patch", tmp_path / "base") / "patch.toml"
    text = manifest.read_text()
    assert LEXICON in text
    manifest.write_text(text.replace(LEXICON, judge))
    return manifest


def test_a_suite_that_would_be_packaged_names_no_folder(tmp_path):
    with pytest.raises(ManifestError, match="never a folder") as caught:
        read_source(source(tmp_path, f'{{ name = "detoxify", model = "{tmp_path}" }}'))
    assert "suite kind" in caught.value.context
    assert "NAME@COMMIT" in caught.value.hint


def test_a_hub_model_with_its_commit_is_taken(tmp_path):
    read = read_source(source(tmp_path, f'{{ name = "detoxify", model = "some/judge@{"0" * 40}" }}'))
    assert read.manifest.suites[0].judge.name == "detoxify"


@pytest.mark.parametrize("name", ["suites/main.jsonl", "pairs.jsonl", "benign.jsonl"])
def test_one_chat_anywhere_ties_a_patch_to_the_chat_template(tmp_path, name):
    manifest = source(tmp_path, LEXICON)
    assert not read_source(manifest).has_chats
    path = manifest.parent / name
    first, *others = path.read_text().splitlines()
    row = {key: value for key, value in json.loads(first).items() if key != "prompt"}
    row["messages"] = [{"role": "user", "content": "say w0 w0 :"}]
    path.write_text("\n".join([json.dumps(row), *others]))
    assert read_source(manifest).has_chats


@pytest.fixture
def base(tmp_path):
    """A base model in a folder with an @ in its name."""
    folder = tmp_path / "m@del"
    AutoModelForCausalLM.from_config(config()).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


def test_a_folder_with_an_at_sign_is_the_base_of_a_build(base, tmp_path, monkeypatch):
    manifest = write_patch(tmp_path / "patch", tmp_path / "absent") / "patch.toml"
    monkeypatch.chdir(tmp_path)
    read = read_source(manifest)
    for named in (str(base), "m@del"):
        assert base_of(read, named).folder.resolve() == base
        assert "can be built" in check_source(manifest, named)[0]
    with pytest.raises(ModelError, match="needs a commit"):
        base_of(read, "m@gone")


def test_a_folder_with_an_at_sign_is_a_teacher(base, tmp_path):
    for teacher, folder in ((Teacher("m@del"), tmp_path), (Teacher(str(base)), tmp_path / "patch")):
        check_teacher(teacher, folder)
        assert load_teacher(teacher, folder)[0].folder == base


def test_a_manifests_commit_holds_whatever_folders_there_are(tmp_path, monkeypatch):
    read = read_source(write_patch(tmp_path / "patch", tmp_path / "base"))
    hub = replace(read.manifest.base, model="acme/tiny", revision="a" * 40)
    read = replace(read, manifest=replace(read.manifest, base=hub))
    (tmp_path / "acme" / "tiny").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert base_name(read) == ModelName("acme/tiny", "a" * 40)
    assert base_name(read).folder is None
    assert base_name(read, "acme/other") == ModelName("acme/other", "a" * 40)
    assert base_name(read, "acme/tiny").folder is not None


def test_a_data_file_that_is_there_and_cannot_be_read_is_no_missing_one(tmp_path):
    manifest = write_patch(tmp_path / "patch", tmp_path / "base") / "patch.toml"
    text = manifest.read_text() + '\n[training.datasets]\n"benign.jsonl" = "some/data"\n'
    manifest.write_text(text)
    (tmp_path / "patch" / "benign.jsonl").unlink()
    assert read_source(manifest).absent == ("benign.jsonl",)
    (tmp_path / "patch" / "benign.jsonl").mkdir()
    with pytest.raises(ManifestError, match=r"benign.jsonl, which can't be read: Is a directory"):
        read_source(manifest)


def test_a_teacher_that_answers_nothing_may_be_gone(base, tmp_path):
    manifest = write_patch(tmp_path / "patch", base) / "patch.toml"
    text = manifest.read_text()
    assert "[training]\n" in text
    manifest.write_text(text.replace("[training]\n", '[training]\nteacher = "./gone"\n'))
    assert "can be built" in check_source(manifest)[0]


def test_a_source_of_schema_2_is_tested_in_groups_and_one_of_schema_1_is_told_of_them(tmp_path):
    folder = write_patch(tmp_path / "patch", tmp_path / "base")
    path = folder / "patch.toml"
    (told,) = [line for line in groups_in(read_source(path)) if line.startswith("kind: ")]
    assert told.startswith("kind: 240 prompts")
    assert "schema = 2" in told
    path.write_text(path.read_text().replace("schema = 1", "schema = 2", 1))
    with pytest.raises(ManifestError, match=r"groups of 240 prompts, too few") as caught:
        read_source(path)
    assert "groups; 250 is a good number" in caught.value.hint
    words = [f"{a}{b}{c}" for a in "bdfgk" for b in "aeiou" for c in "lmnprstvwz"]
    rows = [{"id": w, "prompt": " ".join(w[i:] + w[:i] + w for i in range(3)), "group": w} for w in words]
    (folder / "suites" / "main.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_source(path)
    assert found.manifest.suites[0].group == "group"
    enough = "enough to show that 0.8 of an effect is kept if it is at least 0.08"
    assert groups_in(found) == [f"kind: 250 groups of 250 prompts, {enough}"]


def test_examples_of_a_trigger_say_whether_they_concern_the_patch(tmp_path):
    manifest = source(tmp_path, LEXICON)
    manifest.write_text(manifest.read_text().replace("[training]\n", '[training]\nexamples = "examples.jsonl"\n'))
    path = manifest.parent / "examples.jsonl"
    path.write_text('{"prompt": "a", "concerns": true}\n{"prompt": "b", "concerns": false}\n')
    assert [row.extra["concerns"] for row in read_source(manifest).examples] == [True, False]
    path.write_text('{"prompt": "a", "concerns": true}\n{"prompt": "b"}\n')
    with pytest.raises(ManifestError, match="does not say whether the patch concerns it") as caught:
        read_source(manifest)
    assert caught.value.context.endswith("examples.jsonl, line 2")
    tested = read_source(source(tmp_path / "other", LEXICON)).tested()[0].prompt
    path.write_text(json.dumps({"prompt": tested, "concerns": True}) + "\n")
    with pytest.raises(ManifestError, match="trains on a prompt of the suite"):
        read_source(manifest)


def test_a_source_for_a_base_that_was_not_fetched_is_checked_without_it(ppm_home):
    lines = check_source(lab_manifests().parent / "smollm2" / "gender-bias")
    assert lines[0].startswith("gender-bias==1.1.0 can be built: ")
    assert "whether smollm2 can read them was not checked, because it is not on this machine" in lines
