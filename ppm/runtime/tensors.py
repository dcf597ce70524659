"""Prefixes as tensors: to and from banks, and initialised from a text."""

from typing import TYPE_CHECKING

import torch

from ppm.bank import Bank, Block
from ppm.errors import ModelError, TrainingError
from ppm.manifest import Manifest, PrefixShape
from ppm.package import Package
from ppm.runtime.loading import LoadedBase

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["bank_of", "check_width", "initial_prefix", "of_package", "prefix_of", "usable"]


def prefix_of(bank: Bank) -> torch.Tensor:
    """The blocks of a joined bank, one after the other: (virtual_tokens, hidden_size), float32."""
    return torch.cat([torch.frombuffer(bytearray(b.values), dtype=torch.float32).view(b.shape) for b in bank.blocks])


def bank_of(prefix: torch.Tensor) -> Bank:
    """A bank of one block (virtual_tokens, hidden_size). Raises TrainingError when it is not finite."""
    if prefix.ndim != 2 or not torch.isfinite(prefix).all():
        raise TrainingError(
            "the prefix holds values that are not finite numbers", hint="a lower learning rate usually helps"
        )
    values = prefix.detach().to("cpu", torch.float32).contiguous().numpy().tobytes()
    return Bank((Block((prefix.shape[0], prefix.shape[1]), values),))


def usable(learned: torch.Tensor, stage: str) -> torch.Tensor:
    """A copy of what a stage learned. Raises TrainingError when its values are no usable numbers.

    What half precision can't hold turns into infinities when the model is served; no useful prefix comes near.
    """
    if not bool((learned.abs() <= torch.finfo(torch.float16).max).all()):
        raise TrainingError(
            f"{stage} produced a prefix whose values are not finite numbers", hint="lower the learning_rate"
        )
    return learned.detach().clone()


def of_package(package: Package, model: "PreTrainedModel") -> torch.Tensor:
    """A package's prefix. Raises ModelError when its width is not the model's."""
    prefix = prefix_of(package.bank)
    check_width(prefix, model, package.manifest)
    return prefix


def check_width(prefix: torch.Tensor, model: "PreTrainedModel", manifest: Manifest) -> None:
    """Raises ModelError when a prefix is not as wide as the model's embeddings."""
    width = model.get_input_embeddings().embedding_dim
    if prefix.shape[1] != width:
        raise ModelError(
            f"the prefix is {prefix.shape[1]} wide, but the base model's embeddings are {width} wide",
            context=manifest.pin,
            hint="the patch was made for another base model",
        )


def initial_prefix(base: LoadedBase, shape: PrefixShape, *, seed: int = 0) -> torch.Tensor:
    """The prefix (virtual_tokens, hidden_size) that training starts from.

    `text`: the embeddings of a text, repeated or cut to length. `vocabulary`: embeddings of entries drawn at random.
    `random`: uniform on [-0.5, 0.5] (Lester et al. 2021, section 3.1, for both of these). Raises ModelError when the
    text has no token.
    """
    embeddings = base.model.get_input_embeddings()
    generator = torch.Generator().manual_seed(seed)
    if shape.init == "random":
        return torch.rand(shape.virtual_tokens, embeddings.embedding_dim, generator=generator) - 0.5
    if shape.init == "vocabulary" or not shape.init_text:
        chosen = torch.randint(embeddings.num_embeddings, (shape.virtual_tokens,), generator=generator)
    else:
        ids = base.tokenizer(shape.init_text, add_special_tokens=False).input_ids
        if not ids:
            raise ModelError("the init_text has no tokens", hint="put some words into init_text")
        chosen = torch.tensor([ids[i % len(ids)] for i in range(shape.virtual_tokens)])
    with torch.no_grad():
        prefix: torch.Tensor = embeddings(chosen.to(embeddings.weight.device)).float().clone()
    return prefix
