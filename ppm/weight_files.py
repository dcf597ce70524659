"""A model's weight files: which they are, and their tensors' names, shapes and bytes, read without torch.

A header is read as hostile input: bounded, and never beyond its file.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ppm.errors import ModelError

__all__ = ["SAMPLED_BYTES", "Stored", "blocks_of", "sampled_tensors", "stored_tensors", "weight_files"]

SAMPLED_BYTES = 64 * 1024
"""At most so many bytes of each tensor are part of a fingerprint."""
_CHUNKS = 16
_MAX_HEADER = 100 * 2**20


def weight_files(folder: Path) -> list[Path]:
    """A model's files in the safetensors format. Raises ModelError when there are none, or an adapter beside them."""
    if (folder / "adapter_config.json").exists():
        raise ModelError(
            "has an adapter next to the weights, which would be loaded without notice",
            context=str(folder),
            hint="merge the adapter into the weights, or move adapter_config.json away",
        )
    files = sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelError(
            "has no weights in the safetensors format",
            context=str(folder),
            hint="save the model with safe_serialization=True; other formats can run code when they are loaded",
        )
    return files


@dataclass(frozen=True)
class Stored:
    """One tensor of a safetensors file: `start` and `length` are bytes of the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    length: int


def stored_tensors(path: Path) -> list[Stored]:
    """What a safetensors file holds, by name. Raises ModelError when it is damaged."""
    with _damage(path), path.open("rb") as stream:
        return _stored(stream)


def blocks_of(path: Path, tensor: Stored, size: int) -> Iterator[bytes]:
    """The bytes of a tensor, at most `size` at a time. Raises ModelError when the file is damaged."""
    with _damage(path), path.open("rb") as stream:
        stream.seek(tensor.start)
        left = tensor.length
        while left:
            block = stream.read(min(size, left))
            if not block:
                raise ValueError("it is truncated")
            left -= len(block)
            yield block


def sampled_tensors(path: Path) -> Iterator[tuple[str, dict[str, object], bytes]]:
    """(name, header entry, sampled bytes) of each tensor of a safetensors file. Raises ModelError for a damaged one."""
    with _damage(path), path.open("rb") as stream:
        for tensor in _stored(stream):
            identity: dict[str, object] = {"dtype": tensor.dtype, "shape": list(tensor.shape)}
            yield tensor.name, identity, _sample(stream, tensor.start, tensor.length)


def _stored(stream: BinaryIO) -> list[Stored]:
    size = int.from_bytes(stream.read(8), "little")
    if size > _MAX_HEADER:
        raise ValueError("its header is too large")
    header = json.loads(stream.read(size))
    header.pop("__metadata__", None)
    found = []
    for name, info in sorted(header.items()):
        start, end = info["data_offsets"]
        if not 0 <= start <= end:
            raise ValueError("its offsets are out of order")
        found.append(Stored(name, info["dtype"], tuple(info["shape"]), 8 + size + start, end - start))
    return found


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"is not a whole safetensors file ({error})", context=str(path)) from error


def _sample(stream: BinaryIO, start: int, length: int) -> bytes:
    if length <= SAMPLED_BYTES:
        stream.seek(start)
        data = stream.read(length)
        if len(data) != length:
            raise ValueError("it is truncated")
        return data
    piece = SAMPLED_BYTES // _CHUNKS
    pieces = []
    for index in range(_CHUNKS):
        stream.seek(start + index * (length - piece) // (_CHUNKS - 1))
        pieces.append(stream.read(piece))
    if len(pieces[-1]) != piece:
        raise ValueError("it is truncated")
    return b"".join(pieces)
