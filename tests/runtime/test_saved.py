"""A patched model on disk is a patched model again, and never a plain one."""

import json

import pytest
import torch
from runtime.architectures import random_prefixes, random_sequences, tiny_model, tiny_tokenizer
from transformers import AutoModelForCausalLM

from ppm.bank import EMPTY
from ppm.errors import IntegrityError, ModelError
from ppm.runtime.model import UNPATCHED, attach, backbone_of
from ppm.runtime.saved import load_patched, save_patched


@pytest.fixture(params=["llama", "opt"])
def saved(request, tmp_path):
    model = tiny_model(request.param)
    patched = attach(model, [*random_prefixes(model, 4, 6), EMPTY], placement="after-bos")
    save_patched(patched, tiny_tokenizer(), tmp_path / "saved")
    return patched, tmp_path / "saved"


def test_it_comes_back_with_its_patch(saved):
    patched, folder = saved
    loaded = load_patched(folder)
    ids = torch.tensor(random_sequences(7) * 4)
    with torch.no_grad():
        logits = []
        for model in (patched, loaded.model):
            with backbone_of(model).select([0, 1, 2, UNPATCHED]):
                logits.append(model(input_ids=ids).logits)
    assert torch.equal(*logits)
    assert not torch.allclose(logits[0][0], logits[0][3])
    assert loaded.tokenizer("hello thank you").input_ids == tiny_tokenizer()("hello thank you").input_ids


def test_the_folder_is_no_plain_model(saved):
    with pytest.raises((OSError, ValueError), match="model_type"):
        AutoModelForCausalLM.from_pretrained(saved[1])


@pytest.mark.parametrize("call", ["save_pretrained", "push_to_hub"])
def test_transformers_own_way_refuses_and_writes_nothing(tmp_path, call):
    patched = attach(tiny_model(), random_prefixes(tiny_model(), 4))
    with pytest.raises(ModelError, match="without its patch"):
        getattr(patched, call)(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_base_still_saves_as_ever(tmp_path):
    model = tiny_model()
    attach(model, random_prefixes(model, 4))
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert all(torch.equal(t, model.state_dict()[name]) for name, t in again.state_dict().items())


def test_a_patched_model_is_of_its_own_class():
    model = tiny_model()
    patched = attach(model, random_prefixes(model, 4))
    assert isinstance(patched, type(model))
    assert type(patched).__name__ == type(model).__name__


def test_what_was_changed_is_refused(saved):
    _, folder = saved
    bank, record, config = folder / "bank-0.safetensors", folder / "ppm-patched.json", folder / "base" / "config.json"
    kept = bank.read_bytes()
    for damaged in (b"", kept[:-1] + b"\x01", (folder / "bank-1.safetensors").read_bytes()):
        bank.write_bytes(damaged)
        with pytest.raises(IntegrityError):
            load_patched(folder)
    bank.write_bytes(kept)
    written = json.loads(record.read_bytes())
    record.write_text("[" * 10**5)
    with pytest.raises(IntegrityError):
        load_patched(folder)
    for change in ({"placement": "nowhere"}, {"banks": [3]}, {"base": "sha256:0"}):
        record.write_text(json.dumps({**written, **change}))
        with pytest.raises(IntegrityError):
            load_patched(folder)
    record.write_text(json.dumps({**written, "schema": 3}))
    with pytest.raises(ModelError, match="schema 3"):
        load_patched(folder)
    record.write_text(json.dumps(written))
    config.write_text(config.read_text().replace('"vocab_size": 99', '"vocab_size": 98'))
    with pytest.raises(IntegrityError):
        load_patched(folder)


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "mine").touch()
    patched = attach(tiny_model(), random_prefixes(tiny_model(), 4))
    with pytest.raises(ModelError, match="not empty"):
        save_patched(patched, tiny_tokenizer(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
