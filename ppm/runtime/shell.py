"""The patched model: the base's own class around a backbone with a prefix, all weights shared with the base.

It stays an ordinary causal LM of transformers. Logits, loss, `generate` and TRL's trainers see the real tokens only.
"""

import copy
from collections.abc import Sequence
from functools import lru_cache, partial, update_wrapper
from types import MethodType
from typing import TYPE_CHECKING, TypedDict

import torch
from torch import nn
from transformers import PreTrainedModel, StaticCache
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from ppm.errors import ModelError
from ppm.manifest import Placement
from ppm.runtime.backbone import PrefixedBackbone
from ppm.runtime.cache import PrefixCache
from ppm.runtime.inputs import Inputs
from ppm.runtime.rows import Row

if TYPE_CHECKING:
    from transformers import Cache

__all__ = ["backbone_of", "bos_of", "head_of", "shell", "stack_of", "unpatched"]


class _Inputs(TypedDict, total=False):
    """What a forward pass is given in generation, as far as it is read here."""

    input_ids: "torch.Tensor | None"
    inputs_embeds: "torch.Tensor | None"
    attention_mask: "torch.Tensor"


class _Patched:
    """What a patched model does otherwise than its class, which it stays in name and kind."""

    def prepare_inputs_for_generation(
        self,
        input_ids: "torch.Tensor",
        next_sequence_length: int | None = None,
        past_key_values: "Cache | None" = None,
        **kwargs: object,
    ) -> "_Inputs | dict[str, object]":
        """Static caches get room for the prefix, and the masks of a cache of a fixed size are made here, with it."""
        backbone = backbone_of(self)
        if isinstance(past_key_values, StaticCache):
            mask = kwargs.get("attention_mask")
            asked = Inputs(
                input_ids if kwargs.get("inputs_embeds") is None else None,
                mask if isinstance(mask, torch.Tensor) else None,
            )
            past_key_values = backbone.cache_for(past_key_values, len(input_ids), input_ids.device, asked)
        cache = past_key_values if isinstance(past_key_values, PrefixCache) else None
        if cache is not None and next_sequence_length is not None and kwargs.get("inputs_embeds") is None:
            next_sequence_length = input_ids.shape[1] - cache.seen  # it counted the prefix as text
        inputs: _Inputs = super().prepare_inputs_for_generation(  # type: ignore[misc]
            input_ids, next_sequence_length=next_sequence_length, past_key_values=past_key_values, **kwargs
        )
        if cache is not None and cache.room is not None:
            ids, embeds = inputs.get("input_ids"), inputs.get("inputs_embeds")
            text = ids if ids is not None else embeds
            assert text is not None
            given = inputs.get("attention_mask")  # which transformers leaves out where all of it is text
            seen = (
                given if given is not None else text.new_ones((len(text), cache.seen + text.shape[1]), dtype=torch.long)
            )
            mask, positions = backbone.place(seen, cache, ids, text.shape[1])
            return {**inputs, "attention_mask": mask, "position_ids": positions}
        return inputs

    def _prepare_static_cache(self, *args: object, **kwargs: object) -> "Cache":
        cache: Cache = super()._prepare_static_cache(*args, **kwargs)  # type: ignore[misc]
        cache.text_room = self._previous_max_cache_length  # type: ignore[attr-defined]
        return cache

    def save_pretrained(self, save_directory: object, **kwargs: object) -> None:
        """Raises ModelError: what transformers can write has no place for the prefix."""
        raise ModelError(
            "a patched model can't be saved as a plain one, which would be loaded again without its patch",
            hint="save it with ppm.runtime.saved.save_patched, which keeps base and patch side by side",
        )

    def push_to_hub(self, *args: object, **kwargs: object) -> None:
        """Raises ModelError: what arrives would be a model without its patch."""
        raise ModelError(
            "a patched model can't be pushed as a plain one, which would be loaded again without its patch",
            hint="publish the patch's package file; whoever has the base can apply it",
        )


@lru_cache(maxsize=32)
def _patched_class(kind: type) -> type:
    names = {key: getattr(kind, key) for key in ("__module__", "__qualname__", "__doc__")}
    return type(kind.__name__, (_Patched, kind), names)


