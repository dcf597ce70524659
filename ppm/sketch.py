"""What a base's weights are like, in a few bytes: enough to tell whether another base is the same model, recast.

Of each tensor its norm and a count sketch are kept: every number is added, with a random sign, to one of BUCKETS sums.
The squared distance of two sketches is an unbiased estimate of that of the tensors, with a relative standard deviation
of about sqrt(2 / BUCKETS) (Charikar, Chen and Farach-Colton 2002; Weinberger et al. 2009, theorem 3). Signs and buckets
come from PCG64, seeded by the tensor's name. Closeness proves no identity; the gate decides.
"""

import hashlib
import json
import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ppm.errors import IntegrityError, ModelError
from ppm.weight_files import Stored, blocks_of, stored_tensors, weight_files

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

__all__ = ["BUCKETS", "Distance", "Sketch", "distance", "sketch_weights"]

BUCKETS = 16
_MAGIC = b"ppm-sketch-1\n"
_LONGEST_HEADER = 2**16
_MOST_TENSORS = 2**18
_WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
_NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_BLOCK = 2**22
"""Bytes of a tensor that are read at a time; a multiple of what 8 random bytes go with in any dtype."""


@dataclass(frozen=True)
class Sketch:
    """A base's weights in brief, with what else must be the same in a derived base.

    `tensors` is the digest of their names and shapes, in the order of the names; `norms` and `sums`, which are relative
    to the norms, go with it. `settings` and `ids` are of the configuration and of fixed texts (`ppm.runtime.derived`).
    """

    dtype: str
    tensors: str
    norms: tuple[float, ...]
    sums: tuple[tuple[float, ...], ...]
    settings: dict[str, object]
    ids: str = ""
    names: tuple[str, ...] = ()
    """Of the tensors of a base at hand; a package does not carry them."""

    def to_bytes(self) -> bytes:
        """As a package carries it: the same sketch gives the same bytes."""
        about = {"dtype": self.dtype, "tensors": self.tensors, "settings": self.settings, "ids": self.ids}
        header = json.dumps(about, sort_keys=True, separators=(",", ":")).encode()
        count = len(self.norms)
        sums = [value for row in self.sums for value in row]
        return b"".join(
            (
                _MAGIC,
                struct.pack("<II", len(header), count),
                header,
                struct.pack(f"<{count}f", *self.norms),
                struct.pack(f"<{len(sums)}e", *sums),
            )
        )

    @staticmethod
    def parse(data: bytes, origin: str) -> "Sketch":
        """A sketch that a package carries, read as hostile input. Raises IntegrityError."""
        try:
            if not data.startswith(_MAGIC):
                raise ValueError("it starts with something else")
            at = len(_MAGIC) + 8
            length, count = struct.unpack("<II", data[len(_MAGIC) : at])
            if length > _LONGEST_HEADER or count > _MOST_TENSORS:
                raise ValueError("it claims to be larger than any")
            if len(data) != at + length + count * (4 + 2 * BUCKETS):
                raise ValueError("its length is wrong")
            about = json.loads(data[at : at + length])
            kinds = {"dtype": str, "tensors": str, "settings": dict, "ids": str}
            if set(about) != set(kinds) or any(not isinstance(about[key], kind) for key, kind in kinds.items()):
                raise ValueError("its header is another one")
            norms = struct.unpack(f"<{count}f", data[at + length : at + length + 4 * count])
            flat = struct.unpack(f"<{count * BUCKETS}e", data[at + length + 4 * count :])
            if not all(map(math.isfinite, (*norms, *flat))) or min(norms, default=0.0) < 0:
                raise ValueError("it holds values that are no usable numbers")
        except (struct.error, ValueError, RecursionError) as error:
            raise IntegrityError(f"is no sketch of a base: {error}", context=origin) from error
        sums = tuple(flat[i : i + BUCKETS] for i in range(0, len(flat), BUCKETS))
        return Sketch(about["dtype"], about["tensors"], norms, sums, about["settings"], about["ids"])

    @property
    def rounded(self) -> "Sketch":
        """As it is after it was written and read."""
        return replace(Sketch.parse(self.to_bytes(), "a sketch"), names=self.names)


