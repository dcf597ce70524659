"""Banks: the learned blocks that a patch carries, to and from safetensors bytes. Needs no torch.

A bank keeps its shape on the way from a package file to the model. One without any block is no patch at all. A routed
bank carries a router too: the triggers that tell from the base's hidden states for which prompts a block is.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import safetensors

from ppm.bank_table import MAX_LAYERS, MAX_TRIGGERS, ArrangementName, BankTable, Turn
from ppm.document import to_table
from ppm.errors import IntegrityError
from ppm.names import canonical_digest

__all__ = ["EMPTY", "FEATURES", "ArrangementName", "Bank", "Block", "Readings", "Router", "Trigger"]

MAX_HEADER_BYTES = 64 * 2**10
"""Of the safetensors header, which names a tensor a block."""
MAX_WIDTH = 2**17
"""Of a block: more than the hidden size of any model."""
ONE_BLOCK = "prefix"
"""What the tensor of a bank of one joined block is called."""
ROUTER = ("router.weight", "router.bias")
"""The tensors of R triggers that read F features: (R, F) and (R,)."""
FEATURES = 3
"""How many hidden states a trigger reads after each layer."""


Readings = dict[tuple[tuple[int, ...], Turn | None, tuple[int, ...]], dict[tuple[bytes, bytes], float]]
"""What routers read of one base, whose texts an audit asks for again and again.

