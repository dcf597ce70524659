"""Loads a base model as it will be served: from safetensors only, without remote code."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from ppm.base import BaseModel
from ppm.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["LazyModel", "LoadedBase", "load_base"]


@dataclass(frozen=True)
class LoadedBase:
    """A base model in memory: `model`, frozen and in evaluation mode, with its tokenizer."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"

    @property
    def hidden_size(self) -> int:
        """How wide the model's input embeddings are."""
        return int(self.model.get_input_embeddings().embedding_dim)


@dataclass(frozen=True)
class LazyModel:
    """A base model that is loaded when it is first used: where all results are kept, it never is."""

    base: BaseModel

    @cached_property
    def loaded(self) -> LoadedBase:
        """The base in memory. Raises ModelError."""
        return load_base(self.base)


def load_base(base: BaseModel, *, trust_remote_code: bool = False) -> LoadedBase:
    """The frozen model, in evaluation mode, with its tokenizer.

    On a CPU the weights are widened to float32, which is exact and several times as fast as bfloat16 there; on a
    GPU they keep the dtype they were saved in. Raises ModelError.
    """
    # These take seconds, which an audit whose results are all kept does without.
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        tokenizer = AutoTokenizer.from_pretrained(base.folder, trust_remote_code=trust_remote_code)
        model = AutoModelForCausalLM.from_pretrained(
            base.folder,
            dtype=torch.float32 if device == "cpu" else "auto",
            use_safetensors=True,
            trust_remote_code=trust_remote_code,
        )
    except Exception as error:  # tokenizers and safetensors raise classes of their own on damaged files
        raise ModelError(
            f"can't be loaded: {error}",
            context=base.name,
            hint="it must be a causal language model in the Hugging Face format, with its tokenizer and safetensors",
        ) from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return LoadedBase(model.to(device).eval().requires_grad_(False), tokenizer)
