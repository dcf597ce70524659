"""Banks: what was written is read back, and bytes that are no bank are refused."""

import json
import struct
from dataclasses import replace

import numpy
import pytest
from packages import make_bank, make_routed, make_trigger
from safetensors.numpy import load, save

from ppm.bank import EMPTY, MAX_HEADER_BYTES, MAX_WIDTH, Bank, Block, Router
from ppm.bank_table import Turn
from ppm.document import to_table
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


def test_a_routed_bank_comes_back_with_its_router():
    turn = Turn((1, 5), (2, 7))
    bank = make_routed(turn, threshold=0.25, bias=-1.5)
    found = Bank.parse(bank.to_bytes(), "patch.ppm", bank.table)
    assert (found, found.digest, found.table) == (bank, bank.digest, bank.table)
    assert found.router.turn == turn
    assert found.always_on == make_bank()
    # A key that says what is so anyway would change the digests of all that is deployed.
    assert "several" not in to_table(found.table)
    assert to_table(found.table)["turn"] == {"opening": [1, 5], "closing": [2, 7]}
    by_sentences = make_routed(replace(turn, ends=(3, 4)), threshold=0.25, bias=-1.5)
    again = Bank.parse(by_sentences.to_bytes(), "patch.ppm", by_sentences.table)
    assert again.router.turn.ends == (3, 4)
    assert again.digest != bank.digest


def test_a_routed_bank_is_known_by_its_threshold_too():
    one, other = make_routed(threshold=0.25), make_routed(threshold=0.5)
    assert one.to_bytes() == other.to_bytes()
    assert one.digest != other.digest


def test_several_triggers_may_be_for_one_block():
    triggers = (make_trigger(threshold=0.1), replace(make_trigger(threshold=0.3), patch=""))
    bank = make_bank().routed(Router(tuple(replace(trigger, block=0) for trigger in triggers), (1,)))
    assert Bank.parse(bank.to_bytes(), "x", bank.table) == bank
    assert bank.table.block == (0, 0)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("router.bias", None, "must hold block.0 and router.weight, router.bias"),
        ("router.weight", numpy.ones((1, 7), "<f4"), "a trigger can't have 7 values for 3 hidden states"),
        ("router.weight", numpy.ones((2, 12), "<f4"), "not [1, 12] in F32"),
        ("router.weight", numpy.ones((1, 12), "<f8"), "is a tensor of F64"),
        ("router.weight", numpy.ones((1, 0), "<f4"), "is a tensor of [1, 0], not a matrix"),
        ("router.weight", numpy.ones(8, "<f4"), "is a tensor of [8], not a matrix"),
        ("router.weight", numpy.full((1, 12), numpy.nan, "<f4"), "not finite"),
        ("router.bias", numpy.ones(2, "<f4"), "not [1] in F32"),
        ("router.extra", numpy.ones(2, "<f4"), "must hold block.0"),
        ("block.1", numpy.ones((1, 4), "<f4"), "each block of a routed bank needs a trigger"),
    ],
)
def test_a_router_of_wrong_tensors_is_refused(name, value, message):
    bank = make_routed()
    tensors = {key: array for key, array in load(bank.to_bytes()).items() if key != name}
    if value is not None:
        tensors[name] = value
    with pytest.raises(IntegrityError) as caught:
        Bank.parse(save(tensors), "patch.ppm", bank.table)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threshold": ()}, "needs the threshold of each trigger"),
        ({"layers": ()}, "layers must be 1 to 16 rising numbers"),
        ({"layers": (2, 1)}, "layers must be 1 to 16 rising numbers"),
        ({"layers": (0,)}, "layers must be between 1 and"),
        ({"block": (0, 0)}, "of the same length"),
        ({"threshold": (1.5,)}, "threshold must be between 0 and 1"),
        ({"threshold": (float("nan"),)}, "threshold must be between 0 and 1"),
        ({"block": (-1,)}, "block must be 0 or more"),
        ({"patches": ("a", "b")}, "one patch for each trigger"),
        ({"arrangement": "joined"}, "has no triggers"),
    ],
)
def test_a_bank_table_that_makes_no_sense_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(make_routed().table, **change)


@pytest.mark.parametrize("ids", [(), (-1,), (2**31,), tuple(range(65))])
def test_a_turn_is_marked_by_a_few_token_ids(ids):
    with pytest.raises(ValueError, match="token ids"):
        Turn(ids, (1,))
    if ids:
        with pytest.raises(ValueError, match="ends must be 0 to 4096 token ids"):
            Turn((1,), (1,), ids * 64)


def test_without_its_table_a_routed_bank_is_none():
    with pytest.raises(IntegrityError, match="must hold"):
        Bank.parse(make_routed().to_bytes(), "patch.ppm")
    with pytest.raises(IntegrityError, match="must hold"):
        Bank.parse(make_bank().to_bytes(), "patch.ppm", make_routed().table)