By the layers, the turn and the text's token ids, and then by a trigger's weight and bias: the log odds that it is its
patch's.
"""


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
class Trigger:
    """A linear classifier on hidden states of the base, for the block of that number.

    It fires where sigmoid(weight . features + bias) is at least `threshold`. `weight` is F values in float32: for each
    of the router's layers those of the last token before the answer, of the last token of what is said, and of the mean
    of what is said. `patch` is the name of the patch it came with, if that is known.
    """

    threshold: float
    weight: bytes = field(repr=False)
    bias: bytes = field(repr=False)
    block: int = 0
    patch: str = ""

    def __post_init__(self) -> None:
        if len(self.weight) % 4 or len(self.bias) != 4:
            raise ValueError("a trigger has values of four bytes, and one bias")


@dataclass(frozen=True)
class Router:
    """The triggers of a bank's blocks, after how many layers of the base all of them read, and where a chat has what
    its user says.

    Where triggers of different blocks fire, a prompt meets the block of the one that is farthest above its threshold,
    or with `several` those of all that are hardly less far above, isolated from each other. Blocks whose numbers are in
    `answers_only` are seen by the answer alone: by what follows the last turn, the tokens that the template puts
    between among it.
    """

    triggers: tuple[Trigger, ...]
    layers: tuple[int, ...]
    turn: Turn | None = None
    several: bool = False
    answers_only: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.answers_only and self.turn is None:
            raise ValueError("a router for answers alone needs the turn after which they begin")
        if not 1 <= len(self.triggers) <= MAX_TRIGGERS:
            raise ValueError(f"a router has 1 to {MAX_TRIGGERS} triggers")
        sizes = {len(trigger.weight) // 4 for trigger in self.triggers}
        if len(sizes) > 1:
            raise ValueError("the triggers of a router read hidden states of different widths")
        [size], states = sizes, FEATURES * len(self.layers)
        if not states or size % states or not 1 <= size // states <= MAX_WIDTH:
            raise ValueError(f"a trigger can't have {size} values for {states} hidden states")

    @property
    def reads(self) -> tuple[tuple[int, ...], Turn | None]:
        """After which layers it reads, and whose turns: routers that have this in common can be put together."""
        return self.layers, None if self.turn is None else self.turn.whole

    def seen_after(self, numbers: Sequence[int]) -> Turn | None:
        """After which turn a text sees the blocks of those numbers together, the last of its kind; None where all of it
        does, as it does where one of them is not for answers alone."""
        if self.turn is None or not numbers or not set(numbers) <= set(self.answers_only):
            return None
        return self.turn.whole

    @property
    def hidden_size(self) -> int:
        """How wide the hidden states are that its triggers read."""
        return len(self.triggers[0].weight) // (4 * FEATURES * len(self.layers))


@dataclass(frozen=True)
class Bank:
    """The blocks of a patch or a composition, and how they meet a prompt; a routed bank has a router.

    `encoded` are the safetensors bytes that it was read from, so that what is written is what was read. `answers_to` is
    the turn after which a text sees the blocks, the last of its kind; None where all of it does. A routed bank has that
    in its router.
    """

    blocks: tuple[Block, ...] = ()
    arrangement: ArrangementName = "joined"
    encoded: bytes = field(default=b"", compare=False, repr=False)
    router: Router | None = None
    answers_to: Turn | None = None

    def __post_init__(self) -> None:
        if len({block.shape[1] for block in self.blocks}) > 1:
            raise ValueError("the blocks of a bank have different widths")
        if (self.arrangement == "routed") != (self.router is not None):
            raise ValueError("a routed bank needs a router, and no other has one")
        if self.router is not None and self.answers_to is not None:
            raise ValueError("of a routed bank the router says what answers alone see")
        if self.arrangement == "isolated" and len(self.blocks) < 2:
            raise ValueError("an isolated bank has two blocks or more")
        if self.router is not None and {trigger.block for trigger in self.router.triggers} != set(
            range(len(self.blocks))
        ):
            raise ValueError("each block of a routed bank needs a trigger, and each trigger a block")
        if self.router is not None and not set(self.router.answers_only) <= set(range(len(self.blocks))):
            raise ValueError("answers_only names a block that the bank lacks")

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

    @property
    def table(self) -> BankTable | None:
        """What its bytes don't say, as the `[bank]` table of a manifest; None if joined and seen by whole texts."""
        if self.router is None:
            if self.arrangement == "joined" and self.answers_to is None:
                return None
            only = () if self.answers_to is None else tuple(range(len(self.blocks)))
            return BankTable(self.arrangement, turn=self.answers_to, answers_only=only)
        triggers = self.router.triggers
        numbers = tuple(trigger.block for trigger in triggers)
        return BankTable(
            arrangement=self.arrangement,
            layers=self.router.layers,
            threshold=tuple(trigger.threshold for trigger in triggers),
            block=numbers if numbers != tuple(range(len(triggers))) else (),
            patches=tuple(t.patch for t in triggers) if all(t.patch for t in triggers) else (),
            several=self.router.several or None,
            turn=self.router.turn,
            answers_only=self.router.answers_only,
        )

    @cached_property
    def digest(self) -> str:
        """Hexadecimal SHA-256 of its bytes, and of its table where it has one."""
        own = hashlib.sha256(self.to_bytes()).hexdigest()
        if self.table is None:
            return own
        return canonical_digest([own, to_table(self.table)]).removeprefix("sha256:")

    def seen_after(self, numbers: Sequence[int]) -> Turn | None:
        """After which turn a text sees those of its blocks, the last of its kind; None where all of it does."""
        return self.answers_to if self.router is None else self.router.seen_after(numbers)

    @property
    def where_picked(self) -> "Bank":
        """All of its blocks, in front of every prompt as in front of those for which they are picked together."""
        return self if self.router is None else self.of_blocks(range(len(self.blocks)))

    @property
    def always_on(self) -> "Bank":
        """Its blocks without any router, in front of whole texts; a bank without a router as it is."""
        return self if self.router is None else Bank(self.blocks)

    def of_blocks(self, numbers: Sequence[int]) -> "Bank":
        """Some of a routed bank's blocks as a prompt meets them that they are picked for; none is no patch."""
        arrangement: ArrangementName = "isolated" if len(numbers) > 1 else "joined"
        met = tuple(self.blocks[number] for number in numbers)
        return Bank(met, arrangement, answers_to=self.seen_after(numbers))

    def routed(self, router: Router) -> "Bank":
        """Its blocks behind a router, each seen by answers alone where this bank or the router says so.

        Raises ValueError for triggers of blocks that it lacks.
        """
        if self.answers_to is not None:
            router = replace(router, answers_only=tuple(range(len(self.blocks))))
        return Bank(self.blocks, "routed", router=router)

    def to_bytes(self) -> bytes:
        """The bank as safetensors: the same blocks give the same bytes."""
        if self.encoded or not self.blocks:
            return self.encoded
        import numpy  # which only whoever makes a bank has need of
        from safetensors.numpy import save

        alone = len(self.blocks) == 1 and self.router is None
        names = [ONE_BLOCK] if alone else [f"block.{i}" for i in range(len(self.blocks))]
        arrays = [numpy.frombuffer(block.values, dtype="<f4").reshape(block.shape) for block in self.blocks]
        tensors = dict(zip(names, arrays, strict=True))
        if self.router is not None:
            rows = len(self.router.triggers)
            for name in ROUTER:
                values = b"".join(getattr(t, name.removeprefix("router.")) for t in self.router.triggers)
                whole = numpy.frombuffer(values, dtype="<f4")
                tensors[name] = whole if name == "router.bias" else whole.reshape(rows, -1)
        return bytes(save(tensors))

    @staticmethod
    def parse(data: bytes, origin: str, table: BankTable | None = None) -> "Bank":
        """A bank from safetensors bytes, which are read as hostile, and the `[bank]` table that goes with them.

        Raises IntegrityError naming `origin`.
        """
        if int.from_bytes(data[:8], "little") > MAX_HEADER_BYTES:
            raise IntegrityError(f"is damaged (a header of over {MAX_HEADER_BYTES:,} bytes)", context=origin)
        try:
            tensors = dict(safetensors.deserialize(data))  # type: ignore[no-untyped-call]
        except (safetensors.SafetensorError, ValueError, OverflowError) as error:
            raise IntegrityError(f"is damaged ({error})", context=origin) from error
        routed = table is not None and table.arrangement == "routed"
        router = [tensors.pop(name, None) for name in ROUTER] if routed else []
        if set(tensors) == {ONE_BLOCK} and not routed:
            names = [ONE_BLOCK]
        else:
            names = [f"block.{i}" for i in range(len(tensors))]
        if not tensors or set(tensors) != set(names) or any(part is None for part in router):
            wanted = f"block.0 and {', '.join(ROUTER)}" if routed else f"one tensor named {ONE_BLOCK!r}"
            if table is not None and table.arrangement == "isolated":
                wanted = "block.0, block.1 and so on"
            raise IntegrityError(f"must hold {wanted}", context=origin)
        blocks = tuple(_block(tensors[name], f"{origin}, {name}") for name in names)
        try:
            if not routed:
                if table is None:
                    return Bank(blocks, encoded=data)
                if table.answers_only and table.answers_only != tuple(range(len(blocks))):
                    raise ValueError("answers_only names some blocks of a bank without a router, or others")
                return Bank(blocks, table.arrangement, encoded=data, answers_to=table.turn)
            assert table is not None
            found = _router(dict(zip(ROUTER, router, strict=True)), table, origin)
            return Bank(blocks, "routed", encoded=data, router=found)
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
    _check_finite(values, origin)
    return block


