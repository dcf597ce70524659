"""A base model's identity: what changes its fingerprint, what does not, and which folders are refused."""

import errno
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
import torch
from packages import make_package
from runtime.architectures import tiny_model, tiny_tokenizer
from safetensors.numpy import load_file, save_file
from safetensors.torch import load_file as load_torch
from safetensors.torch import save_file as save_torch

from ppm.base import ModelName, behaviour_digest, check_compatible, identify, locate, read_base_suites, weights_digest
from ppm.errors import ManifestError, ModelError

WEIGHTS = "model.safetensors"


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """A tiny Llama in the Hugging Face format."""
    folder = tmp_path_factory.mktemp("base")
    tiny_model().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    """A copy that a test may change."""
    return shutil.copytree(saved, tmp_path / "tiny-base")


def edit_json(path, **changes):
    table = json.loads(path.read_text())
    path.write_text(json.dumps({**table, **changes}))


def made_for(base):
    """The manifest of a patch built for a base model."""
    manifest = make_package(fingerprint=base.fingerprint, provenance={"base_parts": base.parts}).manifest
    return replace(manifest, base=replace(manifest.base, model="acme/tiny"))


def differing(one, other):
    assert (one.fingerprint == other.fingerprint) == (one.parts == other.parts)
    return [key for key in one.parts if one.parts[key] != other.parts[key]]


def test_the_same_files_have_the_same_fingerprint_wherever_they_are(saved, folder):
    one, other = identify(saved), identify(folder, name="acme/Tiny_Base")
    assert one.fingerprint == other.fingerprint
    assert one.fingerprint.startswith("sha256:")
    assert other.tag == f"tiny-base-{other.fingerprint[7:19]}"
    check_compatible(made_for(one), other)


def test_saving_again_with_another_transformers_changes_nothing(saved, folder):
    edit_json(folder / "config.json", transformers_version="4.44.0", torch_dtype="float32", _name_or_path="/elsewhere")
    assert identify(folder).fingerprint == identify(saved).fingerprint


def test_the_order_of_the_configurations_keys_changes_nothing(saved, folder):
    table = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(dict(reversed(table.items())), indent=7))
    assert identify(folder).fingerprint == identify(saved).fingerprint


def test_saving_in_shards_changes_nothing(saved, folder):
    (folder / WEIGHTS).unlink()
    tiny_model().save_pretrained(folder, max_shard_size="20KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    assert identify(folder).fingerprint == identify(saved).fingerprint


def test_a_chat_template_in_a_file_of_its_own_is_the_same_template(folder):
    edit_json(folder / "tokenizer_config.json", chat_template="{{ messages }}")
    inside = identify(folder)
    edit_json(folder / "tokenizer_config.json", chat_template=None)
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    assert identify(folder).fingerprint == inside.fingerprint


def change_a_weight(folder):
    weights = load_file(folder / WEIGHTS)
    weights["model.layers.1.self_attn.q_proj.weight"][3, 4] += 1e-4
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


def change_the_dtype(folder):
    weights = {name: tensor.bfloat16() for name, tensor in load_torch(folder / WEIGHTS).items()}
    save_torch(weights, folder / WEIGHTS, metadata={"format": "pt"})


def change_the_tokenizer(folder):
    text = (folder / "tokenizer.json").read_text()
    assert '"fool"' in text
    (folder / "tokenizer.json").write_text(text.replace('"fool"', '"pool"'))


def change_the_template(folder):
    (folder / "chat_template.jinja").write_text("{{ messages }}")


def change_the_configuration(folder):
    edit_json(folder / "config.json", rms_norm_eps=1e-4)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (change_a_weight, "weights"),
        (change_the_dtype, "weights"),
        (change_the_tokenizer, "tokenizer"),
        (change_the_template, "chat_template"),
        (change_the_configuration, "configuration"),
    ],
)
def test_a_patch_is_refused_by_another_model_and_says_what_differs(saved, folder, change, part):
    before = identify(saved, name="acme/tiny")
    change(folder)
    after = identify(folder, name="acme/tiny-tuned")
    assert differing(before, after) == [part]
    with pytest.raises(ModelError) as caught:
        check_compatible(made_for(before), after)
    message = caught.value.message
    assert message.startswith("was made for acme/tiny, but acme/tiny-tuned is not that model")
    assert f"{part.replace('_', ' ')} differ" in message
    assert ("adapter" in message) == (part == "weights")
    assert caught.value.context == "toxicity==1.0.0"
    assert "ppm build" in caught.value.hint


