"""A GGUF becomes the model that it was made from, or one message that says what is wrong with it."""

import json
import subprocess
import sys

import gguf_files
import numpy as np
import pytest
import torch
from environment.samples import small_disk
from gguf_files import TOKENS, tiny_llama, write_gguf
from safetensors.torch import load_file

from ppm.base import identify
from ppm.bases.fetch import import_base
from ppm.bases.kept import read_origin
from ppm.errors import DiskError, ModelError, RequestError
from ppm.evaluation.suites import base_suites
from ppm.runtime.loading import load_base
from ppm.runtime.text import encoder_of_folder


def import_(source, target, **options):
    return import_base(source, target, tell=lambda message: None, **options)


def refused(source, tmp_path, kind=ModelError):
    with pytest.raises(kind) as caught:
        import_(source, tmp_path / "base")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted({source.name})
    return caught.value


@pytest.mark.parametrize("tied", [True, False])
def test_the_model_is_the_one_that_the_file_was_made_from(tmp_path, tied):
    model = tiny_llama(tied=tied)
    import_(write_gguf(tmp_path / "tiny.gguf", model), tmp_path / "base", dtype="float32")
    loaded = load_base(identify(tmp_path / "base"))
    assert loaded.model.config.tie_word_embeddings == tied
    ids = torch.tensor([[1, 40, 50, 60]])
    assert torch.equal(loaded.model(ids).logits, model(ids).logits)


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_1", "F16"])
def test_weights_are_those_of_the_gguf_package_rounded_once(tmp_path, kind):
    from gguf import GGUFReader, dequantize

    path = write_gguf(tmp_path / "tiny.gguf", kind=kind)
    import_(path, tmp_path / "base")
    saved = load_file(tmp_path / "base" / "model.safetensors")
    assert {tensor.dtype for tensor in saved.values()} == {torch.bfloat16}
    theirs = {t.name: dequantize(t.data, t.tensor_type) for t in GGUFReader(path).tensors}
    for ours, name in (
        ("embed_tokens", "token_embd"),
        ("layers.1.mlp.down_proj", "blk.1.ffn_down"),
        ("norm", "output_norm"),
    ):
        assert torch.equal(saved[f"model.{ours}.weight"], torch.tensor(theirs[f"{name}.weight"]).bfloat16())


def test_what_ends_an_answer_comes_from_the_file(tmp_path):
    tokens = [*TOKENS[:2], "<|im_end|>", *TOKENS[3:], "<|end|>", "<end>"]
    about = {
        "tokens": tokens,
        "token_type": [3] * 3 + [1] * (len(TOKENS) - 3) + [3, 3],
        "eot_token_id": len(TOKENS) + 1,
    }
    about["chat_template"] = "{% for m in messages %}{{ m['content'] }}<|end|>{% endfor %}"
    path = write_gguf(tmp_path / "tiny.gguf", tiny_llama(rows=len(tokens)), metadata=about)
    import_(path, tmp_path / "base")
    settings = json.loads((tmp_path / "base" / "generation_config.json").read_text())
    assert settings["eos_token_id"] == [2, len(TOKENS) + 1, len(TOKENS)]
    assert (settings["bos_token_id"], settings["pad_token_id"]) == (1, 0)


def test_chats_and_texts_become_the_tokens_of_the_file(tmp_path):
    import_(write_gguf(tmp_path / "tiny.gguf"), tmp_path / "base")
    loaded = load_base(identify(tmp_path / "base"))
    assert loaded.tokenizer.chat_template == gguf_files.TEMPLATE
    assert [TOKENS[i] for i in loaded.tokenizer("hello<|im_end|>").input_ids] == ["hell", "o", "<|im_end|>"]
    assert encoder_of_folder(identify(tmp_path / "base"))
    chat = loaded.tokenizer.apply_chat_template([{"role": "user", "content": "hell"}], tokenize=False)
    assert chat == "<|im_start|>user\nhell<|im_end|>\n"


@pytest.mark.parametrize("begins", [True, False])
def test_bos_begins_a_text_where_the_file_says_so(tmp_path, begins):
    import_(write_gguf(tmp_path / "tiny.gguf", metadata={"add_bos_token": begins}), tmp_path / "base")
    assert (load_base(identify(tmp_path / "base")).tokenizer("a").input_ids[0] == 1) == begins


