"""The header of a GGUF file, read as hostile input: nothing is allocated before the file is known to hold it.

Reads the metadata and where each tensor lies, never a weight; needs neither numpy nor torch. The format is that of
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian.
"""

import math
import os
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from ppm.errors import ModelError

__all__ = ["BLOCKS", "GgufHeader", "GgufTensor", "read_header"]

BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 40),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292),
    16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82),
    23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2),
    34: (256, 54), 35: (256, 66), 39: (32, 17),
}  # fmt: skip
"""Numbers and bytes of one block of each type of tensor."""
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_LEAST_BYTES = {_STRING: 8, _ARRAY: 12}
_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_MOST_TENSORS, _MOST_KEYS, _MOST_DIMENSIONS, _MOST_LEVELS = 2**17, 2**14, 8, 2
_LONGEST_KEY, _LONGEST_STRING, _LARGEST_HEADER = 2**16, 2**26, 2**28
_MOST_NUMBERS, _MOST_ITEMS = 2**48, 2**22
_CONVERT = "give a GGUF file of a causal language model, whole and unchanged"

Value = bool | int | float | str | list["Value"]


@dataclass(frozen=True)
class GgufTensor:
    """Where one tensor lies: `start` and `size` in bytes of the file, `shape` with the innermost dimension last."""

    name: str
    shape: tuple[int, ...]
    kind: int
    start: int
    size: int

    @property
    def numbers(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class GgufHeader:
    """The metadata of a GGUF by key, and its tensors in the file's order."""

    metadata: dict[str, Value] = field(repr=False)
    tensors: tuple[GgufTensor, ...] = field(repr=False)

    @property
    def architecture(self) -> str:
        """What the file calls its architecture; "" where it says nothing."""
        return self.text("general.architecture")

    @property
    def parameters(self) -> int:
        """How many numbers all tensors hold."""
        return sum(tensor.numbers for tensor in self.tensors)

    @property
    def largest(self) -> int:
        """How many numbers the largest tensor holds."""
        return max((tensor.numbers for tensor in self.tensors), default=0)

    @property
    def tokens(self) -> list[str]:
        """The vocabulary by id; empty where the file has none."""
        found = self.metadata.get("tokenizer.ggml.tokens")
        return [str(token) for token in found] if isinstance(found, list) else []

    def text(self, key: str) -> str:
        """A string of the metadata, or ""."""
        found = self.metadata.get(key)
        return found if isinstance(found, str) else ""

    def token(self, kind: str) -> int | None:
        """The id of a special token, such as `eos`; None where the file names none."""
        found = self.metadata.get(f"tokenizer.ggml.{kind}_token_id")
        return found if isinstance(found, int) else None

    def flag(self, key: str) -> bool | None:
        """A yes or no of the metadata; None where the file does not say."""
        found = self.metadata.get(key)
        return found if isinstance(found, bool) else None


def read_header(path: Path) -> GgufHeader:
    """The header of a GGUF file. Raises ModelError when it is none, is cut off, or is not what its header says."""
    try:
        with path.open("rb") as stream:
            return _Reader(stream, os.fstat(stream.fileno()).st_size).header()
    except OSError as error:
        raise ModelError(f"can't be read: {error.strerror}", context=str(path)) from error
    except _Fault as fault:
        raise ModelError(f"is no usable GGUF file: {fault}", context=str(path), hint=fault.hint) from None


class _Fault(ValueError):
    """What is wrong with a file."""

    def __init__(self, message: str, hint: str = _CONVERT) -> None:
        super().__init__(message)
        self.hint = hint


def _cut_off() -> _Fault:
    return _Fault("it is cut off", "fetch or copy the file again")


class _Reader:
    """Reads a header from the start of a file that is `size` bytes long."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self.stream = stream
        self.size = size
        self.at = 0
        self.items = 0

    def header(self) -> GgufHeader:
        if self.size < 4 or self.take(4) != _MAGIC:
            raise _Fault("it does not start with GGUF")
        version = self.number("I")
        if version not in _VERSIONS:
            swapped = int.from_bytes(int(version).to_bytes(4, "little"), "big") in _VERSIONS
            raise _Fault("it is big-endian" if swapped else f"its version is {version}, and versions 2 and 3 are read")
        tensors, keys = int(self.number("Q")), int(self.number("Q"))
        if tensors > _MOST_TENSORS or keys > _MOST_KEYS:
            raise _Fault(f"it claims to hold {tensors:,} tensors and {keys:,} keys")
        metadata = self.metadata(keys)
        if isinstance(metadata.get("split.count"), int) and metadata["split.count"] not in (0, 1):
            hint = "join the parts first, for example with llama.cpp's gguf-split --merge"
            raise _Fault(f"it is one of {metadata['split.count']} parts", hint)
        return GgufHeader(metadata, self.tensors(tensors, metadata))

    def metadata(self, count: int) -> dict[str, Value]:
        found: dict[str, Value] = {}
        for _ in range(count):
            key = self.string(_LONGEST_KEY)
            if key in found:
                raise _Fault(f"its key {key[:80]!r} occurs twice")
            found[key] = self.value(int(self.number("I")))
        return found

    def tensors(self, count: int, metadata: dict[str, Value]) -> tuple[GgufTensor, ...]:
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 8 <= alignment <= 2**20 or alignment % 8:
            raise _Fault(f"its alignment is {alignment!r}")
        entries = [self.entry() for _ in range(count)]
        names = [name for name, *_ in entries]
        if len(set(names)) < len(names):
            raise _Fault("it names a tensor twice")
        data = -(-self.at // alignment) * alignment
        found = []
        for name, shape, kind, offset in entries:
            numbers, size = BLOCKS[kind]
            tensor = GgufTensor(name, shape, kind, data + offset, math.prod(shape) // numbers * size)
            if offset % alignment:
                raise _Fault(f"the tensor {name!r} is not aligned")
            if tensor.start + tensor.size > self.size:
                missing = tensor.start + tensor.size - self.size
                raise _Fault(
                    f"it is cut off: the tensor {name!r} ends {missing:,} bytes after its end", _cut_off().hint
                )
            found.append(tensor)
        ends = 0
        for tensor in sorted(found, key=lambda tensor: tensor.start):
            if tensor.start < ends:
                raise _Fault(f"the tensor {tensor.name!r} lies where another one does")
            ends = tensor.start + tensor.size
        return tuple(found)

    def entry(self) -> tuple[str, tuple[int, ...], int, int]:
        name = self.string(_LONGEST_KEY)
        dimensions = int(self.number("I"))
        if dimensions > _MOST_DIMENSIONS:
            raise _Fault(f"the tensor {name[:80]!r} has {dimensions:,} dimensions")
        shape = tuple(reversed([int(self.number("Q")) for _ in range(dimensions)])) or (1,)
        kind, offset = int(self.number("I")), int(self.number("Q"))
        if kind not in BLOCKS:
            raise _Fault(f"the tensor {name[:80]!r} is of type {kind}, which ppm does not know")
        if 0 in shape or math.prod(shape) > _MOST_NUMBERS or shape[-1] % BLOCKS[kind][0]:
            raise _Fault(f"the tensor {name[:80]!r} has the shape {' x '.join(map(str, shape))}")
        return name, shape, kind, offset

    def value(self, kind: int, level: int = 0) -> Value:
        if kind in _NUMBERS:
            return self.number(_NUMBERS[kind])
        if kind == _STRING:
            return self.string(_LONGEST_STRING)
        if kind != _ARRAY or level == _MOST_LEVELS:
            raise _Fault(f"a value is of type {kind}" if kind != _ARRAY else "its lists are nested too deeply")
        inner, count = int(self.number("I")), int(self.number("Q"))
        if inner not in _NUMBERS and inner not in _LEAST_BYTES:
            raise _Fault(f"a value is of type {inner}")
        least = struct.calcsize(_NUMBERS[inner]) if inner in _NUMBERS else _LEAST_BYTES[inner]
        self.expect(count * least)
        self.items += count
        if self.items > _MOST_ITEMS:
            raise _Fault(f"its lists hold more than {_MOST_ITEMS:,} values")
        if inner in _NUMBERS:
            return list(struct.unpack(f"<{count}{_NUMBERS[inner]}", self.take(count * least)))
        return [self.value(inner, level + 1) for _ in range(count)]

    def number(self, code: str) -> int | float | bool:
        data = self.take(struct.calcsize(f"<{code}"))
        found: int | float | bool = struct.unpack(f"<{code}", data)[0]
        return found

    def string(self, longest: int) -> str:
        length = int(self.number("Q"))
        self.expect(length)
        if length > longest:
            raise _Fault(f"a text in it is {length:,} bytes long")
        try:
            return self.take(length).decode("utf-8")
        except UnicodeDecodeError as error:
            raise _Fault("a text in it is not UTF-8") from error

    def expect(self, length: int) -> None:
        if self.at + length > self.size:
            raise _cut_off()
        if self.at + length > _LARGEST_HEADER:
            raise _Fault(f"its header is longer than {_LARGEST_HEADER:,} bytes")

    def take(self, length: int) -> bytes:
        self.expect(length)
        data = self.stream.read(length)
        if len(data) != length:
            raise _cut_off()
        self.at += length
        return data
