"""The dtype that patches were tested in is the one they run in."""

import pytest
from commands import ppm

import ppm as library
from ppm.errors import RequestError


def test_what_was_tested_in_float32_is_run_in_nothing_else(deployed):
    for command in (("audit",), ("generate", "The baker said:")):
        done = ppm(*command, "--base", "lab", "--dtype", "bfloat16")
        assert done.code == 1
        assert "was tested in float32, not in bfloat16" in done.err
        assert "ppm install --dtype bfloat16" in done.err
    with pytest.raises(RequestError, match="was tested in float32"):
        library.load("lab", dtype="bfloat16")
    model, _ = library.load("lab", dtype="float32", memory="4G")
    assert str(model.dtype) == "torch.float32"


def test_another_dtype_is_another_composition_and_the_variable_counts_where_one_is_chosen(deployed, monkeypatch):
    names = ("toxicity", "--base", "lab", "--dry-run", "--json")
    assert not ppm("install", *names).json["composes"]
    assert not ppm("install", *names, "--dtype", "float32").json["composes"]
    assert ppm("install", *names, "--dtype", "bfloat16").json["composes"]
    monkeypatch.setenv("PPM_DTYPE", "bfloat16")
    assert ppm("install", *names).json["composes"]
    assert ppm("generate", "The baker said:", "--base", "lab", "--max-new-tokens", "3").code == 0
    monkeypatch.setenv("PPM_DTYPE", "int3")
    assert "PPM_DTYPE" in ppm("install", *names).err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("--memory", "100M"), "allowed by --memory"), (("--memory", "much"), "is not a size")],
)
def test_too_little_memory_and_what_is_no_size_are_told(deployed, arguments, message):
    done = ppm("generate", "The baker said:", "--base", "lab", *arguments)
    assert done.code == 1
    assert message in done.err
