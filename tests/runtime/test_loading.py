"""Models load whole or not at all: each kind of faulty file is one error that names the tensor."""

import json
import logging

import pytest
import torch
import transformers
from runtime.architectures import tiny_model, tiny_tokenizer
from safetensors.torch import load_file, save_file

from ppm.base import identify
from ppm.errors import ModelError
from ppm.runtime.loading import load_base, load_pretrained
from ppm.runtime.text import encoder_of_folder


@pytest.fixture
def folder(tmp_path):
    """A base of which the output embeddings are not tied to the input's."""
    tiny_model(tie_word_embeddings=False).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    return tmp_path


def changed(folder, change):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})
    return folder


def message(folder, **options):
    with pytest.raises(ModelError) as caught:
        load_pretrained(folder, context="a model", **options)
    return str(caught.value)


def test_a_whole_model_loads_frozen_and_in_evaluation_mode(folder):
    loaded = load_base(identify(folder))
    assert not loaded.model.training
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    saved = load_file(folder / "model.safetensors")
    assert all(torch.equal(tensor, saved[name]) for name, tensor in loaded.model.state_dict().items())


@pytest.mark.parametrize("name", ["lm_head.weight", "model.layers.1.mlp.up_proj.weight", "model.norm.weight"])
def test_a_missing_tensor_is_named(folder, name):
    changed(folder, lambda tensors: tensors.pop(name))
    assert f"its files lack {name}" in message(folder)
    with pytest.raises(ModelError, match=name):
        load_base(identify(folder))


def test_many_missing_tensors_are_counted(folder):
    def change(tensors):
        for name in [name for name in tensors if "mlp" in name]:
            del tensors[name]

    changed(folder, change)
    assert "and 6 more" in message(folder)


def test_a_left_over_tensor_is_named(folder):
    changed(folder, lambda tensors: tensors.update({"model.layers.7.mlp.up_proj.weight": torch.zeros(2, 2)}))
    assert "hold model.layers.7.mlp.up_proj.weight, for which" in message(folder)


def test_a_tensor_of_another_shape_is_named_with_both(folder):
    changed(folder, lambda tensors: tensors.update({"model.norm.weight": torch.ones(31)}))
    assert "model.norm.weight is 31 where the model has 32" in message(folder)


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool])
def test_a_tensor_of_another_kind_of_number_is_named(folder, dtype):
    changed(folder, lambda tensors: tensors.update({"model.norm.weight": torch.ones(32).to(dtype)}))
    assert "model.norm.weight is of" in message(folder)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_narrower_float_is_no_fault(folder, dtype):
    changed(folder, lambda tensors: tensors.update({name: t.to(dtype) for name, t in tensors.items()}))
    assert load_pretrained(folder, context="a model").model.dtype == torch.float32


def test_tied_weights_are_no_fault(tmp_path):
    model = tiny_model(tie_word_embeddings=True)
    model.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    loaded = load_pretrained(tmp_path, context="a model").model
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight


def test_both_tensors_of_a_tie_missing_is_a_fault(tmp_path):
    tiny_model(tie_word_embeddings=True).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    changed(tmp_path, lambda tensors: tensors.pop("model.embed_tokens.weight"))
    assert "model.embed_tokens.weight" in message(tmp_path)


def test_a_shard_that_is_not_there_is_a_fault(folder):
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {"model-00001-of-00002.safetensors": names[:9], "model-00002-of-00002.safetensors": names[9:]}
    for file, held in parts.items():
        save_file({name: tensors[name] for name in held}, folder / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: file for file, held in parts.items() for name in held}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert load_pretrained(folder, context="a model").model is not None
    (folder / "model-00002-of-00002.safetensors").unlink()
    assert "model-00002-of-00002.safetensors" in message(folder)


def test_a_damaged_file_is_one_error(folder):
    (folder / "model.safetensors").write_bytes(b"nonsense")
    assert "can't be loaded" in message(folder)


def test_a_judge_without_its_head_is_a_fault(tmp_path):
    """A classifier made of a language model's weights would judge by random numbers."""
    config = transformers.BertConfig(
        vocab_size=99, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, num_labels=2
    )
    model = transformers.BertForSequenceClassification(config)
    model.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    kind = "AutoModelForSequenceClassification"
    loaded = load_pretrained(tmp_path, kind, context="a judge", padding_side="left")
    assert (loaded.model.config.num_labels, loaded.tokenizer.padding_side) == (2, "left")
    model.bert.save_pretrained(tmp_path)
    assert "classifier" in message(tmp_path, kind=kind)


def test_code_in_a_folder_is_never_run(folder):
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "mine.Mine", "AutoModelForCausalLM": "mine.MyModel"}
    config["model_type"] = "mine"
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text("from pathlib import Path\nPath(__file__).with_name('ran').touch()\n")
    assert "can't be loaded" in message(folder)
    assert not (folder / "ran").exists()


def test_nothing_is_printed_and_the_logger_is_as_it_was(folder, capsys):
    logger = logging.getLogger("transformers")
    before = list(logger.handlers), logger.propagate
    changed(folder, lambda tensors: tensors.pop("lm_head.weight"))
    message(folder)
    assert (list(logger.handlers), logger.propagate) == before
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("config.json", {"rope_parameters": {"rope_type": "yarn", "rope_theta": 10000.0}}),
        ("tokenizer.json", {"model": {"type": "none"}}),
        ("tokenizer_config.json", {"tokenizer_class": "NoTokenizer", "auto_map": {"AutoTokenizer": ["a--b.C", None]}}),
    ],
)
def test_what_can_not_be_loaded_is_no_way_to_tokens_either(folder, file, change):
    """`ppm build --check` reads no weights, and says what the build would."""
    encoder_of_folder(identify(folder))
    table = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**table, **change}))
    with pytest.raises(ModelError) as built:
        load_base(identify(folder))
    with pytest.raises(ModelError) as checked:
        encoder_of_folder(identify(folder))
    assert str(checked.value) == str(built.value)
