"""Turns a GGUF, or a checkpoint that transformers reads, into a base folder: strictly, and the same bytes each time.

Every tensor of the file must find its place and every place its tensor, the tokenizer must give each token of the file
the id that it has there, and what ends an answer comes from the file's own metadata.
"""

import importlib.metadata
import importlib.util
import json
import re
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ppm.bases.header import GgufHeader
from ppm.disk import disk_errors
from ppm.errors import DiskError, ModelError
from ppm.machine import check_memory, shown_size
from ppm.runtime.loading import BASE_HINT, listening, load_pretrained

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

__all__ = [
    "Dtype",
    "made_with",
    "memory_needed",
    "need_extra",
    "need_memory",
    "read_checkpoint",
    "read_gguf",
    "write_base",
]

Dtype = Literal["bfloat16", "float16", "float32"]
WIDTHS = {"bfloat16": 2, "float16": 2, "float32": 4}
_IMPORTED = 600_000_000
"""Bytes that torch and transformers take by themselves."""
_COPIES = 3
"""How many float32 copies of the largest tensor there are while it is dequantised."""
_ENDS_OF_TURN = ("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<end_of_turn>", "<|end|>")
"""What ends an answer in common chat templates; a file may name only what ends a document."""
_SPECIAL = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
_FULL = re.compile(r"os error (27|28|122)|No space left|File too large")
_SPACE = "\u2581"
_OF_THIS_MACHINE = ("is_local", "local_files_only", "name_or_path")
"""Keys that transformers writes into tokenizer_config.json about where it read a tokenizer."""
_NOT_SAVED = ("quantization_config", "_model_name_or_path")


@dataclass(frozen=True)
class Checkpoint:
    """A model in memory with its tokenizer and what ends its answers; nothing of it is on disk yet."""

    model: "PreTrainedModel"
    config: "PreTrainedConfig"
    tokenizer: "PreTrainedTokenizerBase"
    generation: "GenerationConfig"


def need_extra() -> None:
    """Raises ModelError where the package is missing that reads GGUF."""
    if not _is_installed("gguf"):
        raise ModelError(
            "reading GGUF needs the package gguf, which is not installed",
            hint='install it with ppm\'s extra: pip install "policy-patch-manager[gguf]"',
        )


def made_with() -> dict[str, str]:
    """The versions of the packages that have a say in what a converted base looks like."""
    names = ("gguf", "tokenizers", "torch", "transformers")
    return {name: importlib.metadata.version(name) for name in names if _is_installed(name)}


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ValueError:  # an import that was switched off
        return False


def memory_needed(parameters: int, largest: int, dtype: Dtype) -> int:
    """About how many bytes it takes to dequantise so many numbers, and so many in the largest tensor."""
    return _IMPORTED + 2 * WIDTHS[dtype] * parameters + _COPIES * 4 * largest


def need_memory(parameters: int, largest: int, dtype: Dtype, *, context: str) -> None:
    """Raises ModelError when that is more than is free."""
    hint = "close other programs, or make the folder on a larger machine and copy it here"
    check_memory(memory_needed(parameters, largest, dtype), context, hint=hint)


def read_gguf(path: Path, header: GgufHeader, dtype: Dtype, *, context: str) -> Checkpoint:
    """The causal LM in a GGUF that lies in a folder of its own, dequantised. Raises ModelError."""
    need_extra()
    _check_tokens(header, context)
    need_memory(header.parameters, header.largest, dtype, context=context)
    import torch
    import transformers

    options = {"gguf_file": path.name, "trust_remote_code": False}
    quantised = getattr(transformers, "GgufConfig", None)
    heard: list[str] = []
    try:
        # The bar of one of its loaders heeds no setting.
        with listening(heard), redirect_stderr(StringIO()):
            tokenizer: PreTrainedTokenizerBase = transformers.AutoTokenizer.from_pretrained(path.parent, **options)
            model, report = transformers.AutoModelForCausalLM.from_pretrained(
                path.parent,
                dtype=getattr(torch, dtype),
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                # Kernels could keep the weights packed; what is saved must be whole.
                **({"quantization_config": quantised(dequantize=True)} if quantised else {}),
                **options,
            )
    except Exception as error:  # transformers, tokenizers and gguf raise dozens of unrelated classes
        hint = "transformers reads the architectures of common models; give a checkpoint folder of this one instead"
        raise ModelError(
            f"its architecture is {header.architecture!r}, and transformers can't make a causal language model of it: "
            f"{str(error).splitlines()[0][:300] if str(error) else type(error).__name__}",
            context=context,
            hint=hint,
        ) from error
    astray = [*report["missing_keys"], *report["unexpected_keys"], *(name for name, *_ in report["mismatched_keys"])]
    if astray:
        raise ModelError(f"its tensors are not those of the model: {', '.join(sorted(astray)[:3])}", context=context)
    _check_weights(model, header, context)
    config = _config_of(model, header, dtype)
    tokenizer = _settled(_without_others(tokenizer, len(header.tokens)), header, context)
    generation = _generation_of(config, tokenizer, header)
    config.update(generation_ids(generation))
    return _checked(Checkpoint(model, config, tokenizer, generation), context)


