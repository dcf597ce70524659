"""The key-value cache that begins with the prefix of each sequence."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from transformers import DynamicCache, StaticCache
from transformers.cache_utils import StaticLayer

from ppm.errors import ModelError
from ppm.runtime.arrangements.base import Prefill

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

__all__ = ["Columns", "PrefixCache", "Prefixes", "expanded", "room_of", "stacked"]

STEP = 64


@dataclass(frozen=True)
class Columns:
    """Where the prefixes of B sequences stand: W columns, those of shorter prefixes at the right end.

    `mask` (B, W) is 1 where a column is a token of that row's prefix, `positions` (B, W) are theirs, `ends` (B, 1)
    those of the first real tokens. `last` (B, hidden_size) are the hidden states of their last columns. `blind` (B, 1)
    is how many of the first real tokens don't see the prefix.
    """

    mask: torch.Tensor
    positions: torch.Tensor
    ends: torch.Tensor
    last: torch.Tensor
    blind: torch.Tensor

    @property
    def width(self) -> int:
        return self.mask.shape[1]

    def select(self, rows: torch.Tensor) -> "Columns":
        mask, positions, ends = self.mask[rows], self.positions[rows], self.ends[rows]
        return Columns(mask, positions, ends, self.last[rows], self.blind[rows])

    def of_rows(self, rows: torch.Tensor) -> "Columns":
        """The columns of each sequence of a batch, by its row; a negative one has no prefix."""
        chosen, patched = self.select(rows.clamp(min=0)), (rows >= 0).long()[:, None]
        mask, positions, ends = (part * patched for part in (chosen.mask, chosen.positions, chosen.ends))
        return Columns(mask, positions, ends, chosen.last, chosen.blind)

    @staticmethod
    def none(batch: int, device: torch.device) -> "Columns":
        """No prefix in front of any row."""
        nothing = torch.zeros(batch, 0, dtype=torch.long, device=device)
        zero = torch.zeros(batch, 1, dtype=torch.long, device=device)
        return Columns(nothing, nothing, zero, nothing, zero)


@dataclass(frozen=True)
class Prefixes:
    """N prefixes: keys and values of each layer, (N, heads, W, head_dim), and their columns."""

    layers: tuple[tuple[torch.Tensor, torch.Tensor] | None, ...]
    columns: Columns


def stacked(prefills: list[Prefill]) -> Prefixes:
    """Several prefixes side by side; shorter ones are padded on the left. All come from the same model.

    In dtypes of less than 32 bits their width is a whole multiple of `STEP`: what a text says there hangs on the column
    that it begins in, which no other prefix of the bank should move.
    """
    step = 1 if prefills[0].last.dtype == torch.float32 else STEP
    width = -(-max(len(prefill.positions) for prefill in prefills) // step) * step
    pads = [width - len(prefill.positions) for prefill in prefills]
    layers = []
    for parts in zip(*(prefill.layers for prefill in prefills), strict=True):
        kept = [part for part in parts if part is not None]
        layers.append((_joined([k for k, _ in kept], pads), _joined([v for _, v in kept], pads)) if kept else None)
    first = prefills[0].positions
    pairs = list(zip(prefills, pads, strict=True))
    columns = Columns(
        torch.stack([(torch.arange(width, device=first.device) >= pad).long() for _, pad in pairs]),
        torch.stack([torch.nn.functional.pad(prefill.positions, (pad, 0)) for prefill, pad in pairs]),
        torch.tensor([[prefill.end] for prefill in prefills], device=first.device),
        torch.stack([prefill.last for prefill in prefills]),
        torch.zeros(len(prefills), 1, dtype=torch.long, device=first.device),
    )
    return Prefixes(tuple(layers), columns)


def _joined(parts: list[torch.Tensor], pads: list[int]) -> torch.Tensor:
    if len(parts) == 1 and not pads[0]:
        return parts[0]
    return torch.cat([torch.nn.functional.pad(part, (0, 0, pad, 0)) for part, pad in zip(parts, pads, strict=True)])


def expanded(states: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """The keys or values (B, heads, W, head_dim) of each sequence of a batch, by its row."""
    if states.shape[0] == 1:
        return states.expand(len(rows), -1, -1, -1)
    return states[rows.to(states.device).clamp(min=0)]


def room_of(cache: StaticCache) -> int:
    """How many tokens of text a static cache was made for; layers with a window keep fewer, and don't say."""
    declared = getattr(cache, "text_room", None)
    if declared is None and any(cache.is_sliding):
        raise ModelError(
            "a static cache with sliding windows does not say how much text it was made for",
            hint='let generate make it: generate(..., cache_implementation="static")',
        )
    return int(declared if declared is not None else max(layer.max_cache_len for layer in cache.layers))


class PrefixCache(DynamicCache):
    """A key-value cache that begins with the prefix of each sequence.

    With `room` it has a fixed size, prefix included, and never moves, as compiled models want; `depth` layers then.
    `routed` says that a router decided on these very tokens which sequences have a prefix; `picked` are those. `hides`
    says whether some tokens of a text don't see its prefix. With `config`, for texts without any prefix, layers keep
    what they do in that base: those with a window no more than it.
    """

    def __init__(
        self,
        columns: Columns,
        *,
        routed: bool = False,
        room: int | None = None,
        depth: int = 0,
        config: "PreTrainedConfig | None" = None,
    ) -> None:
        super().__init__(config=config)
        self.columns = columns
        self.hides = bool(columns.blind.any())
        self.routed = routed
        self.room = room
        if room is not None:
            self.layers = [StaticLayer(room) for _ in range(depth)]

    @property
    def is_compileable(self) -> bool:
        # Transformers would make the masks of a cache that is, and leaves the prefix out of them.
        return False

    @property
    def picked(self) -> torch.Tensor:
        """Which sequences have a prefix in front of them, (B,)."""
        return self.columns.mask.any(-1)

    @property
    def seen(self) -> int:
        """How many columns of the text it holds."""
        filled = next((int(layer.get_seq_length()) for layer in self.layers if layer.is_initialized), 0)
        return max(filled - self.columns.width, 0)

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        super().reorder_cache(beam_idx)
        self.columns = self.columns.select(beam_idx)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        super().batch_select_indices(indices)
        self.columns = self.columns.select(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        super().batch_repeat_interleave(repeats)
        rows = torch.arange(len(self.columns.mask), device=self.columns.mask.device)
        self.columns = self.columns.select(rows.repeat_interleave(repeats))
