"""Banks: the learned blocks that a patch carries, to and from safetensors bytes. Needs no torch.

A bank keeps its shape on the way from a package file to the model. One without any block is no patch at all.
"""

import hashlib
import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import safetensors

from ppm.errors import IntegrityError

__all__ = ["EMPTY", "ArrangementName", "Bank", "Block"]

ArrangementName = Literal["joined"]
"""How a bank's blocks meet a prompt. `joined`: one after the other, later ones see earlier ones."""
MAX_HEADER_BYTES = 64 * 2**10
"""Of the safetensors header, which names a tensor a block."""
MAX_WIDTH = 2**17
"""Of a block: more than the hidden size of any model."""
ONE_BLOCK = "prefix"
"""What the tensor of a bank of one joined block is called."""


@dataclass(frozen=True)
class Block:
    """One learned matrix, (virtual_tokens, hidden_size): its shape, and its values in float32, row by row."""

    shape: tuple[int, int]
    values: bytes = field(repr=False)

    def __post_init__(self) -> None:
        tokens, width = self.shape
        if tokens < 1 or not 1 <= width <= MAX_WIDTH or len(self.values) != 4 * tokens * width:
            raise ValueError(f"a block of shape {self.shape} can't have {len(self.values)} bytes of values")


@dataclass(frozen=True)
class Bank:
    """The blocks of a patch or a composition, and how they meet a prompt.

    `encoded` are the safetensors bytes that it was read from, so that what is written is what was read.
    """

    blocks: tuple[Block, ...] = ()
    arrangement: ArrangementName = "joined"
    encoded: bytes = field(default=b"", compare=False, repr=False)

    def __post_init__(self) -> None:
        if len({block.shape[1] for block in self.blocks}) > 1:
            raise ValueError("the blocks of a bank have different widths")

    def __bool__(self) -> bool:
        return bool(self.blocks)

    @property
    def virtual_tokens(self) -> int:
        """How many tokens all blocks have together."""
        return sum(block.shape[0] for block in self.blocks)

    @property
    def hidden_size(self) -> int:
        """How wide the blocks are; 0 for an empty bank."""
        return self.blocks[0].shape[1] if self.blocks else 0

    @cached_property
    def digest(self) -> str:
        """Hexadecimal SHA-256 of its bytes."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def to_bytes(self) -> bytes:
        """The bank as safetensors: the same blocks give the same bytes."""
        if self.encoded or not self.blocks:
            return self.encoded
        import numpy  # which only whoever makes a bank has need of
        from safetensors.numpy import save

        names = [ONE_BLOCK] if len(self.blocks) == 1 else [f"block.{i}" for i in range(len(self.blocks))]
        arrays = [numpy.frombuffer(block.values, dtype="<f4").reshape(block.shape) for block in self.blocks]
        return bytes(save(dict(zip(names, arrays, strict=True))))

    @staticmethod
    def parse(data: bytes, origin: str) -> "Bank":
        """A bank from safetensors bytes, which are read as hostile. Raises IntegrityError naming `origin`."""
        if int.from_bytes(data[:8], "little") > MAX_HEADER_BYTES:
            raise IntegrityError(f"is damaged (a header of over {MAX_HEADER_BYTES:,} bytes)", context=origin)
        try:
            tensors = dict(safetensors.deserialize(data))  # type: ignore[no-untyped-call]
        except (safetensors.SafetensorError, ValueError, OverflowError) as error:
            raise IntegrityError(f"is damaged ({error})", context=origin) from error
        names = [ONE_BLOCK] if set(tensors) == {ONE_BLOCK} else [f"block.{i}" for i in range(len(tensors))]
        if not tensors or set(tensors) != set(names):
            raise IntegrityError(f"must hold one tensor named {ONE_BLOCK!r}", context=origin)
        blocks = tuple(_block(tensors[name], f"{origin}, {name}") for name in names)
        try:
            return Bank(blocks, encoded=data)
        except ValueError as error:
            raise IntegrityError(f"is damaged ({error})", context=origin) from error


def _block(info: dict[str, Any], origin: str) -> Block:
    shape, values = info["shape"], bytes(info["data"])
    if info["dtype"] != "F32" or not isinstance(shape, list) or len(shape) != 2:
        raise IntegrityError(f"is a tensor of {info['dtype']} {shape}, not a matrix in F32", context=origin)
    try:
        block = Block((shape[0], shape[1]), values)
    except ValueError as error:
        raise IntegrityError(f"is damaged ({error})", context=origin) from error
    # An exponent of all ones is an infinity or no number at all.
    if not all(map(math.isfinite, memoryview(values).cast("f"))):
        raise IntegrityError("has values that are not finite numbers", context=origin)
    return block


EMPTY = Bank()
"""No patch."""
