"""Sketches of weights tell how far two bases are apart, in ten kilobytes."""

import json
import math
import struct

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ppm.errors import IntegrityError, ModelError
from ppm.sketch import BUCKETS, Sketch, distance, sketch_weights

SHAPES = {f"model.layers.{i}.{part}.weight": (48, 64) for i in range(12) for part in ("q", "k", "up")}


def weights(seed=0):
    generator = torch.Generator().manual_seed(seed)
    found = {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
    return found | {"model.norm.weight": torch.ones(64), "bias": torch.zeros(64)}


def sketched(folder, tensors, *, tied=False):
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    return sketch_weights(folder, tied=tied)


def test_a_sketch_is_small_and_read_back_as_it_was_written(tmp_path):
    found = sketched(tmp_path / "a", weights()).rounded
    data = found.to_bytes()
    assert len(data) < 200 + len(weights()) * (4 + 2 * BUCKETS)
    assert Sketch.parse(data, "x").to_bytes() == data
    assert distance(found, found).largest == 0
    assert sketched(tmp_path / "a", weights()).to_bytes() == data


@pytest.mark.parametrize("share", [0.003, 0.05, 0.3])
def test_the_distance_is_estimated(tmp_path, share):
    tensors, noise = weights(), weights(1)
    other = {name: tensor + share * noise[name] for name, tensor in tensors.items()}
    found = distance(sketched(tmp_path / "a", tensors).rounded, sketched(tmp_path / "b", other).rounded)
    assert found.overall == pytest.approx(share, rel=0.1)
    assert found.largest < 2 * share
    assert found.where in tensors


def test_one_tensor_that_is_another_is_named(tmp_path):
    tensors = weights()
    other = tensors | {"model.layers.3.k.weight": weights(1)["model.layers.3.k.weight"]}
    found = distance(sketched(tmp_path / "a", tensors).rounded, sketched(tmp_path / "b", other).rounded)
    assert found.where == "model.layers.3.k.weight"
    assert found.largest > 0.8
    assert found.overall < 0.4


def test_a_tensor_that_was_only_scaled_is_seen(tmp_path):
    tensors = weights()
    other = tensors | {"model.norm.weight": 1.5 * tensors["model.norm.weight"], "bias": torch.full((64,), 0.1)}
    found = distance(sketched(tmp_path / "a", tensors).rounded, sketched(tmp_path / "b", other).rounded)
    assert found.largest >= 0.5


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_every_plain_dtype_is_read(tmp_path, dtype):
    """The sums are those of the numbers, whatever they are stored in."""
    tensors = {name: tensor.bfloat16() for name, tensor in weights().items()}
    recast = {name: tensor.to(dtype) for name, tensor in tensors.items()}
    one, other = sketched(tmp_path / "a", tensors), sketched(tmp_path / "b", recast)
    assert distance(one.rounded, other.rounded).largest < 1e-3
    assert other.dtype == str(dtype).removeprefix("torch.")


def test_a_tied_head_counts_once(tmp_path):
    tensors = weights()
    head = {"lm_head.weight": torch.ones(4, 4)}
    assert sketched(tmp_path / "a", tensors | head, tied=True) == sketched(tmp_path / "b", tensors)
    assert sketched(tmp_path / "a", tensors | head).tensors != sketched(tmp_path / "b", tensors).tensors


def test_packed_weights_are_refused(tmp_path):
    with pytest.raises(ModelError, match=r"model\.norm\.weight is of I8") as caught:
        sketched(tmp_path / "a", weights() | {"model.norm.weight": torch.ones(64, dtype=torch.int8)})
    assert "dequantised" in caught.value.hint


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    with pytest.raises(ModelError, match="not finite"):
        sketched(tmp_path / "a", weights() | {"bias": torch.full((64,), math.nan)})


def test_a_sketch_from_others_is_read_as_hostile_input(tmp_path):
    good = sketched(tmp_path / "a", weights()).to_bytes()
    at = len(b"ppm-sketch-1\n")
    length, count = struct.unpack("<II", good[at : at + 8])
    header = good[at + 8 : at + 8 + length]
    other = json.dumps(json.loads(header) | {"more": 1}).encode()
    rest = good[at + 8 + length :]
    infinite = struct.pack("<f", math.inf) + rest[4:]
    for data in (
        b"",
        good[:30],
        good[:-1],
        good + b"\0",
        b"x" + good[1:],
        good[:at] + struct.pack("<II", 2**31, count) + good[at + 8 :],
        good[:at] + struct.pack("<II", length, 2**31) + good[at + 8 :],
        good[:at] + struct.pack("<II", length, count) + b"[" * length + rest,
        good[:at] + struct.pack("<II", len(other), count) + other + rest,
        good[:at] + struct.pack("<II", length, count) + header + infinite,
        good[:at] + struct.pack("<II", length, count) + header + struct.pack("<f", -1.0) + rest[4:],
    ):
        with pytest.raises(IntegrityError, match="no sketch of a base"):
            Sketch.parse(data, "x")


def test_sums_spread_as_they_should(tmp_path):
    """Each of the sums has its share of a tensor's square: no bucket and no sign is preferred."""
    made = {f"t{i}": torch.randn(64, 64, generator=torch.Generator().manual_seed(i)) for i in range(200)}
    found = sketched(tmp_path / "a", made)
    squares = np.square(np.array(found.sums)).mean(axis=0)
    assert np.allclose(squares, 1 / BUCKETS, rtol=0.4)
    assert abs(np.array(found.sums).mean()) < 0.02