def test_every_part_that_differs_is_named(saved, folder):
    change_the_tokenizer(folder)
    change_the_template(folder)
    with pytest.raises(ModelError, match="its tokenizer, its chat template differ"):
        check_compatible(made_for(identify(saved)), identify(folder))


def test_a_patch_that_does_not_say_its_parts_is_refused_too(saved):
    with pytest.raises(ModelError, match="differ"):
        check_compatible(make_package().manifest, identify(saved))


def large(folder, change=0.0):
    """Weights of which only samples are read: an adapter that was merged in changes all of a matrix."""
    generator = numpy.random.default_rng(0)
    values = generator.standard_normal((512, 256)).astype(numpy.float32)
    values += numpy.float32(change) * generator.standard_normal(values.shape).astype(numpy.float32)
    save_file({"matrix": values}, folder / WEIGHTS)
    return values.nbytes


def test_a_merged_adapter_shows_in_large_tensors(folder):
    assert large(folder) > 4 * 64 * 1024
    before = identify(folder)
    assert identify(folder).fingerprint == before.fingerprint
    large(folder, 1e-3)
    assert differing(before, identify(folder)) == ["weights"]


def test_the_digest_of_the_weights_covers_every_byte(folder):
    size = large(folder)
    before = weights_digest(folder)
    path = folder / WEIGHTS
    for place in (-1, -(size // 2) + 5000, -size):
        data = bytearray(path.read_bytes())
        data[place] ^= 1
        path.write_bytes(data)
        after = weights_digest(folder)
        assert after != before
        before = after


@pytest.mark.parametrize("kept", [0, 5, 200, -1, -5000])
def test_truncated_weights_are_refused(folder, kept):
    path = folder / WEIGHTS
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelError, match="not a whole safetensors file") as caught:
        identify(folder)
    assert caught.value.context == str(path)


@pytest.mark.parametrize("lost", [1, 3000, 100_000, 400_000])
def test_truncated_large_weights_are_refused(folder, lost):
    large(folder)
    path = folder / WEIGHTS
    path.write_bytes(path.read_bytes()[:-lost])
    with pytest.raises(ModelError, match="truncated"):
        identify(folder)


@pytest.mark.parametrize(
    "header",
    [b"not json", b"[]", b'{"a": 1}', b'{"a": {"dtype": "F32", "shape": [1]}}', b'{"a": {"data_offsets": [0, "x"]}}'],
)
def test_a_damaged_header_is_refused(folder, header):
    (folder / WEIGHTS).write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 64)
    with pytest.raises(ModelError, match="not a whole safetensors file"):
        identify(folder)


def test_weights_in_pickles_alone_are_refused(folder):
    weights = load_torch(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    for read in (identify, weights_digest):
        with pytest.raises(ModelError, match="no weights in the safetensors format") as caught:
            read(folder)
        assert "can run code" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "message"), [("config.json", "has no config.json"), ("tokenizer.json", "has no tokenizer")]
)
def test_a_missing_part_is_named(folder, name, message):
    (folder / name).unlink()
    with pytest.raises(ModelError, match=message) as caught:
        identify(folder)
    assert caught.value.context == str(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b"[" * 100_000])
def test_a_damaged_configuration_is_refused(folder, name, content):
    (folder / name).write_bytes(content)
    with pytest.raises(ModelError) as caught:
        identify(folder)
    assert caught.value.context == str(folder / name)


def test_half_a_character_in_a_configuration_is_part_of_what_the_model_is(folder):
    found = set()
    for note in ("", "\ud800", "\ud801"):
        edit_json(folder / "config.json", note=note)
        found.add(identify(folder).parts["configuration"])
    assert len(found) == 3


@pytest.mark.parametrize("read", [identify, behaviour_digest])
def test_a_file_that_may_not_be_read_is_named(folder, read, monkeypatch):
    def refuse(self):
        if self.name == "tokenizer.json":
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return Path.open(self, "rb").read()

    base = identify(folder)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ModelError, match="can't be read: Permission denied") as caught:
        read(folder if read is identify else base)
    assert caught.value.context == str(folder / "tokenizer.json")


def test_a_chat_template_that_is_no_text_is_refused(folder):
    (folder / "chat_template.jinja").write_bytes(b"\xff\xfe")
    with pytest.raises(ModelError, match="UTF-8") as caught:
        identify(folder)
    assert caught.value.context == str(folder / "chat_template.jinja")


def test_a_folder_is_found(folder, monkeypatch):
    assert locate(str(folder)) == folder
    monkeypatch.chdir(folder.parent)
    assert identify(locate(folder.name)).fingerprint == identify(folder).fingerprint


