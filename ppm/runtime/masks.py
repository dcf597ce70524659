"""Which columns a token attends to, by position: a patched row must slide and chunk as an unpadded one does.

Transformers counts windows in columns, padding included. So models with windows or chunks get masks that count
positions, one for each kind of layer; so do caches of a fixed size, whose masks transformers makes without the prefix.
"""

from typing import TYPE_CHECKING

import torch
from torch import nn

from ppm.errors import ModelError
from ppm.runtime.cache import PrefixCache

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

__all__ = ["Mask", "attention_mask", "longest_of", "window_of"]

Mask = torch.Tensor | dict[str, torch.Tensor]
"""A mask (B, K), or (B, 1, Q, K), or one of the latter for each kind of layer."""
FULL, SLIDING, CHUNKED = "full_attention", "sliding_attention", "chunked_attention"


def window_of(config: "PreTrainedConfig") -> int | None:
    """How far back the layers with a sliding window see, in tokens; None for a model without such layers."""
    window = getattr(config.get_text_config(), "sliding_window", None)
    kinds = _kinds(config)
    return None if window is None or (kinds and SLIDING not in kinds) else int(window)


def longest_of(inner: nn.Module) -> int | None:
    """From which length on rotary frequencies depend on the longest sequence of a batch; None where they never do."""
    limits = []
    for module in inner.modules():
        types = getattr(module, "rope_type", None)
        for kind in types.values() if isinstance(types, dict) else [types]:
            if isinstance(kind, str) and ("dynamic" in kind or kind == "longrope"):
                limits.append(_original(module))
    return min((limit for limit in limits if limit is not None), default=None)


def _original(module: nn.Module) -> int | None:
    parameters = getattr(module.config, "rope_parameters", None) or {}
    found = [parameters, *(value for value in parameters.values() if isinstance(value, dict))]
    declared = [int(p["original_max_position_embeddings"]) for p in found if p.get("original_max_position_embeddings")]
    own = getattr(module, "original_max_seq_len", None)
    return min([*declared, *([int(own)] if own else [])], default=None)


def attention_mask(
    config: "PreTrainedConfig",
    mask: torch.Tensor,
    positions: torch.Tensor,
    cache: PrefixCache,
    queries: int,
    dtype: torch.dtype,
) -> Mask:
    """What a backbone takes for `attention_mask`: (B, K) as it is, or by position.

    `mask` (B, W + T) is 1 at the prefix and the text, `positions` (B, T) are the text's, and the last `queries` tokens
    are those that attend. Some of them may be too early in the text to see the prefix.
    """
    kinds, window = _kinds(config), window_of(config)
    chunk = getattr(config.get_text_config(), "attention_chunk_size", None) if CHUNKED in kinds else None
    asking = positions[:, None, -queries:, None]
    blind = _blind(asking, cache)
    if window is None and chunk is None and cache.room is None and blind is None:
        return mask
    if not cache.columns.width and cache.room is None and not bool((mask.diff(dim=-1) < 0).any()):
        return mask  # without any prefix or gap columns are positions, and the base runs as it does by itself
    columns = torch.arange(mask.shape[1], device=mask.device)
    mine = columns[-queries:, None]  # (Q, 1)
    # A padding query sees itself, else its softmax would have nothing to sum over.
    full = (mask[:, None, None, :].bool() & (columns <= mine)) | (columns == mine)  # (B, 1, Q, K)
    full = full if blind is None else full & ~(blind & (columns < cache.columns.width))
    keys = torch.cat([cache.columns.positions, positions], dim=1)[:, None, None, :]
    found = {FULL: full}
    if window is not None:
        found[SLIDING] = full & (asking - keys < window)
    if chunk is not None:
        found[CHUNKED] = (full & (asking // chunk == keys // chunk)) | (columns == mine)
    found = {kind: _finished(one, config, cache.room, dtype) for kind, one in found.items()}
    if len(found) > 1 and not kinds:
        return found[SLIDING]
    return found if len(found) > 1 else found[FULL]


def _blind(asking: torch.Tensor, cache: PrefixCache) -> torch.Tensor | None:
    """Which tokens at these positions (B, 1, Q, 1) are too early in their texts to see the prefix; None if none is."""
    if not cache.hides:
        return None
    found = asking - cache.columns.ends[:, None, :, None] < cache.columns.blind[:, None, :, None]
    return found if bool(found.any()) else None


def _finished(mask: torch.Tensor, config: "PreTrainedConfig", room: int | None, dtype: torch.dtype) -> torch.Tensor:
    """A mask as wide as a cache of a fixed size, in the form that the attention implementation adds or selects by."""
    if room is not None:
        mask = torch.nn.functional.pad(mask, (0, room - mask.shape[-1]))
    how = getattr(config.get_text_config(), "_attn_implementation", "eager")
    if how == "eager":
        lowest = torch.finfo(dtype).min
        return torch.zeros_like(mask, dtype=dtype).masked_fill(~mask, lowest)
    if "flash" in how or how == "flex_attention":
        raise ModelError(
            f"windows and fixed caches need masks that the attention implementation {how} does not take",
            hint='load the model with attn_implementation="sdpa" or "eager"',
        )
    return mask


def _kinds(config: "PreTrainedConfig") -> set[str]:
    return set(getattr(config.get_text_config(), "layer_types", None) or ())
