"""In which dtype a base runs, and whether it goes into memory."""

import json
import subprocess
import sys

import pytest
import torch
from runtime.architectures import tiny_model, tiny_tokenizer

from ppm.base import identify, locate
from ppm.errors import ModelError
from ppm.running import Running
from ppm.runtime.dtypes import check_memory, chosen, faster_dtype, pace_note, weight_elements
from ppm.runtime.loading import LazyModel, load_base
from ppm.runtime.model import attach


@pytest.fixture
def folder(tmp_path):
    tiny_model().save_pretrained(tmp_path / "base")
    tiny_tokenizer().save_pretrained(tmp_path / "base")
    return tmp_path / "base"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_a_base_is_loaded_in_the_dtype_that_is_named_and_takes_a_prefix_there(folder, dtype, tmp_path):
    loaded = load_base(identify(folder), running=Running(dtype, memory=2**40), kept=tmp_path / "kept")
    assert loaded.model.dtype == getattr(torch, dtype)
    assert loaded.memory == 2**40
    attach(loaded.model, [torch.randn(3, loaded.hidden_size)], kept=loaded.kept)


def test_a_device_map_is_taken(folder):
    assert load_base(identify(folder), running=Running(device_map="cpu")).model.device.type == "cpu"
    with pytest.raises(ModelError, match="can't be loaded"):
        load_base(identify(folder), running=Running(device_map="nowhere"))


def test_small_bases_and_the_lab_run_in_float32_and_torch_is_not_asked(folder):
    assert chosen(Running("auto"), identify(folder)).dtype == "float32"
    assert chosen(Running("bfloat16", memory=7), identify(folder)) == Running("bfloat16", memory=7)
    script = (
        "import sys; from ppm.workspace import open_base; from ppm.running import Running; "
        "from ppm.runtime.dtypes import chosen; "
        "print(chosen(Running(), open_base('lab')).dtype, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.split() == ["float32", "False"], done.stderr


def test_the_faster_dtype_is_measured_once_and_kept(tmp_path):
    first = faster_dtype(tmp_path)
    assert first in ("float32", "bfloat16")
    [path] = tmp_path.iterdir()
    table = json.loads(path.read_bytes())
    path.write_text(json.dumps({**table, "dtype": "float16"}))
    assert faster_dtype(tmp_path) == "float16"  # what is kept is believed
    path.write_text("{damaged")
    assert faster_dtype(tmp_path) in ("float32", "bfloat16")
    assert json.loads(path.read_bytes())["machine"] == table["machine"]


def test_a_dtype_that_is_slow_on_this_machine_is_told_when_the_base_is_loaded(folder, tmp_path, monkeypatch):
    base, kept = identify(folder), tmp_path / "kept"
    faster_dtype(kept)
    [path] = kept.iterdir()

    def told(dtype, gain):
        faster = "bfloat16" if gain > 1 else "float32"
        path.write_text(json.dumps({**json.loads(path.read_bytes()), "dtype": faster, "gain": gain}))
        lines = []
        assert LazyModel(base, kept, Running(dtype), lines.append).loaded.model.dtype == getattr(torch, dtype)
        return lines

    assert told("bfloat16", 0.2) == []  # so small a base takes its time elsewhere
    monkeypatch.setattr("ppm.runtime.dtypes.SMALL", 1)
    [line] = told("bfloat16", 0.2)
    assert "float32 are 5 times as fast" in line
    assert "--dtype float32" in line
    [line] = told("float32", 3.0)
    assert "bfloat16 are 3 times as fast" in line
    with monkeypatch.context() as patched:
        patched.setattr("torch.cuda.is_available", lambda: True)
        assert pace_note(Running("bfloat16"), base, kept=tmp_path / "other") is None
    assert not (tmp_path / "other").exists()  # where `auto` would look for what the processor is fast in
    assert told("float32", 0.2) == told("bfloat16", 3.0) == told("bfloat16", 0.9) == told("float16", 0.2) == []


def test_weights_are_counted_without_loading_them(folder):
    assert weight_elements(folder) == sum(p.numel() for p in {id(p): p for p in tiny_model().parameters()}.values())
    (folder / "model.safetensors").write_bytes(b"123")
    with pytest.raises(ModelError, match="not a whole safetensors file"):
        weight_elements(folder)


def test_too_little_memory_is_told_before_loading_with_what_it_takes():
    folder = locate("lab")
    check_memory(folder, "float32", 2**31, context="lab")
    with pytest.raises(ModelError, match=r"takes about [0-9]+ MiB of memory .*100 MiB are allowed by --memory"):
        check_memory(folder, "float32", 100 * 2**20, context="lab")