def test_a_file_without_a_pad_token_pads_with_its_end(tmp_path):
    import_(write_gguf(tmp_path / "tiny.gguf", metadata={"padding_token_id": None}), tmp_path / "base")
    assert load_base(identify(tmp_path / "base")).tokenizer.pad_token_id == 2
    assert json.loads((tmp_path / "base" / "generation_config.json").read_text())["pad_token_id"] == 2


def test_the_same_file_gives_the_same_bytes(tmp_path):
    path = write_gguf(tmp_path / "tiny.gguf", kind="Q4_1")
    for name in ("one", "two"):
        import_(path, tmp_path / name)
    files = [{p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("one", "two")]
    assert files[0] == files[1]
    assert str(tmp_path).encode() not in b"".join(files[0].values())


def test_a_record_says_what_the_base_was_made_from(tmp_path):
    import hashlib

    path = write_gguf(tmp_path / "tiny.gguf")
    made = import_(path, tmp_path / "base")
    origin = read_origin(tmp_path / "base")
    assert origin == made.origin
    assert (origin.source, origin.dtype, origin.licence) == ("file", "bfloat16", "apache-2.0")
    assert [(f.name, f.sha256) for f in origin.files] == [("tiny.gguf", hashlib.sha256(path.read_bytes()).hexdigest())]
    assert set(origin.made_with) == {"gguf", "tokenizers", "torch", "transformers"}
    assert origin.fingerprint == identify(tmp_path / "base").fingerprint


def test_a_tensor_that_is_missing(tmp_path):
    path = write_gguf(tmp_path / "tiny.gguf", tensors={"blk.1.ffn_up.weight": None})
    assert "model.layers.1.mlp.up_proj.weight" in refused(path, tmp_path).message


def test_a_tensor_that_has_no_place(tmp_path):
    path = write_gguf(tmp_path / "tiny.gguf", tensors={"rope_freqs.weight": np.ones(8)})
    error = refused(path, tmp_path)
    assert "8" in error.message
    assert "rope_freqs.weight" in error.message


def test_a_tensor_of_another_shape(tmp_path):
    path = write_gguf(tmp_path / "tiny.gguf", tensors={"output_norm.weight": np.ones(32)})
    assert "model.norm.weight" in refused(path, tmp_path).message


def test_values_that_are_no_numbers(tmp_path):
    values = np.ones(64)
    values[3] = np.nan
    path = write_gguf(tmp_path / "tiny.gguf", tensors={"output_norm.weight": values})
    assert "not finite" in refused(path, tmp_path).message


def test_a_vocabulary_larger_than_the_head(tmp_path):
    path = write_gguf(tmp_path / "tiny.gguf", tiny_llama(rows=len(TOKENS) - 1))
    message = refused(path, tmp_path).message
    assert f"{len(TOKENS)}" in message
    assert f"{len(TOKENS) - 1}" in message


def test_a_head_that_is_larger_than_the_vocabulary_is_no_fault(tmp_path):
    import_(write_gguf(tmp_path / "tiny.gguf", tiny_llama(rows=len(TOKENS) + 5)), tmp_path / "base")
    assert load_base(identify(tmp_path / "base")).model.config.vocab_size == len(TOKENS) + 5


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"eos_token_id": 9999}, "eos token is 9999"),
        ({"tokens": None, "token_type": None, "merges": None}, "no vocabulary"),
    ],
)
def test_a_tokenizer_that_can_not_be(tmp_path, about, message):
    assert message in refused(write_gguf(tmp_path / "tiny.gguf", metadata=about), tmp_path).message


def test_an_unknown_architecture_is_named(tmp_path):
    error = refused(write_gguf(tmp_path / "tiny.gguf", architecture="frobnicator"), tmp_path)
    assert "'frobnicator'" in error.message
    assert error.hint


def test_what_lies_beside_the_file_is_not_read(tmp_path):
    (tmp_path / "in").mkdir()
    path = write_gguf(tmp_path / "in" / "tiny.gguf")
    (tmp_path / "in" / "adapter_config.json").write_text("{}")
    (tmp_path / "in" / "tokenizer_config.json").write_text('{"add_bos_token": true, "chat_template": "no"}')
    import_(path, tmp_path / "base")
    assert load_base(identify(tmp_path / "base")).tokenizer.chat_template == gguf_files.TEMPLATE


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "mine.txt").write_text("mine")
    with pytest.raises(RequestError, match="is there already"):
        import_(write_gguf(tmp_path / "tiny.gguf"), tmp_path / "base")
    assert [path.name for path in (tmp_path / "base").iterdir()] == ["mine.txt"]


