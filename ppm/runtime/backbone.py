"""The backbone that stands in a causal LM's own place and puts a prefix in front of every sequence.

The keys and values of a prefix do not depend on what follows it. So they are computed once, at batch size 1 a prefix,
and every sequence attends to them; without gradients they are kept until the prefix changes. A row with a router stands
in front of the prompts for which that picks it: decided once, when the prompt is first read, and kept in the cache.
Some rows are for answers alone: the prompt is read as by the base, and what follows the last turn sees the prefix.
Knows nothing of patches, packages or risks: rows of blocks, and for each sequence the row of its own.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Self

import torch
from torch import nn
from transformers import StaticCache

from ppm.bank import Router
from ppm.errors import ModelError
from ppm.manifest import Placement
from ppm.runtime.cache import Columns, PrefixCache, expanded, room_of
from ppm.runtime.inputs import Inputs
from ppm.runtime.masks import Mask, attention_mask, longest_of, window_of
from ppm.runtime.prefills import UNPATCHED, Prefills, Slot
from ppm.runtime.router import Picked, picked_on_the_way, picks, unseeing
from ppm.runtime.rows import Row

if TYPE_CHECKING:
    from transformers import Cache
    from transformers.modeling_outputs import BaseModelOutputWithPast

__all__ = ["UNPATCHED", "PrefixedBackbone"]


class PrefixedBackbone(nn.Module):
    """Stands in the place of a causal LM's backbone and puts a prefix in front of every sequence.

    `bank`: the blocks of all rows, one row after the other, as parameters; lengths may differ.
    """

    def __init__(self, inner: nn.Module, rows: Sequence[Row], placement: Placement, bos: int | None) -> None:
        super().__init__()
        self.inner = inner
        self.bank = nn.ParameterList([nn.Parameter(b, requires_grad=False) for row in rows for b in row.blocks])
        self.arrangements = [(row.arrangement, len(row.blocks)) for row in rows]
        self.routers = [row.router for row in rows]
        self.answers_to = [row.answers_to for row in rows]
        self.placement = placement
        self.bos = bos
        self.rows: torch.Tensor | None = None
        self.read: tuple[int, ...] | None = None
        self.picked: tuple[Picked, ...] | None = None
        self.unseeing: tuple[int, ...] | None = None
        self.longest = longest_of(inner)
        self.prefills = Prefills()
        self.warned = False

    def __getattr__(self, name: str):  # type: ignore[no-untyped-def]
        # What trainers and transformers ask a backbone for (`embed_tokens`, `config`, `dtype`...) is the inner one's.
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inner"), name)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the prefix alone: the inner backbone is the base's too, whose dropout must stay as it is."""
        self.training = mode
        return self

    @property
    def width(self) -> int:
        """How many positions the longest prefix of the bank takes from a text."""
        taken = (row.arrangement.room([len(block) for block in row.blocks]) for row in self.held if row.blocks)
        return max(taken, default=0)

    @property
    def columns(self) -> int:
        """How many columns of keys and values the widest prefix of the bank may have."""
        return max((row.columns for row in self.held if row.blocks), default=0)

    @property
    def held(self) -> list[Row]:
        """The rows of the bank, with the blocks as they are now."""
        blocks = iter(self.bank)
        rows = zip(self.arrangements, self.routers, self.answers_to, strict=True)
        return [Row(tuple(next(blocks) for _ in range(n)), how, router, turn) for (how, n), router, turn in rows]

    def get_input_embeddings(self) -> nn.Module:
        return self.inner.get_input_embeddings()  # type: ignore[operator, no-any-return]

    @contextmanager
    def select(
        self,
        rows: Sequence[int] | torch.Tensor,
        *,
        read: Sequence[int] | None = None,
        picked: Sequence[Picked] | None = None,
        unseeing: Sequence[int] | None = None,
    ) -> Iterator[None]:
        """Use these rows of the bank, one for each sequence of the batch; `UNPATCHED` is no prefix.

        `read` says how many tokens of each sequence are its prompt, where an answer follows in the same pass: a router
        reads no others. Without it, all are. `picked` is what `ppm.runtime.router.picks` said of the sequences, where
        somebody has asked: routers are not asked again. `unseeing` is how many tokens of each sequence come before what
        sees blocks for answers alone, where not all of the prompt is run at once.
        Raises ValueError for a row that the bank does not have; without any bank, row 0 is no prefix either.
        """
        before, chosen = (self.rows, self.read, self.picked, self.unseeing), torch.as_tensor(rows)
        last = max(len(self.arrangements), 1) - 1
        if bool(((chosen < UNPATCHED) | (chosen > last)).any()):
            raise ValueError(f"rows {chosen.tolist()} were chosen of a bank whose last row is {last}")
        self.rows, self.read = chosen, None if read is None else tuple(read)
        self.picked = None if picked is None else tuple(picked)
        self.unseeing = None if unseeing is None else tuple(unseeing)
        try:
            yield
        finally:
            self.rows, self.read, self.picked, self.unseeing = before

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: Mask | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: "Cache | None" = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: object,
    ) -> "BaseModelOutputWithPast":
        """The inner backbone's output for the real tokens: hidden states (B, T, hidden_size)."""
        given = Inputs(input_ids, attention_mask, position_ids, inputs_embeds)
        batch, device = len(given.tensor), given.tensor.device
        placed = isinstance(past_key_values, PrefixCache) and position_ids is not None
        if attention_mask is not None and given.plain is None and not placed:
            raise ModelError("a mask of four dimensions has no room for a prefix", hint="give one of two")
        router = None if self._shows_more(kwargs) else self._decides_here(past_key_values, batch, given)
        kwargs["use_cache"] = use_cache
        if router is None:
            cache = self.cache_for(past_key_values, batch, device, given)
            whole = cache.routed or (cache.hides and self.unseeing is None)
            if whole and cache.seen and given.tensor.shape[1] > 1:
                raise ModelError(
                    "a patch with a trigger, or for answers alone, decides on a whole prompt at once, so that what is "
                    "kept of it goes on token by token",
                    hint="give the whole prompt again, without past_key_values, chunked prefill or an assistant model",
                )
            return self._run_text(self.inner, cache, given, kwargs)
        # Where no trigger fires, the pass in which the router reads is the base's own answer.
        bare = self.cache_for(None, batch, device, given, [()] * batch)
        picked, result = picked_on_the_way(
            self.inner,
            router,
            given.real,
            given.texts(self.read),
            lambda inner: self._run_text(inner, bare, given, kwargs),
        )
        if result is not None and not any(picked):
            return result
        cache = self.cache_for(None, batch, device, given, picked)
        if result is not None:
            cut = self._goes_over(bare, cache, given)
            if cut:
                return self._rest(cut, result, cache, given, kwargs)
        return self._run_text(self.inner, cache, given, kwargs)

    @staticmethod
    def _goes_over(bare: PrefixCache, cache: PrefixCache, given: Inputs) -> int:
        """Give a cache what is kept of the text as the base read it, up to the first column that sees a prefix.

        How many columns these are; none where the base did not keep all.
        """
        real = given.real.long()
        sees = (real == 1) & (real.cumsum(-1) > cache.columns.blind)
        cut = int(sees.long().argmax(-1)[cache.picked].min())
        if any(layer.is_initialized and layer.keys.shape[2] < real.shape[1] for layer in bare.layers):
            return 0
        for index, layer in enumerate(bare.layers if cut else ()):
            if layer.is_initialized:
                cache.update(layer.keys[:, :, :cut], layer.values[:, :, :cut], index)
        return cut

    def _rest(
        self,
        cut: int,
        result: "BaseModelOutputWithPast",
        cache: PrefixCache,
        given: Inputs,
        kwargs: dict[str, object],
    ) -> "BaseModelOutputWithPast":
        """The base's `result` with all columns from `cut` on run again, which see what is in the cache before them."""
        assert given.ids is not None
        found = self._run_text(self.inner, cache, Inputs(given.ids[:, cut:], given.real.long()), kwargs)
        said, again = result.last_hidden_state, found.last_hidden_state
        assert said is not None
        assert again is not None
        found.last_hidden_state = torch.cat([said[:, :cut], again], dim=1)
        return found

    def _decides_here(self, cache: "Cache | None", batch: int, given: Inputs) -> Router | None:
        """The router that decides on all texts of a batch while the base runs, if there is such a one."""
        begins = cache is None or not (isinstance(cache, PrefixCache | StaticCache) or int(cache.get_seq_length()))
        if given.ids is None or not begins or self.picked or torch.is_grad_enabled() or torch.compiler.is_compiling():
            return None
        rows = [0] * batch if self.rows is None else self.rows.tolist()
        routers = {self.routers[row] if 0 <= row < len(self.routers) else None for row in rows}
        return routers.pop() if len(rows) == batch and len(routers) == 1 else None

    def _shows_more(self, kwargs: dict[str, object]) -> bool:
        """Whether a pass is to show more than its last states, for which transformers hooks into the layers it runs."""
        names = ("output_hidden_states", "output_attentions")
        return any(kwargs.get(name, getattr(self.inner.config, name, False)) for name in names)

    def _run_text(
        self, inner: nn.Module, cache: PrefixCache, given: Inputs, kwargs: dict[str, object]
    ) -> "BaseModelOutputWithPast":
        batch, length = given.tensor.shape[:2]
        mask, positions = given.mask, given.positions
        if mask is None or given.plain is not None:  # else `place` made them
            seen = given.plain
            if seen is None:
                _refuse_packed(positions)
                seen = torch.ones(batch, cache.seen + length, dtype=torch.long, device=given.tensor.device)
            mask, positions = self.place(seen, cache, given.ids, length)
        result: BaseModelOutputWithPast = inner(
            input_ids=given.ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            inputs_embeds=given.embeds,
            **kwargs,
        )
        if self.lead and cache.columns.width:
            assert positions is not None
            result.last_hidden_state = self._led(result.last_hidden_state, positions, cache.columns)
        return result

    @staticmethod
    def _led(hidden: torch.Tensor, positions: torch.Tensor, columns: Columns) -> torch.Tensor:
        """The hidden states (B, Q, hidden_size), where that of a BOS before its prefix is that of the prefix's end.

        What follows this BOS is said by the prefix. Only it, and padding, stands just before the text.
        """
        before = (positions == columns.ends - 1) & (columns.ends > 0)
        return torch.where(before[..., None], columns.last[:, None], hidden)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def cache_for(
        self,
        given: "Cache | None",
        batch: int,
        device: torch.device,
        asked: Inputs | None = None,
        picked: Sequence[Picked] | None = None,
    ) -> PrefixCache:
        """The cache to go on with: the given one, or a new one that is filled with the prefix of each row.

        What is `asked` is what routers of these rows decide on, unless it is known what they `picked`. Where no row has
        a prefix, the cache is the base's own. A static cache that is empty gives one of a fixed size with as much room
        for the text. Raises ModelError for a cache that was filled without the prefix.
        """
        if isinstance(given, PrefixCache):
            return given
        if given is not None and int(given.get_seq_length()) > 0:
            raise ModelError("a cache that was filled without the prefix can't be continued with it")
        slots, routed = self._slots(batch, asked, picked)
        prefixes, rows = self.prefills.of(self.inner, self.held, slots, self._lead_embeds)
        rows = rows.to(device)
        columns = Columns.none(batch, device) if prefixes is None else prefixes.columns.of_rows(rows)
        blind = self._blind(slots, asked)
        if blind is not None:
            columns = replace(columns, blind=blind.to(device))
        bare = prefixes is None and asked is not None and not asked.has_gaps
        cache = PrefixCache(columns, routed=routed, config=self.inner.config if bare else None)
        if isinstance(given, StaticCache):
            room = room_of(given) + columns.width
            cache = PrefixCache(columns, routed=routed, room=room, depth=len(given.layers))
        for index, layer in enumerate(() if prefixes is None else prefixes.layers):
            if layer is not None:
                keys, values = (expanded(states, rows) for states in layer)
                cache.update(keys, values, index)
        return cache

    def _slots(
        self, batch: int, asked: Inputs | None, picked: Sequence[Picked] | None
    ) -> tuple[list[Slot | None], bool]:
        """For each sequence of a batch what stands before it, None for nothing, and whether a router decided here."""
        chosen = [0] * batch if self.rows is None else self.rows.tolist()
        if len(chosen) != batch:
            raise ValueError(f"{len(chosen)} rows of the bank were chosen for a batch of {batch}")
        known = [row if 0 <= row < len(self.routers) else None for row in chosen]
        routers = [None if row is None else self.routers[row] for row in known]
        decided = any(routers)
        if decided:
            if asked is None or asked.ids is None:
                raise ModelError(
                    "a patch with a trigger reads token ids, but was given embeddings",
                    hint="give input_ids, or use the patch without its trigger",
                )
            picked = picked or self.picked or picks(self.inner, routers, asked.texts(self.read))
        slots: list[Slot | None] = []
        for i, (row, router) in enumerate(zip(known, routers, strict=True)):
            blocks = () if row is None else tuple(range(self.arrangements[row][1]))
            if router is not None:
                assert picked is not None
                blocks = picked[i]
            slots.append((row, blocks) if row is not None and blocks else None)
        return slots, decided and not self.picked

    def unseeing_in(self, rows: Sequence[int], prompts: Sequence[Sequence[int]]) -> list[int]:
        """How many tokens of each prompt don't see what some row has for answers alone, as `select` takes it."""
        held = self.held
        turns = [held[row].turn_seen if 0 <= row < len(held) else None for row in rows]
        return [0 if turn is None else unseeing(text, turn) for text, turn in zip(prompts, turns, strict=True)]

    def _blind(self, slots: Sequence[Slot | None], asked: Inputs | None) -> torch.Tensor | None:
        """How many tokens of each sequence don't see what stands before it, (B, 1); None where all see it."""
        held, counts = self.held, self.unseeing
        turns = [None if slot is None else held[slot[0]].seen_after(slot[1]) for slot in slots]
        if not any(turns):
            return None
        if counts is None:
            if asked is None or asked.ids is None:
                raise ModelError(
                    "a patch that answers alone see looks for them in token ids, but was given embeddings",
                    hint="give input_ids",
                )
            pairs = zip(asked.texts(self.read), turns, strict=True)
            counts = tuple(0 if turn is None else unseeing(text, turn) for text, turn in pairs)
        return torch.tensor([[0 if turn is None else n] for n, turn in zip(counts, turns, strict=True)])

    def _lead_embeds(self, device: torch.device) -> torch.Tensor | None:
        """The embeddings (1, hidden_size) of the token that stands before the prefix, if one does."""
        if not self.lead:
            return None
        if self.bos is None:
            raise ModelError("has no beginning-of-sequence token to put the prefix after", hint="use before-bos")
        embeds: torch.Tensor = self.get_input_embeddings()(torch.tensor([self.bos], device=device)).detach()
        return embeds

    @property
    def lead(self) -> int:
        """How many real tokens stand before the prefix."""
        return 1 if self.placement == "after-bos" else 0

    def place(
        self, seen: torch.Tensor, cache: PrefixCache, input_ids: torch.Tensor | None, queries: int
    ) -> tuple[Mask, torch.Tensor]:
        """The mask over prefix and text, and the positions (B, Q) of the last `queries` tokens, padding not counted.

        `seen` (B, T) is 1 at the text's tokens so far. Raises ModelError for a text that can't be run exactly.
        """
        seen = seen.long()
        if self.lead:
            # The first real token is the BOS that already stands before the prefix: nobody may see it twice.
            first = (seen.cumsum(-1) == 1) & (seen == 1) & (cache.columns.ends > 0)
            if input_ids is not None and seen.shape == input_ids.shape:
                self._check_bos(input_ids[first])
            seen = seen * ~first
        positions = (cache.columns.ends + seen.cumsum(-1) - 1).clamp(min=0)
        self._check_reach(positions, cache.columns)
        mask = torch.cat([cache.columns.mask, seen], dim=1)
        config, dtype = self.inner.config, self.get_input_embeddings().weight.dtype
        made = attention_mask(config, mask, positions, cache, queries, dtype)  # type: ignore[arg-type]
        return made, positions[:, -queries:]

    def _check_bos(self, first: torch.Tensor) -> None:
        if bool(torch.ne(first, self.bos or 0).any()):
            raise ModelError(
                "a sequence does not begin with the beginning-of-sequence token",
                hint="this prefix goes after it; encode with add_special_tokens=True",
            )

    def _check_reach(self, positions: torch.Tensor, columns: Columns) -> None:
        window = window_of(self.inner.config)
        if self.longest is not None and int(positions.max()) >= self.longest:
            raise ModelError(
                f"takes a prefix, prompt and answer of {self.longest} tokens together, and here are more: from there "
                "on its positions are scaled by the longest sequence of a batch, which changes what is kept",
                context="the base model",
                hint="shorten the prompt, or lower max_new_tokens",
            )
        if window is None or self.warned or not len(self.bank) or torch.compiler.is_compiling():
            return
        first = int(columns.positions.min()) if columns.width else 0  # below 0 where answers alone see the prefix
        if int(positions.max()) - min(first, 0) >= window:
            self.warned = True
            warnings.warn(
                f"sequences of more than {window} tokens, prefix included: the prefix starts to slide out of the "
                "window of some layers, where it no longer acts",
                stacklevel=2,
            )


def _refuse_packed(position_ids: torch.Tensor | None) -> None:
    if position_ids is not None and position_ids.shape[-1] > 1 and (position_ids.diff(dim=-1) != 1).any():
        raise ModelError(
            "several sequences packed into one row can't be patched", hint="switch packing and padding_free off"
        )
