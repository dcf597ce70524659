"""The manifests for the paper's models are complete: checked without a download."""

import pytest
from commands import ppm

from ppm.manifest import Manifest
from ppm.resources import lab_manifests

FOLDER = lab_manifests().parent / "paper"
MODELS = {
    "toxicity": {"meta-llama/Llama-2-7b-hf", "meta-llama/Meta-Llama-3-8B", "CohereLabs/aya-23-8B"},
    "gender-bias": {"meta-llama/Llama-2-7b-hf", "lmsys/vicuna-7b-v1.5", "lmsys/vicuna-13b-v1.5"},
    "harmfulness": {"google/gemma-2-9b", "mistralai/Mistral-7B-v0.1", "meta-llama/Meta-Llama-3-8B"},
}


def test_every_model_of_the_paper_has_its_manifest():
    found = {}
    for path in FOLDER.glob("*/patch.toml"):
        manifest = Manifest.read(path)
        found.setdefault(manifest.patch.risks[0], set()).add(manifest.base.model)
    assert found == MODELS


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*/patch.toml")), ids=lambda path: path.parent.name)
def test_a_manifest_can_be_built_as_far_as_can_be_told_here(path):
    checked = ppm("build", path, "--check")
    assert checked.code == 0, checked.err
    assert "can be built" in checked.out
    assert "made by the build, from data sets:" in checked.out
    training = Manifest.read(path).training
    assert training.teacher.license
    assert training.teacher.revision
    assert Manifest.read(path).base.revision
