"""The patched model: an ordinary causal LM of transformers with a prefix in front of every sequence.

The keys and values of a prefix do not depend on what follows it. So they are computed once, at batch size
1 a prefix, and every sequence attends to them; without gradients they are kept until the prefix changes.
The model keeps its class: only its backbone is replaced by one that adds the prefix, on a shallow copy that
shares the frozen weights. Logits, loss, `generate` and TRL's trainers see the real tokens only.

Knows nothing of patches, packages or risks: a bank of tensors, and for each sequence the row of its own.
"""

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import nn
from transformers import DynamicCache

from ppm.errors import ModelError
from ppm.manifest import Placement

__all__ = ["UNPATCHED", "PrefixCache", "PrefixedBackbone", "attach", "backbone_of"]

UNPATCHED = -1
"""The row of sequences that run without any prefix."""


class PrefixCache(DynamicCache):
    """A key-value cache that begins with the prefix of each sequence.

    `prefix_mask` (B, P) is 1 where a column is a token of that row's prefix, `lengths` (B, 1) its tokens.
    """

    def __init__(self, prefix_mask: torch.Tensor, lengths: torch.Tensor) -> None:
        super().__init__()
        self.prefix_mask = prefix_mask
        self.lengths = lengths

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        super().reorder_cache(beam_idx)
        self._select(beam_idx)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        super().batch_select_indices(indices)
        self._select(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        super().batch_repeat_interleave(repeats)
        self.prefix_mask = self.prefix_mask.repeat_interleave(repeats, dim=0)
        self.lengths = self.lengths.repeat_interleave(repeats, dim=0)

    def _select(self, indices: torch.Tensor) -> None:
        self.prefix_mask, self.lengths = self.prefix_mask[indices], self.lengths[indices]


class PrefixedBackbone(nn.Module):
    """Stands in the place of a causal LM's backbone and puts a prefix in front of every sequence.

    `bank`: N prefixes, each (virtual_tokens, hidden_size), as parameters; lengths may differ.
    """

    def __init__(
        self, inner: nn.Module, prefixes: Sequence[torch.Tensor], placement: Placement, bos: int | None
    ) -> None:
        super().__init__()
        self.inner = inner
        self.bank = nn.ParameterList([nn.Parameter(prefix, requires_grad=False) for prefix in prefixes])
        self.placement = placement
        self.bos = bos
        self.rows: torch.Tensor | None = None
        self._states: tuple[Any, list[tuple[torch.Tensor, torch.Tensor]]] | None = None
        self._warned = False

    def __getattr__(self, name: str) -> Any:
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
        """How many tokens the longest prefix of the bank takes."""
        return max((int(prefix.shape[0]) for prefix in self.bank), default=0)

    def get_input_embeddings(self) -> nn.Module:
        return self.inner.get_input_embeddings()  # type: ignore[operator, no-any-return]

    @contextmanager
    def select(self, rows: Sequence[int] | torch.Tensor) -> Iterator[None]:
        """Use these rows of the bank, one for each sequence of the batch; `UNPATCHED` is no prefix."""
        before = self.rows
        self.rows = torch.as_tensor(rows)
        try:
            yield
        finally:
            self.rows = before

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """The inner backbone's output for the real tokens: hidden states (B, T, hidden_size)."""
        inputs = input_ids if input_ids is not None else inputs_embeds
        if inputs is None:
            raise ValueError("give input_ids or inputs_embeds")
        batch, length = inputs.shape[:2]
        if isinstance(past_key_values, PrefixCache):
            cache = past_key_values
            seen = cache.get_seq_length() - cache.prefix_mask.shape[1]
        elif past_key_values is not None and past_key_values.get_seq_length() > 0:
            raise ModelError("a cache that was filled without the prefix can't be continued with it")
        else:
            cache, seen = self._start(batch, inputs.device), 0
        if attention_mask is None:
            _refuse_packed(position_ids)
            attention_mask = torch.ones(batch, seen + length, dtype=torch.long, device=inputs.device)
        mask, positions = self._place(attention_mask.long(), cache, input_ids, seen)
        return self.inner(
            input_ids=input_ids,
            attention_mask=self._attention(mask, positions, cache, length),
            position_ids=positions[:, -length:],
            past_key_values=cache,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **kwargs,
        )

    def _start(self, batch: int, device: torch.device) -> PrefixCache:
        """A cache for a new batch, filled with the prefix of each row."""
        if not len(self.bank):
            return PrefixCache(*(torch.zeros(batch, size, dtype=torch.long, device=device) for size in (0, 1)))
        sizes = torch.tensor([prefix.shape[0] + self._lead for prefix in self.bank], device=device)
        width = int(sizes.max())
        rows = torch.zeros(batch, dtype=torch.long, device=device) if self.rows is None else self.rows.to(device)
        if rows.shape != (batch,):
            raise ValueError(f"{rows.numel()} rows of the bank were chosen for a batch of {batch}")
        lengths = torch.where(rows >= 0, sizes[rows.clamp(min=0)], 0)[:, None]
        prefix_mask = (torch.arange(width, device=device) >= width - lengths).long()
        cache = PrefixCache(prefix_mask, lengths)
        for layer, (keys, values) in enumerate(self._prefix_states()):
            one = keys.shape[0] == 1
            chosen = rows.clamp(min=0)
            expanded = [x.expand(batch, -1, -1, -1) if one else x[chosen] for x in (keys, values)]
            cache.update(expanded[0], expanded[1], layer)
        return cache

    @property
    def _lead(self) -> int:
        """How many real tokens stand before the prefix."""
        return 1 if self.placement == "after-bos" else 0

    def _prefix_states(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Keys and values of every layer, each (N, heads, P, head_dim); shorter prefixes are padded on the left."""
        training = torch.is_grad_enabled() and any(prefix.requires_grad for prefix in self.bank)
        weight: torch.Tensor = self.get_input_embeddings().weight  # type: ignore[assignment]
        key = (tuple((id(p), p._version) for p in self.bank), weight.device, weight.dtype)
        if not training and self._states is not None and self._states[0] == key:
            return self._states[1]
        prefixes = [prefix.to(weight.device, weight.dtype) for prefix in self.bank]
        if self._lead:
            if self.bos is None:
                raise ModelError("has no beginning-of-sequence token to put the prefix after", hint="use before-bos")
            first = self.get_input_embeddings()(torch.tensor([self.bos], device=weight.device)).detach()
            prefixes = [torch.cat([first, prefix]) for prefix in prefixes]
        width = max(len(prefix) for prefix in prefixes)
        embeds = torch.stack([nn.functional.pad(p, (0, 0, width - len(p), 0)) for p in prefixes])  # (N, P, D)
        lengths = torch.tensor([[len(p)] for p in prefixes], device=weight.device)
        mask = (torch.arange(width, device=weight.device) >= width - lengths).long()
        cache = DynamicCache()
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        # Not in inference mode: kept states must also serve a caller who takes gradients of other things.
        with torch.inference_mode(False), torch.set_grad_enabled(training):
            self.inner(
                inputs_embeds=embeds,
                attention_mask=mask if len(prefixes) > 1 else None,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
            )
        states = [(layer.keys, layer.values) for layer in cache.layers]
        self._states = None if training else (key, states)
        return states

    def _place(
        self, attention_mask: torch.Tensor, cache: PrefixCache, input_ids: torch.Tensor | None, seen: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The mask (B, P + T) over prefix and tokens, and the tokens' positions (B, T), padding not counted."""
        if self._lead:
            # The first real token is the BOS that already stands before the prefix: nobody may see it twice.
            first = (attention_mask.cumsum(-1) == 1) & (attention_mask == 1) & (cache.lengths > 0)
            if input_ids is not None and seen == 0 and bool(torch.ne(input_ids[first], self.bos or 0).any()):
                raise ModelError(
                    "a sequence does not begin with the beginning-of-sequence token",
                    hint="this prefix stands after it; encode with add_special_tokens=True",
                )
            attention_mask = attention_mask * ~first
        positions = (cache.lengths + attention_mask.cumsum(-1) - 1).clamp(min=0)
        return torch.cat([cache.prefix_mask, attention_mask], dim=1), positions

    def _attention(self, mask: torch.Tensor, positions: torch.Tensor, cache: PrefixCache, length: int) -> Any:
        """What the inner backbone takes for `attention_mask`.

        Transformers counts a sliding window in columns, padding included; a patched row must slide as an
        unpadded one does. So models with windows get masks that count positions, one for each kind of layer.
        """
        config = self.inner.config
        window = getattr(config, "sliding_window", None)
        kinds = set(getattr(config, "layer_types", None) or ())
        if window is None or (kinds and "sliding_attention" not in kinds):
            return mask
        if not self._warned and int(positions.max()) >= window:
            self._warned = True
            warnings.warn(
                f"sequences of more than {window} tokens, prefix included: the prefix starts to slide out of the "
                "window of some layers, where it no longer acts",
                stacklevel=2,
            )
        prefix_positions = (cache.prefix_mask.cumsum(-1) - 1).clamp(min=0)
        keys = torch.cat([prefix_positions, positions], dim=1)[:, None, None, :]  # (B, 1, 1, K)
        queries = positions[:, None, -length:, None]  # (B, 1, Q, 1)
        columns = torch.arange(mask.shape[1], device=mask.device)
        causal = columns[None, :] <= columns[-length:, None]  # (Q, K)
        full = mask[:, None, None, :].bool() & causal
        # A padding query sees itself, else its softmax would have nothing to sum over.
        full = full | (columns[None, :] == columns[-length:, None])
        near = full & (queries - keys < window)
        if getattr(config, "_attn_implementation", "eager") == "eager":
            lowest = torch.finfo(self.inner.get_input_embeddings().weight.dtype).min  # type: ignore[operator]
            full, near = (torch.zeros_like(m, dtype=torch.float).masked_fill(~m, lowest) for m in (full, near))
        return {"full_attention": full, "sliding_attention": near} if kinds else near


def _refuse_packed(position_ids: torch.Tensor | None) -> None:
    if position_ids is not None and position_ids.shape[-1] > 1 and (position_ids.diff(dim=-1) != 1).any():
        raise ModelError(
            "several sequences packed into one row can't be patched", hint="switch packing and padding_free off"
        )


def attach(
    model: Any, prefixes: Sequence[torch.Tensor] = (), *, placement: Placement = "before-bos", trainable: bool = False
) -> Any:
    """A causal LM with a bank of prefixes in front of its inputs, and its weights shared with `model`.

    `model` itself stays as it is. `prefixes` are copied, each (virtual_tokens, hidden_size). With `trainable` they are
    the only parameters that take gradients. `backbone_of(result)` chooses the rows of the bank. Without any prefix
    every sequence runs as in the base.
    """
    if any(isinstance(module, PrefixedBackbone) for module in model.modules()):
        raise ModelError("the model has a prefix already", hint="attach to the base model instead")
    bos = model.config.bos_token_id
    with torch.inference_mode(False):
        copies = [prefix.detach().clone().float().to(model.device) for prefix in prefixes]
    path = _backbone_path(model)
    inner = model.get_submodule(".".join(path))
    backbone = PrefixedBackbone(inner, copies, placement, bos[0] if isinstance(bos, list) else bos)
    backbone.train(model.training)
    patched = _replaced(model, path, backbone)
    if trainable:
        for parameter in patched.parameters():
            parameter.requires_grad_(False)
        for parameter in backbone.bank:
            parameter.requires_grad_(True)
    return patched


def backbone_of(patched: Any) -> PrefixedBackbone:
    """The backbone of a model that `attach` returned."""
    backbone = patched.get_submodule(".".join(_backbone_path(patched)))
    if not isinstance(backbone, PrefixedBackbone):
        raise TypeError("the model has no prefix")
    return backbone


def _backbone_path(model: Any) -> list[str]:
    """Where the stack of layers hangs: some models (OPT) keep it one level further down, and call it there."""
    path = [model.base_model_prefix]
    if isinstance(model.base_model, PrefixedBackbone):
        return path
    return [*path, "decoder"] if "decoder" in model.base_model._modules else path


def _replaced(module: Any, path: list[str], new: nn.Module) -> Any:
    """A shallow copy of `module` with the submodule at `path` exchanged; all else is shared."""
    first, *rest = path
    result = copy.copy(module)
    result._modules = {**module._modules, first: _replaced(module._modules[first], rest, new) if rest else new}
    return result
