"""A base that is the same model in another form is told from another model, by a package that carries a sketch."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from packages import make_package
from safetensors.torch import load_file, save_file

from ppm.base import identify
from ppm.bases.fetch import import_base
from ppm.errors import IntegrityError, ManifestError, ModelError
from ppm.manifest import Manifest
from ppm.package import SKETCH, Package, read_package
from ppm.resources import lab_data
from ppm.runtime.derived import check_fits, sketch_of

EPS = json.loads((lab_data() / "base" / "config.json").read_text())["rms_norm_eps"]
LAB = identify(lab_data() / "base", name="lab")


def accepting() -> Package:
    """A patch for the lab's base that accepts derived ones."""
    made = make_package("app", "1.0.0", fingerprint=LAB.fingerprint, model="lab")
    manifest = replace(made.manifest, schema=2, base=replace(made.manifest.base, accepts=("derived",)))
    return Package(manifest, made.bank, {**made.files, SKETCH: sketch_of(LAB).to_bytes()})


def changed(target, change=lambda name, tensor: tensor, **settings):
    """A copy of the lab's base, with its tensors and its configuration changed."""
    shutil.copytree(lab_data() / "base", target)
    tensors = load_file(target / "model.safetensors")
    made = {name: change(name, tensor).contiguous() for name, tensor in tensors.items()}
    save_file(made, target / "model.safetensors", {"format": "pt"})
    config = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps(config | settings))
    return identify(target, name="other")


def by_rows(bits):
    """Weights as integers of so many bits with a scale for each row, as dynamic quantisation keeps them."""

    def change(name, tensor):
        if tensor.ndim < 2:
            return tensor
        most = 2 ** (bits - 1) - 1
        scale = tensor.float().abs().amax(1, keepdim=True) / most
        return ((tensor.float() / scale).round() * scale).to(tensor.dtype)

    return change


def test_a_package_carries_its_sketch(tmp_path):
    package = accepting()
    assert read_package(package.data).files[SKETCH] == sketch_of(LAB).to_bytes()
    assert len(package.files[SKETCH]) < 4000
    assert b'accepts = ["derived"]' in package.manifest.render().encode()
    with pytest.raises(IntegrityError, match=r"lacks base\.sketch"):
        read_package(Package(package.manifest, package.bank, {}).data)
    plain = make_package("app", "1.0.0", fingerprint=LAB.fingerprint, model="lab")
    with pytest.raises(IntegrityError, match="accepts no other base, but has"):
        read_package(Package(plain.manifest, plain.bank, package.files).data)


def test_accepting_other_bases_needs_the_new_schema():
    text = accepting().manifest.render()
    assert Manifest.parse(text, "x").base.accepts == ("derived",)
    with pytest.raises(ManifestError, match=r"base\.accepts needs schema = 2"):
        Manifest.parse(text.replace("schema = 2", "schema = 1"), "x")


def test_the_base_itself_fits_and_is_no_derived_one():
    assert check_fits(accepting(), LAB) is None


def test_a_recast_base_is_accepted_and_said_to_be_one(tmp_path):
    import_base(lab_data() / "base", tmp_path / "half", dtype="float16", tell=str)
    found = check_fits(accepting(), identify(tmp_path / "half", name="half"))
    assert (found.model, found.fingerprint) == ("lab", LAB.fingerprint)
    assert found.note.startswith("weights in float16 instead of bfloat16, ")
    assert "0.0" in found.note or found.note.endswith("the same")


@pytest.mark.parametrize(("bits", "most"), [(8, 0.02), (5, 0.15)])
def test_a_quantised_base_is_accepted_with_how_far_it_is(tmp_path, bits, most):
    note = check_fits(accepting(), changed(tmp_path / "q", by_rows(bits))).note
    apart = float(note.removeprefix("weights ").split("%")[0]) / 100
    assert 0 < apart < most
    assert " in model." in note


def test_a_configuration_written_in_other_words_is_the_same(tmp_path):
    base = changed(tmp_path / "c", initializer_range=0.5, rms_norm_eps=EPS * (1 + 1e-7), some_note="x")
    assert base.fingerprint != LAB.fingerprint
    assert check_fits(accepting(), base).note == "weights the same"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rope_parameters": {"rope_theta": 77.0, "rope_type": "default"}}, "configuration differs (rope_parameters)"),
        ({"rms_norm_eps": 0.1}, "configuration differs (rms_norm_eps)"),
    ],
)
def test_another_architecture_is_refused(tmp_path, settings, message):
    with pytest.raises(ModelError) as caught:
        check_fits(accepting(), changed(tmp_path / "c", **settings))
    assert message in caught.value.message
    assert "ppm build MANIFEST --base other" in caught.value.hint


def test_another_model_of_the_same_shape_is_refused(tmp_path):
    def redrawn(name, tensor):
        return (torch.randn(tensor.shape) * tensor.float().std()).to(tensor.dtype) if tensor.ndim > 1 else tensor

    torch.manual_seed(0)
    other = changed(tmp_path / "o", redrawn)
    with pytest.raises(ModelError, match=r"not derived from that model either: its weights are 1\d\d\.\d\d% apart"):
        check_fits(accepting(), other)


def test_a_tokenizer_with_other_ids_is_refused(tmp_path):
    base = changed(tmp_path / "t")
    path = base.folder / "tokenizer.json"
    table = json.loads(path.read_text())
    table["post_processor"] = None
    path.write_text(json.dumps(table))
    with pytest.raises(ModelError, match="other tokens of a text"):
        check_fits(accepting(), identify(base.folder, name="other"))


def test_a_patch_that_accepts_none_is_refused_as_ever(tmp_path):
    import_base(lab_data() / "base", tmp_path / "half", dtype="float16", tell=str)
    package = make_package("app", "1.0.0", fingerprint=LAB.fingerprint, model="lab")
    with pytest.raises(ModelError, match="was made for lab, but half is not that model"):
        check_fits(package, identify(tmp_path / "half", name="half"))