@pytest.mark.parametrize("revision", [None, "", "main", "v1.0", "abc1234", "A" * 40, "0" * 39, "0" * 41])
def test_a_hub_name_needs_a_commit(revision):
    with pytest.raises(ModelError, match="needs a commit") as caught:
        locate("acme/absent-model", revision)
    assert "acme/absent-model@COMMIT" in caught.value.hint


def test_a_model_that_is_not_in_the_cache_is_named_with_its_commit(tmp_path, monkeypatch):
    # Offline, as the tests are, the hub's own client refuses at once.
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="can't be fetched") as caught:
        locate("acme/absent-model", "0" * 40)
    assert caught.value.context == f"acme/absent-model@{'0' * 40}"


@pytest.mark.parametrize("name", ["no-such-folder", "a/b/c", "../nowhere", "acme/tiny model", "a" * 300])
def test_what_is_neither_a_folder_nor_a_hub_name_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError) as caught:
        locate(name)
    assert "folder" in caught.value.hint


COMMIT = "0123456789" * 4


@pytest.mark.parametrize("name", ["m@del", "m@main", "team@work/m"])
def test_a_folder_may_have_an_at_sign_in_its_path(name, folder, tmp_path, monkeypatch):
    place = shutil.copytree(folder, tmp_path / "models" / name)
    monkeypatch.chdir(tmp_path / "models")
    for text in (str(place), name, f"./{name}"):
        assert identify(ModelName.parse(text).locate()).fingerprint == identify(folder).fingerprint
    monkeypatch.chdir(tmp_path)
    assert ModelName.parse(name, beside=tmp_path / "models").locate() == place


def test_a_name_with_a_commit_is_never_a_folder(folder, tmp_path, monkeypatch):
    for name in ("acme/tiny", f"acme/tiny@{COMMIT}"):
        shutil.copytree(folder, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for named in (
        ModelName("acme/tiny", COMMIT),
        ModelName.parse(f"acme/tiny@{COMMIT}"),
        ModelName.parse(f"acme/tiny@{COMMIT}", beside=tmp_path),
    ):
        assert named == ModelName("acme/tiny", COMMIT)
        assert named.folder is None
    assert ModelName.parse(f"./acme/tiny@{COMMIT}").locate() == tmp_path.relative_to(tmp_path) / f"acme/tiny@{COMMIT}"


def test_a_commit_that_is_given_apart_is_for_a_name_without_one(folder):
    assert ModelName.parse("acme/tiny").at(COMMIT) == ModelName("acme/tiny", COMMIT)
    assert ModelName.parse(f"acme/tiny@{COMMIT}").at("f" * 40).revision == COMMIT
    assert ModelName.parse(str(folder)).at(COMMIT).locate() == folder


SUITE = """schema = 1
[[suites]]
name = "facts"
prompts = "facts.jsonl"
judge = "exact-match"
against = "base"
"""


def declare(folder, before="", after=""):
    assert before in SUITE
    (folder / "ppm-base.toml").write_text(SUITE.replace(before, after))
    return read_base_suites(folder)


def test_a_base_declares_its_suites(folder):
    assert read_base_suites(folder) == ()
    [suite] = declare(folder)
    assert (suite.name, suite.against, suite.judge.name) == ("facts", "base", "exact-match")


@pytest.mark.parametrize(
    ("before", "after", "message", "hint"),
    [
        ("[[suites]]", "[[suite]]", "unknown key 'suite'", "'suites'"),
        ("prompts", "promts", "unknown key 'promts'", "'prompts'"),
        ("against =", "agianst =", "unknown key 'agianst'", "'against'"),
        ("schema = 1", "schema = 2", "schema must be 1", ""),
        ("schema = 1", "", "schema must be 1", ""),
        ('"base"', '"specialist"', 'must say against = "base"', ""),
        ('"base"', '"bass"', "against", ""),
        ("[[suites]]", "[[suites", "not valid TOML", ""),
        ('prompts = "facts.jsonl"', "", "prompts is missing", ""),
        ('"facts.jsonl"', '"../facts.jsonl"', "inside the patch's folder", ""),
    ],
)
def test_a_typo_in_the_bases_suites_is_explained(folder, before, after, message, hint):
    with pytest.raises(ManifestError, match=message) as caught:
        declare(folder, before, after)
    assert hint in caught.value.hint
    assert str(folder / "ppm-base.toml") in caught.value.context


def test_a_mistyped_lab_is_told():
    with pytest.raises(ModelError) as caught:
        locate("lba")
    assert (caught.value.message, caught.value.hint) == ("is not a folder", "did you mean 'lab'?")