@dataclass(frozen=True)
class Distance:
    """How far two bases' weights are apart, relative to their norm: together, and where they are farthest."""

    overall: float
    largest: float
    where: str


def sketch_weights(folder: Path, *, tied: bool) -> Sketch:
    """The weights of a base folder in brief; of a head that is `tied` to the embeddings nothing is counted.

    Raises ModelError for weights that are not plain floating-point numbers.
    """
    found = {tensor.name: (path, tensor) for path in weight_files(folder) for tensor in stored_tensors(path)}
    if tied:
        found.pop("lm_head.weight", None)
    names = tuple(sorted(found))
    sizes: dict[str, int] = {}
    norms, sums = [], []
    for name in names:
        path, tensor = found[name]
        if tensor.dtype not in _WIDTHS:
            raise ModelError(
                f"{name} is of {tensor.dtype}: packed weights can't be compared with those of another base",
                context=str(folder),
                hint="save the model dequantised; `ppm base import` does that for formats that transformers unpacks",
            )
        sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.length
        norm, row = _sketch(path, tensor)
        norms.append(norm)
        sums.append(tuple(value / norm if norm else 0.0 for value in row))
    shapes = json.dumps([[name, list(found[name][1].shape)] for name in names], separators=(",", ":"))
    dtype = _NAMES[max(sizes, key=lambda kind: (sizes[kind], kind))] if sizes else ""
    digest = "sha256:" + hashlib.sha256(shapes.encode()).hexdigest()
    return Sketch(dtype, digest, tuple(norms), tuple(sums), {}, names=names)


def distance(one: Sketch, other: Sketch) -> Distance:
    """How far `other`, of a base at hand, is from `one`. Both must be of the same tensors."""
    squared, total, largest, where = 0.0, 0.0, 0.0, ""
    rows: Sequence[tuple[float, tuple[float, ...], float, tuple[float, ...]]]
    rows = list(zip(one.norms, one.sums, other.norms, other.sums, strict=True))
    for index, (norm, ours, other_norm, theirs) in enumerate(rows):
        apart = sum((norm * a - other_norm * b) ** 2 for a, b in zip(ours, theirs, strict=True))
        apart = max(apart, (norm - other_norm) ** 2)
        squared, total = squared + apart, total + norm**2
        share = math.sqrt(apart) / norm if norm else float(bool(other_norm))
        if share > largest:
            largest, where = share, other.names[index] if other.names else ""
    return Distance(math.sqrt(squared / total) if total else float(squared > 0), largest, where)


def _sketch(path: Path, tensor: Stored) -> "tuple[float, NDArray[numpy.float64]]":
    """The norm of a tensor, and the sums of its count sketch."""
    import numpy

    generator = numpy.random.PCG64(int.from_bytes(hashlib.sha256(tensor.name.encode()).digest()[:16], "little"))
    sums, squares = numpy.zeros(BUCKETS), 0.0
    for values in _numbers(path, tensor):
        drawn = generator.random_raw(-(-len(values) // 8)).astype("<u8").view(numpy.uint8)[: len(values)]
        signed = numpy.where(drawn & 0x80, -values, values)
        sums += numpy.bincount(drawn % BUCKETS, weights=signed, minlength=BUCKETS)
        squares += float(numpy.dot(values, values))
    if not math.isfinite(squares):
        raise ModelError(f"{tensor.name} holds values that are not finite numbers", context=str(path))
    return math.sqrt(squares), sums


def _numbers(path: Path, tensor: Stored) -> "Iterator[NDArray[numpy.float64]]":
    """The numbers of a tensor in pieces whose lengths, but for the last one's, are multiples of 8."""
    import numpy

    for block in blocks_of(path, tensor, _BLOCK):
        whole = block[: len(block) - len(block) % _WIDTHS[tensor.dtype]]
        if tensor.dtype == "BF16":
            widened = numpy.frombuffer(whole, "<u2").astype(numpy.uint32) << 16
            yield widened.view(numpy.float32).astype(numpy.float64)
        else:
            yield numpy.frombuffer(whole, {"F64": "<f8", "F32": "<f4", "F16": "<f2"}[tensor.dtype]).astype(float)