def _check_finite(values: bytes, origin: str) -> None:
    # An exponent of all ones is an infinity or no number at all.
    if not all(map(math.isfinite, memoryview(values).cast("f"))):
        raise IntegrityError("has values that are not finite numbers", context=origin)


def _router(tensors: Mapping[str, Any], table: BankTable, origin: str) -> Router:
    """The router of a bank's tensors. Raises IntegrityError, or ValueError for tensors that do not fit together."""
    rows = len(table.threshold)
    shape = tensors["router.weight"]["shape"]
    if not isinstance(shape, list) or len(shape) != 2 or not 0 < shape[1] <= FEATURES * MAX_LAYERS * MAX_WIDTH:
        raise IntegrityError(f"is a tensor of {shape}, not a matrix", context=f"{origin}, router.weight")
    values = {}
    for name in ROUTER:
        info, wanted = tensors[name], [rows] if name == "router.bias" else [rows, shape[1]]
        if info["dtype"] != "F32" or info["shape"] != wanted:
            found = f"is a tensor of {info['dtype']} {info['shape']}, not {wanted} in F32"
            raise IntegrityError(found, context=f"{origin}, {name}")
        values[name] = bytes(info["data"])
        _check_finite(values[name], f"{origin}, {name}")

    def row(name: str, index: int) -> bytes:
        size = len(values[name]) // rows
        return values[name][index * size : (index + 1) * size]

    triggers = (
        Trigger(
            table.threshold[i],
            weight=row("router.weight", i),
            bias=row("router.bias", i),
            block=table.block[i] if table.block else i,
            patch=table.patches[i] if table.patches else "",
        )
        for i in range(rows)
    )
    return Router(tuple(triggers), table.layers, table.turn, bool(table.several), table.answers_only)


EMPTY = Bank()
"""No patch."""
