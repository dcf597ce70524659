"""Loads models as they will be used: strictly, from safetensors only, without remote code.

A tensor that is missing, left over, or of another shape or kind than the architecture's would be replaced by random
numbers or dropped without a word; here each is an error that names it, for bases, teachers and judges alike.
"""

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from ppm.bank import Readings
from ppm.base import BaseModel
from ppm.errors import ModelError
from ppm.running import UNSAID, Running
from ppm.runtime.dtypes import check_memory, chosen, pace_note

if TYPE_CHECKING:
    import torch
    from transformers import GenerationConfig, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

__all__ = [
    "BASE_HINT",
    "LazyModel",
    "LoadedBase",
    "listening",
    "load_base",
    "load_pretrained",
    "load_settings",
    "load_tokenizer",
]

BASE_HINT = "it must be a causal language model in the Hugging Face format, with its tokenizer and safetensors"
SHOWN = 3
"""How many tensors an error names; it counts the others."""
WRONG_RESULT = re.compile(
    r"newly initialized|not used when initializing|LOAD REPORT|seems? corrupted|is not the same type"
    r"|to instantiate a model of type|but you overrode it|Missing required keys in `rope"
    r"|Could not reorder vocab|Could not extract SentencePiece"
)
"""Warnings of transformers after which a model or a tokenizer is another one than its files say."""


@dataclass(frozen=True)
class LoadedBase:
    """A base model in memory: `model`, frozen and in evaluation mode, with its tokenizer.

    `kept` is a folder where the outcome of the self-test is kept, for whoever attaches a bank to the model. `memory` is
    how many bytes work on the model may take, the model included; None leaves it to what is at hand. `readings` is what
    triggers said of texts, for whoever asks again.
    """

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    kept: Path | None = None
    memory: int | None = None
    readings: Readings = field(default_factory=dict, repr=False, compare=False)

    @property
    def hidden_size(self) -> int:
        """How wide the model's input embeddings are."""
        return int(self.model.get_input_embeddings().embedding_dim)


@dataclass(frozen=True)
class LazyModel:
    """A base model that is loaded when it is first used: where all results are kept, it never is.

    `tell` gets a line if its dtype is slow on this machine.
    """

    base: BaseModel
    kept: Path | None = None
    running: Running = UNSAID
    tell: Callable[[str], None] = lambda message: None

    @cached_property
    def loaded(self) -> LoadedBase:
        """The base in memory. Raises ModelError."""
        note = pace_note(self.running, self.base, kept=self.kept)
        if note is not None:
            self.tell(f"note: {note}")
        return load_base(self.base, kept=self.kept, running=self.running)


def load_base(
    base: BaseModel,
    *,
    kept: Path | None = None,
    running: Running = UNSAID,
    trust_remote_code: bool = False,
) -> LoadedBase:
    """The frozen model, in evaluation mode, with its tokenizer; see `load_pretrained`. Raises ModelError.

    `kept` is a folder that outcomes of the self-test are kept in (`ppm.home.self_tests`), and measured dtypes. A base
    that does not go into memory is refused before it is loaded.
    """
    if running.dtype is not None:
        running = chosen(running, base, kept=kept)
    check_memory(base.folder, running.named or "float32", running.memory, context=base.name)
    loaded = load_pretrained(
        base.folder,
        context=base.name,
        hint=BASE_HINT,
        running=running,
        trust_remote_code=trust_remote_code,
    )
    return replace(loaded, kept=kept, memory=running.memory)


def load_pretrained(
    folder: Path,
    kind: str = "AutoModelForCausalLM",
    *,
    context: str,
    hint: str = "",
    padding_side: str | None = None,
    running: Running = UNSAID,
    trust_remote_code: bool = False,
) -> LoadedBase:
    """A frozen model in evaluation mode and its tokenizer, from a folder in the Hugging Face format.

    `kind` is the auto class of transformers that makes the model. It has the dtype and the devices that `running`
    names; where that names no dtype, float32 on a CPU, which is exact, and on a GPU the one it was saved in. A
    quantisation that its configuration declares is applied. Raises ModelError, with `context` and `hint`, for what
    can't be loaded whole: a tensor is missing, left over, or has another shape or kind than the architecture's, or
    transformers warns of something that changes results.
    """
    # These take seconds, which an audit whose results are all kept does without.
    import torch
    import transformers

    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = load_tokenizer(
        folder, context=context, hint=hint, padding_side=padding_side, trust_remote_code=trust_remote_code
    )
    heard: list[str] = []
    try:
        with listening(heard):
            model, report = getattr(transformers, kind).from_pretrained(
                folder,
                dtype=_dtype(running, device),
                device_map=running.device_map,
                use_safetensors=True,
                trust_remote_code=trust_remote_code,
                ignore_mismatched_sizes=True,  # so that the report names them, instead of an error that does not
                output_loading_info=True,
            )
    except Exception as error:  # tokenizers and safetensors raise classes of their own on damaged files
        raise ModelError(f"can't be loaded: {_told(error, heard)}", context=context, hint=hint) from error
    _refuse(_fault_of(report) or _other_kind(folder, model), heard, context)
    if running.device_map is None and getattr(model, "hf_quantizer", None) is None:
        model = model.to(device)
    return LoadedBase(model.eval().requires_grad_(False), tokenizer)


