"""Headers of GGUF files: what is in them, and that a hostile one ends in one message before anything is allocated."""

import struct
import tracemalloc
from contextlib import suppress

import gguf
import gguf_files
import pytest

from ppm.bases.header import BLOCKS, read_header
from ppm.errors import ModelError


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return gguf_files.write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", kind="Q8_0").read_bytes()


def refused(tmp_path, data):
    path = tmp_path / "bad.gguf"
    path.write_bytes(data)
    with pytest.raises(ModelError) as caught:
        read_header(path)
    assert caught.value.context == str(path)
    return caught.value


def test_block_sizes_are_those_of_the_format():
    theirs = {kind.value: tuple(sizes) for kind, sizes in gguf.GGML_QUANT_SIZES.items()}
    assert {kind: sizes for kind, sizes in BLOCKS.items() if theirs.get(kind) != sizes} == {}


def test_a_header_says_what_the_file_holds(tmp_path, whole):
    path = tmp_path / "tiny.gguf"
    path.write_bytes(whole)
    header, other = read_header(path), gguf.GGUFReader(path)
    assert header.architecture == "llama"
    assert header.tokens == gguf_files.TOKENS
    assert (header.token("bos"), header.token("eos"), header.token("eot")) == (1, 2, None)
    assert header.flag("tokenizer.ggml.add_bos_token") is False
    assert header.text("tokenizer.chat_template") == gguf_files.TEMPLATE
    assert [(t.name, t.shape, t.start) for t in header.tensors] == [
        (t.name, tuple(reversed(t.shape.tolist())), t.data_offset) for t in other.tensors
    ]
    assert header.parameters == sum(int(t.n_elements) for t in other.tensors)
    assert header.largest == len(gguf_files.TOKENS) * gguf_files.WIDTH


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.01, 0.2, 0.5, 0.9, 0.99999])
def test_a_file_that_is_cut_off(tmp_path, whole, share):
    error = refused(tmp_path, whole[: int(share * len(whole))])
    assert "cut off" in error.message or "does not start with GGUF" in error.message
    assert error.hint


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 a zip", b"GGML" + b"\0" * 40, b"{}" * 100])
def test_what_is_no_gguf(tmp_path, data):
    assert "does not start with GGUF" in refused(tmp_path, data).message


def start(tensors, keys, version=3, rest=b""):
    return b"GGUF" + struct.pack("<IQQ", version, tensors, keys) + rest


def text(value):
    return struct.pack("<Q", len(value)) + value


def entry(name, shape, kind=0, offset=0):
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


HOSTILE = {
    "very many tensors": (start(2**60, 0), "claims to hold"),
    "very many keys": (start(0, 2**40), "claims to hold"),
    "a very long text": (start(0, 1, rest=text(b"k") + struct.pack("<IQ", 8, 2**62)), "cut off"),
    "a very long key": (start(0, 1, rest=struct.pack("<Q", 2**40)), "cut off"),
    "a very long list": (start(0, 1, rest=text(b"k") + struct.pack("<IIQ", 9, 4, 2**61)), "cut off"),
    "a list of very many texts": (start(0, 1, rest=text(b"k") + struct.pack("<IIQ", 9, 8, 2**33)), "cut off"),
    "lists in lists in lists": (
        start(0, 1, rest=text(b"k") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 4 + b"\0" * 64),
        "nested too deeply",
    ),
    "a list of more values than any vocabulary": (
        start(0, 1, rest=text(b"k") + struct.pack("<IIQ", 9, 7, 2**23) + b"\0" * 2**23),
        "more than 4,194,304 values",
    ),
    "an unknown type of value": (start(0, 1, rest=text(b"k") + struct.pack("<I", 99)), "of type 99"),
    "a key that occurs twice": (start(0, 2, rest=(text(b"k") + struct.pack("<IB", 7, 1)) * 2), "occurs twice"),
    "a text that is no UTF-8": (start(0, 1, rest=text(b"\xff\xfe")), "not UTF-8"),
    "a tensor beyond the end": (start(1, 0, rest=entry(b"t", [32], 0, 2**40)), "cut off"),
    "a tensor larger than any": (start(1, 0, rest=entry(b"t", [2**31, 2**31, 2**31])), "has the shape"),
    "a tensor without numbers": (start(1, 0, rest=entry(b"t", [0])), "has the shape"),
    "a tensor of half a block": (start(1, 0, rest=entry(b"t", [33], 8) + b"\0" * 200), "has the shape"),
    "a tensor of many dimensions": (start(1, 0, rest=text(b"t") + struct.pack("<I", 2**31)), "dimensions"),
    "an unknown type of tensor": (start(1, 0, rest=entry(b"t", [32], 77)), "of type 77"),
    "a tensor that is not aligned": (start(1, 0, rest=entry(b"t", [1], 0, 5) + b"\0" * 99), "not aligned"),
    "two tensors in one place": (
        start(2, 0, rest=entry(b"t", [8]) + entry(b"u", [8]) + b"\0" * 128),
        "where another one does",
    ),
    "two tensors of one name": (start(2, 0, rest=entry(b"t", [8]) * 2 + b"\0" * 128), "twice"),
    "an alignment of nothing": (
        start(0, 1, rest=text(b"general.alignment") + struct.pack("<II", 4, 0)),
        "alignment is 0",
    ),
    "the other byte order": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
    "another version": (start(0, 0, version=9), "version is 9"),
    "one part of several": (
        start(0, 1, rest=text(b"split.count") + struct.pack("<IH", 2, 4)),
        "one of 4 parts",
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_header_is_one_message_and_takes_no_memory(tmp_path, what):
    data, message = HOSTILE[what]
    tracemalloc.start()
    try:
        error = refused(tmp_path, data)
        assert message in error.message
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
    assert error.hint


def test_a_byte_that_flips_is_a_message_or_another_header(tmp_path, whole):
    """Nothing but a ModelError comes out of a damaged header."""
    path = tmp_path / "flipped.gguf"
    for at in range(0, 4000, 7):
        damaged = bytearray(whole)
        damaged[at] ^= 0xFF
        path.write_bytes(damaged)
        with suppress(ModelError):
            read_header(path)