def shell(model: PreTrainedModel, rows: Sequence[Row], placement: Placement) -> PreTrainedModel:
    """A shallow copy of a causal LM with a prefix in front of its inputs; `model` itself stays as it is.

    Raises ModelError for one that has a prefix already, or no stack of layers where ppm could stand in front of it.
    """
    if any(isinstance(module, PrefixedBackbone) for module in model.modules()):
        raise ModelError("the model already has a prefix", hint="attach to the base model instead")
    path = _backbone_path(model)
    inner = model.get_submodule(".".join(path))
    backbone = PrefixedBackbone(inner, rows, placement, bos_of(model))
    backbone.train(model.training)
    patched = _replaced(model, path, backbone)
    patched.__class__ = _patched_class(type(model))  # type: ignore[arg-type]
    return patched


def bos_of(model: PreTrainedModel) -> int | None:
    """The beginning-of-sequence token that a model declares."""
    bos = getattr(model.config.get_text_config(), "bos_token_id", None)
    found = bos[0] if isinstance(bos, list) and bos else bos
    return found if isinstance(found, int) else None


def backbone_of(patched: PreTrainedModel) -> PrefixedBackbone:
    """The backbone of a model that `attach` returned."""
    backbone = patched.get_submodule(".".join(_backbone_path(patched)))
    if not isinstance(backbone, PrefixedBackbone):
        raise TypeError("the model has no prefix")
    return backbone


class _Said(BaseModelOutputWithPastAndCrossAttentions):
    """Hidden states, and None for whatever else an architecture's stack of layers returns."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


class _Given(nn.Module):
    """Stands in the place of a stack of layers, and says what it is given."""

    def forward(self, *args: object, inputs_embeds: "torch.Tensor", **kwargs: object) -> _Said:
        return _Said(last_hidden_state=inputs_embeds)


def stack_of(model: PreTrainedModel) -> nn.Module:
    """A causal LM's stack of layers, whose hidden states its head reads; of a patched one, with the prefix."""
    stack: nn.Module = model.get_submodule(".".join(_backbone_path(model)))
    return stack


def head_of(model: PreTrainedModel) -> PreTrainedModel:
    """A causal LM's head alone, as another shallow copy.

    What it is given as `inputs_embeds` (B, N, hidden_size) are hidden states of the stack of layers, and what it does
    to them is all that the architecture does, such as capping logits.
    """
    return _replaced(model, _backbone_path(model), _Given())


def unpatched(patched: PreTrainedModel) -> PreTrainedModel:
    """The base of a patched model, as another shallow copy."""
    path = _backbone_path(patched)
    base = _replaced(patched, path, backbone_of(patched).inner)
    base.__class__ = type(patched).__mro__[2]
    return base


def _backbone_path(model: PreTrainedModel) -> list[str]:
    """Where the stack of layers hangs.

    Some models (OPT) keep it one level further down, and call it there; some (Llama 4) under another name than they
    declare.
    """
    path = [model.base_model_prefix]
    if path[0] not in model._modules:
        stacks = (
            name for name, child in model._modules.items() if isinstance(child, PreTrainedModel | PrefixedBackbone)
        )
        return [next(stacks, "")]
    if isinstance(model.base_model, PrefixedBackbone):
        return path
    return [*path, "decoder"] if "decoder" in model.base_model._modules else path


def _replaced(module: nn.Module, path: list[str], new: nn.Module) -> nn.Module:
    """A shallow copy of `module` with the submodule at `path` exchanged; all else is shared."""
    first, *rest = path
    result = copy.copy(module)
    inside = module._modules[first]
    assert inside is not None
    result._modules = {**module._modules, first: _replaced(inside, rest, new) if rest else new}
    _rebind(result)
    return result


def _rebind(module: nn.Module) -> None:
    """Make a copy's `forward` its own: TRL and accelerate bind one to the module that they are given.

    Accelerate's moves tensors between devices and stays, around the class's; what else is bound would run the original.
    """
    bound = module.__dict__.pop("forward", None)
    if isinstance(bound, partial) and "_old_forward" in module.__dict__:
        own = MethodType(type(module).forward, module)
        module.__dict__ |= {"_old_forward": own, "forward": update_wrapper(partial(bound.func, module), own)}
