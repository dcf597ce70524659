"""A package in front of a model that is loaded already: which folder, if any, says what model that is."""

import pytest
import tiny
from packages import make_bank, make_package
from transformers import AutoModelForCausalLM

import ppm
from ppm.base import identify
from ppm.errors import ModelError
from ppm.package import write_package


def save(folder, **settings):
    config = tiny.config()
    for key, value in settings.items():
        setattr(config, key, value)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tiny.make_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def package(tmp_path):
    """A package for the model in the folder `own`."""
    found = identify(save(tmp_path / "own"))
    made = make_package(fingerprint=found.fingerprint, model="acme/own")
    bank = make_bank(hidden_size=48)
    return write_package(type(made)(made.manifest, bank, made.files), tmp_path)


def test_a_folder_of_the_name_of_a_hub_model_is_not_taken_for_it(tmp_path, package, monkeypatch):
    """The model came from the hub; here lies another one, by chance in a folder of that name."""
    monkeypatch.chdir(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "own")
    save(tmp_path / "acme" / "own", n_head=2)
    save(tmp_path / "hub-name", n_head=2)
    for name in ("acme/own", "hub-name"):
        model.config._name_or_path = model.name_or_path = name
        ppm.apply(model, package)


@pytest.mark.parametrize("form", ["{}", "./{name}", "../{parent}/{name}"])
def test_a_folder_that_can_be_nothing_else_is_checked(tmp_path, package, monkeypatch, form):
    monkeypatch.chdir(tmp_path)
    for name, fits in (("own", True), ("other", False)):
        path = save(tmp_path / name, n_head=2) if not fits else tmp_path / name
        model = AutoModelForCausalLM.from_pretrained(form.format(path, name=name, parent=tmp_path.name))
        if fits:
            ppm.apply(model, package)
            continue
        with pytest.raises(ModelError, match="is not that model"):
            ppm.apply(model, package)