def test_a_checkpoint_folder_becomes_a_base_in_another_dtype(tmp_path):
    import_(write_gguf(tmp_path / "tiny.gguf"), tmp_path / "first", dtype="float32")
    import_(tmp_path / "first", tmp_path / "second", dtype="float16")
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("first", "second"))
    assert all(torch.equal(tensor.half(), second[name]) for name, tensor in first.items())
    one, two = identify(tmp_path / "first").parts, identify(tmp_path / "second").parts
    assert {key for key in one if one[key] != two[key]} == {"weights"}
    assert read_origin(tmp_path / "second").source == "folder"


def test_the_suites_of_a_checkpoint_folder_come_along(tmp_path):
    import_(write_gguf(tmp_path / "tiny.gguf"), first := tmp_path / "first")
    (first / "suites").mkdir()
    (first / "suites" / "facts.jsonl").write_text('{"id": "1", "prompt": "good morning", "expected": "nice"}\n')
    (first / "suites" / "notes.txt").write_text("of no suite")
    (first / "ppm-base.toml").write_text(
        'schema = 1\n[[suites]]\nname = "facts"\nprompts = "suites/facts.jsonl"\njudge = "exact-match"\n'
        'metric = "rate"\ngoal = "higher"\nagainst = "base"\n'
    )
    import_(first, second := tmp_path / "second")
    assert [path.name for path in (second / "suites").iterdir()] == ["facts.jsonl"]
    assert [suite.label for suite in base_suites(second)] == [suite.label for suite in base_suites(first)] == ["facts"]
    (first / "suites" / "facts.jsonl").unlink()
    with pytest.raises(DiskError, match="can't be read: No such file") as caught:
        import_(first, tmp_path / "third")
    assert caught.value.path == first / "suites" / "facts.jsonl"
    assert not (tmp_path / "third").exists()


def test_a_checkpoint_whose_tokenizer_is_too_large(tmp_path):
    import_(write_gguf(tmp_path / "tiny.gguf"), tmp_path / "first")
    path = tmp_path / "first" / "tokenizer.json"
    table = json.loads(path.read_text())
    table["model"]["vocab"]["<new>"] = len(TOKENS)
    path.write_text(json.dumps(table))
    with pytest.raises(ModelError, match="the model's head has"):
        import_(tmp_path / "first", tmp_path / "second")
    assert not (tmp_path / "second").exists()


def test_a_missing_extra_is_one_message_with_its_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    error = refused(write_gguf(tmp_path / "tiny.gguf"), tmp_path)
    assert "needs the package gguf" in error.message
    assert 'pip install "policy-patch-manager[gguf]"' in error.hint


def test_too_little_memory_is_told_before_anything_is_loaded(tmp_path):
    """A file that holds 4 GB of weights: sparse, so that it takes no room."""
    path = tmp_path / "large.gguf"
    writer = gguf_files.gguf.GGUFWriter(path, "llama")
    writer.add_array("tokenizer.ggml.tokens", TOKENS)
    writer.add_tensor_info("token_embd.weight", (16_000_000, 64), np.dtype(np.float32), 16_000_000 * 64 * 4)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    with path.open("r+b") as stream:
        stream.truncate(5 * 2**30)
    script = (
        "import resource, sys; from pathlib import Path\n"
        "resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30, 3 * 2**30))\n"
        "from ppm.bases.fetch import import_base\n"
        "from ppm.errors import ModelError\n"
        "try:\n    import_base(Path(sys.argv[1]), Path(sys.argv[2]), tell=print)\n"
        "except ModelError as error:\n    print(error)\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script, path, tmp_path / "base"], capture_output=True, text=True)
    assert "takes about 15.8 GiB of memory, and " in done.stdout, done.stderr
    assert done.stdout.strip().endswith("False")


def test_a_full_disk_is_one_message_and_leaves_nothing(tmp_path):
    path = write_gguf(tmp_path / "tiny.gguf")
    with small_disk(100_000):
        error = refused(path, tmp_path, DiskError)
    assert error.fault == "full"
    assert "free some space" in error.hint