def read_checkpoint(folder: Path, dtype: Dtype, *, context: str) -> Checkpoint:
    """The causal LM in a checkpoint folder, loaded as strictly as any base. Raises ModelError."""
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    hint = "close other programs, or import it on a larger machine"
    check_memory(_IMPORTED + 4 * size, context, hint=hint)  # half of it may become twice as wide
    loaded = load_pretrained(folder, context=context, hint=BASE_HINT)
    model = loaded.model
    if getattr(model.config, "quantization_config", None) is not None:
        try:
            model = model.dequantize()
        except Exception as error:  # of whatever kind the quantiser makes
            hint = "import the checkpoint that it was quantised from"
            raise ModelError(f"is quantised, and can't be unpacked: {error}", context=context, hint=hint) from error
    table = {key: value for key, value in model.config.to_dict().items() if key not in _NOT_SAVED}
    config = type(model.config).from_dict(table)
    config.update({"architectures": [type(model).__name__], "dtype": dtype})
    return _checked(Checkpoint(model, config, loaded.tokenizer, model.generation_config), context)


def write_base(found: Checkpoint, folder: Path, dtype: Dtype) -> None:
    """Write a model, its tokenizer and its settings as a base folder. Raises DiskError."""
    import torch

    kind: torch.dtype = getattr(torch, dtype)
    state = {
        name: tensor.to("cpu", kind) if tensor.is_floating_point() else tensor.cpu()
        for name, tensor in found.model.state_dict().items()
    }
    with torch.device("meta"):
        model = type(found.model)(found.config)
    model.load_state_dict(state, strict=True, assign=True)
    model.tie_weights()
    model.generation_config = found.generation
    try:
        with disk_errors("can't be written", folder), listening([]):
            model.save_pretrained(folder)
            found.tokenizer.save_pretrained(folder)
            settings = folder / "tokenizer_config.json"
            table = json.loads(settings.read_bytes())
            kept = {key: value for key, value in table.items() if key not in _OF_THIS_MACHINE}
            settings.write_text(json.dumps(kept, indent=2, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
    except DiskError:
        raise
    except Exception as error:  # safetensors and tokenizers say so in classes of their own
        if not _FULL.search(str(error)):
            raise
        size = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
        message = f"can't be written: No space left on device; the base takes {shown_size(size)}"
        raise DiskError(message, folder, "full", hint="free some space on this disk") from error


def generation_ids(generation: "GenerationConfig") -> dict[str, object]:
    """The ids that start and end texts, as a configuration has them."""
    return {f"{kind}_token_id": getattr(generation, f"{kind}_token_id") for kind in ("bos", "eos", "pad")}


def _check_tokens(header: GgufHeader, context: str) -> None:
    """Raises ModelError when a file has no vocabulary, or names a special token that is not in it."""
    count = len(header.tokens)
    if not count:
        raise ModelError("has no vocabulary", context=context, hint="give the GGUF of a whole language model")
    for kind in (*_SPECIAL.values(), "eot", "eom"):
        found = header.token(kind)
        if found is not None and not 0 <= found < count:
            raise ModelError(f"its {kind} token is {found}, but its vocabulary has {count:,} tokens", context=context)
    rows = next((tensor.shape[0] for tensor in header.tensors if tensor.name == "token_embd.weight"), count)
    if rows < count:
        raise _too_small(count, rows, context)


def _check_weights(model: "PreTrainedModel", header: GgufHeader, context: str) -> None:
    """Raises ModelError when a tensor of the file has no place in the model, or holds no finite numbers."""
    own = {tensor.data_ptr(): tensor for tensor in model.state_dict().values()}
    placed = sum(tensor.numel() for tensor in own.values())
    if placed != header.parameters:
        strange = [tensor.name for tensor in header.tensors if not tensor.name.endswith((".weight", ".bias"))]
        strange += [tensor.name for tensor in header.tensors if tensor.name.startswith("rope_")]
        named = f", perhaps {strange[0]}" if strange else ""
        raise ModelError(
            f"its tensors hold {header.parameters:,} numbers, and the model has places for {placed:,}{named}",
            context=context,
            hint="transformers does not read all of this file; give the checkpoint that it was made from",
        )
    import torch

    for name, tensor in model.state_dict().items():
        if not bool(torch.isfinite(tensor).all()):
            raise ModelError(f"{name} holds values that are not finite numbers", context=context)


def _config_of(model: "PreTrainedModel", header: GgufHeader, dtype: Dtype) -> "PreTrainedConfig":
    table = {key: _shortest(value) for key, value in model.config.to_dict().items() if key not in _NOT_SAVED}
    config: PreTrainedConfig = type(model.config).from_dict(table)
    config.update({"architectures": [type(model).__name__], "dtype": dtype})
    return config


def _shortest(value: object) -> object:
    """Numbers as they were written before a GGUF rounded them to float32: 1e-05 for 9.999999747378752e-06."""
    import numpy

    if isinstance(value, dict):
        return {key: _shortest(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_shortest(item) for item in value]
    if isinstance(value, float) and float(numpy.float32(value)) == value:
        return float(str(numpy.float32(value)))
    return value


def _without_others(tokenizer: "PreTrainedTokenizerBase", count: int) -> "PreTrainedTokenizerBase":
    """The tokenizer without what transformers added to the file's own tokens, for which the model has no row."""
    table = json.loads(tokenizer.backend_tokenizer.to_str())
    own = [token for token in table["added_tokens"] if token["id"] < count]
    if len(own) == len(table["added_tokens"]):
        return tokenizer
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    others = {token["content"] for token in table["added_tokens"]} - {token["content"] for token in own}
    special = {f"{kind}_token": getattr(tokenizer, f"{kind}_token") for kind in _SPECIAL}
    kept = {key: text for key, text in special.items() if text not in others}
    whole = Tokenizer.from_str(json.dumps(table | {"added_tokens": own}))
    return PreTrainedTokenizerFast(tokenizer_object=whole, **kept)


def _settled(tokenizer: "PreTrainedTokenizerBase", header: GgufHeader, context: str) -> "PreTrainedTokenizerBase":
    """The tokenizer with its file's special tokens and template. Raises ModelError where its ids are others."""
    tokens = header.tokens
    for kind, key in _SPECIAL.items():
        found = header.token(key)
        if found is not None and getattr(tokenizer, f"{kind}_token_id") != found:
            setattr(tokenizer, f"{kind}_token", tokens[found])
    if tokenizer.pad_token_id is None or header.token("padding") is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.chat_template = header.text("tokenizer.chat_template") or None
    if header.text("tokenizer.ggml.model") == "llama":  # SentencePiece, of which some files write spaces as spaces
        tokens = [token.replace(" ", _SPACE) for token in tokens]
    own = tokenizer.convert_ids_to_tokens(list(range(len(tokens))))
    wrong = next((i for i, (mine, theirs) in enumerate(zip(own, tokens, strict=True)) if mine != theirs), None)
    if wrong is not None or len(tokenizer) != len(tokens):
        detail = f"{wrong} is {own[wrong]!r} instead of {tokens[wrong]!r}" if wrong is not None else "there are more"
        raise ModelError(f"its tokens do not keep their ids: {detail}", context=context)
    begins = header.flag("tokenizer.ggml.add_bos_token")
    if begins is not None and _begins(tokenizer) != begins:
        tokenizer.add_bos_token = begins
        tokenizer.update_post_processor()
        if _begins(tokenizer) != begins:
            raise ModelError("its tokenizer can't be told when to begin with BOS", context=context)
    return tokenizer


def _begins(tokenizer: "PreTrainedTokenizerBase") -> bool:
    ids = tokenizer("a").input_ids
    return bool(ids) and tokenizer.bos_token_id is not None and ids[0] == tokenizer.bos_token_id


def _generation_of(
    config: "PreTrainedConfig", tokenizer: "PreTrainedTokenizerBase", header: GgufHeader
) -> "GenerationConfig":
    from transformers import GenerationConfig

    template = tokenizer.chat_template or ""
    known = set(header.tokens)
    ends = [header.token("eos"), header.token("eot"), header.token("eom")]
    ends += config.eos_token_id if isinstance(config.eos_token_id, list) else []
    ends += [tokenizer.convert_tokens_to_ids(text) for text in _ENDS_OF_TURN if text in known and text in template]
    found = list(dict.fromkeys(end for end in ends if end is not None))
    return GenerationConfig(
        bos_token_id=header.token("bos"),
        eos_token_id=found[0] if len(found) == 1 else found or None,
        pad_token_id=tokenizer.pad_token_id,
    )


def _checked(found: Checkpoint, context: str) -> Checkpoint:
    """The checkpoint. Raises ModelError when its tokenizer has ids for which the model has no row."""
    head = found.model.get_output_embeddings()
    rows = [found.model.get_input_embeddings().weight.shape[0]]
    rows += [head.weight.shape[0]] if head is not None else []
    if len(found.tokenizer) > min(rows):
        raise _too_small(len(found.tokenizer), min(rows), context)
    return found


def _too_small(tokens: int, rows: int, context: str) -> ModelError:
    return ModelError(
        f"its vocabulary has {tokens:,} tokens, but the model's head has {rows:,} rows",
        context=context,
        hint="give the tokenizer that the model was trained with",
    )
