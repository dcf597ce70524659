"""Keys and values of what may stand before a text: computed once, and kept until blocks or the base change."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn
from transformers import DynamicCache

from ppm.runtime.arrangements.base import Layers, Prefill
from ppm.runtime.cache import Prefixes, stacked
from ppm.runtime.router import Picked
from ppm.runtime.rows import Row

__all__ = ["UNPATCHED", "Prefills", "Slot"]

UNPATCHED = -1
"""The row of sequences that run without any prefix."""
Slot = tuple[int, Picked]
"""What stands before a sequence: a row of the bank, and those of its blocks that it meets."""


@dataclass(frozen=True)
class _Kept:
    """What was computed of the prefixes while `key` stays the same: of each slot, and of all side by side."""

    key: object
    prefills: dict[Slot, Prefill]
    prefixes: Prefixes


class Prefills:
    """What was last computed of the prefixes of a bank's rows."""

    def __init__(self) -> None:
        self._kept: _Kept | None = None

    def of(
        self,
        inner: nn.Module,
        rows: Sequence[Row],
        wanted: Sequence[Slot | None],
        lead: Callable[[torch.device], torch.Tensor | None],
    ) -> tuple[Prefixes | None, torch.Tensor]:
        """Keys and values of all that may stand before a sequence, and which of these each wants, `UNPATCHED` for none.

        All that the rows hold are there whatever is wanted, and several blocks together besides, where they are. None
        where nothing is wanted. `lead` gives the embeddings (1, hidden_size) of the token before them, if there is one.
        """
        asked = {slot for slot in wanted if slot is not None}
        if not asked:
            return None, torch.full((len(wanted),), UNPATCHED)
        slots = tuple(_slots(rows))
        slots += tuple(sorted(asked.difference(slots)))  # several blocks together
        places = torch.tensor([UNPATCHED if slot is None else slots.index(slot) for slot in wanted])
        blocks = [block for row in rows for block in row.blocks]
        training = torch.is_grad_enabled() and any(block.requires_grad for block in blocks)
        weight: torch.Tensor = inner.get_input_embeddings().weight  # type: ignore[operator]
        # What is computed hangs on the base's weights too, which somebody may change in place.
        changes = sum(0 if p.is_inference() else p._version for p in inner.parameters())
        seen = tuple((row.answers_to, row.router and row.router.answers_only) for row in rows)
        key = (tuple((id(p), p._version) for p in blocks), seen, changes, weight.device, weight.dtype)
        kept = self._kept if not training and self._kept is not None and self._kept.key == key else None
        if kept is None or tuple(kept.prefills) != slots:
            # Not in inference mode: kept states must also serve a caller who takes gradients of other things.
            with torch.inference_mode(False), torch.set_grad_enabled(training):
                before = lead(weight.device)
                known = {slot: kept.prefills[slot] for slot in slots if kept is not None and slot in kept.prefills}
                prefills = {slot: known.get(slot) or _prefill(inner, rows, slot, weight, before) for slot in slots}
                kept = _Kept(key, prefills, stacked(list(prefills.values())))
        # Others may keep theirs meanwhile: what is returned is what was asked for.
        self._kept = None if training else kept
        return kept.prefixes, places


def _slots(rows: Sequence[Row]) -> Iterator[Slot]:
    """What may stand before a sequence: all blocks of a row, or each of a routed one."""
    for index, row in enumerate(rows):
        blocks = tuple(range(len(row.blocks)))
        yield from ((index, (n,)) for n in blocks) if row.router is not None else [(index, blocks)] * bool(blocks)


def _prefill(
    inner: nn.Module, rows: Sequence[Row], slot: Slot, weight: torch.Tensor, lead: torch.Tensor | None
) -> Prefill:
    """The keys and values of what stands before a text.

    What answers alone see stands at positions below 0, so that the text stands where the base has it.
    """
    row, numbers = rows[slot[0]], slot[1]
    blocks = [row.blocks[number].to(weight.device, weight.dtype) for number in numbers]
    room = 0 if row.seen_after(numbers) is None else row.arrangement.room([len(block) for block in blocks])

    def run(embeds: torch.Tensor, positions: torch.Tensor) -> tuple[Layers, torch.Tensor]:
        cache = DynamicCache()
        result = inner(inputs_embeds=embeds, position_ids=positions - room, past_key_values=cache, use_cache=True)
        layers = tuple((layer.keys, layer.values) if layer.is_initialized else None for layer in cache.layers)
        return layers, result.last_hidden_state[0, -1]

    found = row.arrangement.prefill(blocks, lead, run)
    return replace(found, positions=found.positions - room, end=found.end - room)
