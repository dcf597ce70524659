"""Banks: what was written is read back, and bytes that are no bank are refused."""

import json
import struct

import numpy
import pytest
from packages import make_bank
from safetensors.numpy import save

from ppm.bank import EMPTY, MAX_HEADER_BYTES, MAX_WIDTH, Bank, Block
from ppm.errors import IntegrityError


def block(tokens, width=4, value=0.5):
    return Block((tokens, width), numpy.full((tokens, width), value, dtype="<f4").tobytes())


def encoded(header, values=b""):
    """Bytes in the form of safetensors, whatever the header says."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + values


def test_one_block_comes_back_as_it_was():
    bank = make_bank(3, 4, 0.25)
    data = bank.to_bytes()
    found = Bank.parse(data, "patch.ppm")
    assert (found, found.to_bytes(), found.digest) == (bank, data, bank.digest)
    assert (found.virtual_tokens, found.hidden_size, bool(found)) == (3, 4, True)


def test_several_blocks_come_back_in_order():
    bank = Bank(tuple(block(tokens, value=tokens / 16) for tokens in range(1, 13)))
    found = Bank.parse(bank.to_bytes(), "patch.ppm")
    assert found.blocks == bank.blocks
    assert (found.virtual_tokens, found.hidden_size) == (78, 4)


def test_the_same_blocks_give_the_same_bytes():
    assert Bank((block(2), block(1))).to_bytes() == Bank((block(2), block(1))).to_bytes()
    assert Bank((block(2), block(1))).digest != Bank((block(1), block(2))).digest


def test_an_empty_bank_has_nothing_and_is_no_patch():
    assert (bool(EMPTY), EMPTY.virtual_tokens, EMPTY.hidden_size, EMPTY.to_bytes()) == (False, 0, 0, b"")
    with pytest.raises(IntegrityError, match="is damaged"):
        Bank.parse(EMPTY.to_bytes(), "patch.ppm")


def test_blocks_fit_each_other_and_their_values():
    with pytest.raises(ValueError, match="width"):
        Bank((block(1, 4), block(1, 5)))
    for shape in ((0, 4), (1, 0), (1, MAX_WIDTH + 1), (2, 4), (-1, -4)):
        with pytest.raises(ValueError, match="can't have 16 bytes"):
            Block(shape, bytes(16))


F32 = {"dtype": "F32", "shape": [1, 1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is damaged"),
        (b"\xff" * 8, f"a header of over {MAX_HEADER_BYTES:,} bytes"),
        (struct.pack("<Q", MAX_HEADER_BYTES + 1) + b" " * MAX_HEADER_BYTES, "a header of over"),
        (b"\x08" + bytes(7) + b"no json!", "is damaged"),
        (make_bank().to_bytes()[:-1], "is damaged"),
        (make_bank().to_bytes() + b"x", "is damaged"),
        (encoded({}), "must hold one tensor"),
        (encoded({"prefixes": F32}, bytes(4)), "must hold one tensor"),
        (encoded({"block.1": F32}, bytes(4)), "must hold one tensor"),
        (encoded({"prefix": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}, bytes(16)), "not a matrix"),
        (save({"prefix": numpy.zeros((1, 4), dtype="<f8")}), "not a matrix in F32"),
        (save({"prefix": numpy.zeros((0, 4), dtype="<f4")}), "is damaged"),
        (save({f"block.{i}": numpy.ones((1, 4 + i), dtype="<f4") for i in range(2)}), "have different widths"),
        (make_bank(value=float("nan")).to_bytes(), "values that are not finite"),
        (make_bank(value=float("-inf")).to_bytes(), "values that are not finite"),
    ],
)
def test_what_is_no_bank_is_refused_by_its_name(data, message):
    with pytest.raises(IntegrityError, match=message) as caught:
        Bank.parse(data, "patch.ppm")
    assert caught.value.context.startswith("patch.ppm")