def _dtype(running: Running, device: str) -> "torch.dtype | str":
    import torch

    if running.named is not None:
        found: torch.dtype = getattr(torch, running.named)
        return found
    return torch.float32 if device == "cpu" else "auto"


def load_tokenizer(
    folder: Path,
    *,
    context: str,
    hint: str = "",
    padding_side: str | None = None,
    trust_remote_code: bool = False,
) -> "PreTrainedTokenizerBase":
    """A model's tokenizer, without the model; it pads with the end token where it has none to pad with.

    Raises ModelError, with `context` and `hint`, where `load_pretrained` does for the tokenizer's sake.
    """
    import transformers

    options = {} if padding_side is None else {"padding_side": padding_side}
    heard: list[str] = []
    try:
        with listening(heard):
            tokenizer: PreTrainedTokenizerBase = transformers.AutoTokenizer.from_pretrained(
                folder, trust_remote_code=trust_remote_code, **options
            )
    except Exception as error:  # tokenizers raises classes of its own on damaged files
        raise ModelError(f"can't be loaded: {_told(error, heard)}", context=context, hint=hint) from error
    _refuse(None, heard, context)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_settings(folder: Path, *, context: str, hint: str = "") -> tuple["PreTrainedConfig", "GenerationConfig"]:
    """A model's configuration and how it generates, without the model.

    Raises ModelError, with `context` and `hint`, where `load_pretrained` does for their sake.
    """
    from transformers import AutoConfig, GenerationConfig

    heard: list[str] = []
    try:
        with listening(heard):
            config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
            saved = (folder / "generation_config.json").is_file()
            generation = (
                GenerationConfig.from_pretrained(folder) if saved else GenerationConfig.from_model_config(config)
            )
    except Exception as error:  # of whatever kind a damaged file makes
        raise ModelError(f"can't be loaded: {_told(error, heard)}", context=context, hint=hint) from error
    _refuse(None, heard, context)
    return config, generation


def _refuse(fault: str | None, heard: list[str], context: str) -> None:
    """Raises ModelError for a fault, or for a warning after which the model is another one than its files say."""
    fault = fault or next(filter(WRONG_RESULT.search, heard), None)
    if fault is not None:
        raise ModelError(
            f"can't be loaded as it is: {fault}",
            context=context,
            hint="save the model again with save_pretrained, all its tensors included; ppm never fills in random ones",
        )


class _Collector(logging.Handler):
    """Keeps messages instead of printing them."""

    def __init__(self, heard: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(re.sub(r"\x1b\[[0-9;]*m", "", record.getMessage()).strip())


@contextmanager
def listening(heard: list[str]) -> Iterator[None]:
    """Collects what transformers warns of meanwhile; of that nothing is printed, then or later."""
    from transformers.utils import logging as library

    library.disable_progress_bar()
    logger = library.get_logger("transformers")
    handlers, propagate = logger.handlers, logger.propagate
    collector = _Collector(heard)
    logger.handlers, logger.propagate = [collector], False
    library.set_verbosity_warning()
    library.warning_once.cache_clear()  # what was said of another model must be said of this one too
    try:
        yield
    finally:
        logger.handlers, logger.propagate = handlers, propagate
        library.set_verbosity_error()


def _told(error: Exception, heard: list[str]) -> str:
    """An error's text; where it only points to a report that was logged, the report."""
    reports = [text for text in heard if "LOAD REPORT" in text]
    return f"{error}\n{reports[-1]}" if reports and "above report" in str(error) else str(error)


class _Report(TypedDict):
    """What transformers says of a load: names, and (name, shape in the file, shape in the model)."""

    missing_keys: set[str]
    unexpected_keys: set[str]
    mismatched_keys: set[tuple[str, tuple[int, ...], tuple[int, ...]]]


def _fault_of(report: _Report) -> str | None:
    """The first kind of tensors that a loading report finds fault with, in words."""
    missing, unexpected = report["missing_keys"], report["unexpected_keys"]
    if missing:
        return f"its files lack {_listed(missing)}"
    if report["mismatched_keys"]:
        sizes = [
            f"{name} is {_size(found)} where the model has {_size(own)}"
            for name, found, own in report["mismatched_keys"]
        ]
        return _listed(sizes)
    if unexpected:
        return f"its files hold {_listed(unexpected)}, for which the model has no place"
    return None


def _other_kind(folder: Path, model: "PreTrainedModel") -> str | None:
    """Tensors that are whole numbers in the files and fractions in the model, or the other way round, in words.

    Quantised models keep whole numbers on purpose, and say so in their configuration.
    """
    import safetensors

    if getattr(model.config, "quantization_config", None) is not None:
        return None
    own = model.state_dict()
    wrong = []
    for path in sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("*.safetensors")):
        with safetensors.safe_open(path, "pt") as stream:
            for name in stream.keys():  # noqa: SIM118 (it is no mapping)
                kind = stream.get_slice(name).get_dtype()
                if name in own and own[name].is_floating_point() != kind.startswith(("F", "BF")):
                    wrong.append(f"{name} is of {kind} where the model has {str(own[name].dtype).split('.')[-1]}")
    return _listed(wrong) if wrong else None


def _listed(items: "set[str] | list[str]") -> str:
    shown = sorted(items)[:SHOWN]
    others = len(items) - len(shown)
    return ", ".join(shown) + (f" and {others} more" if others else "")


def _size(shape: "tuple[int, ...]") -> str:
    return " x ".join(map(str, shape)) or "a single number"
