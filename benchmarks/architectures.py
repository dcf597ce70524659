"""Which architectures a prefix stands in front of exactly: every causal LM that transformers lists, tiny and random.

`python benchmarks/architectures.py --output docs/architectures.md` builds a small model of each configuration and
compares what ppm makes of it with embeddings that are put in front of the prompt: alone, padded on either side in a
batch of rows with and without prefixes, token by token from the cache, greedy and sampled with ppm's own generation;
and with the base's weights before, bit for bit. Each is exact, or refused in one message, or at fault (exit 1).
"""

import argparse
import copy
import gc
import sys
import time
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from ppm.errors import ModelError
from ppm.evaluation.generation import Completion, generate
from ppm.runtime.model import UNPATCHED, attach, backbone_of
from ppm.suite import Decoding

VOCABULARY, BOS, EOS, PAD = 99, 1, 2, 0
SCALE = 0.15
"""Standard deviation of the weights: at the usual 0.02 a prefix hardly shows, and so does no fault."""
SIZES = {
    "vocab_size": VOCABULARY,
    "vocab_size_per_layer_input": VOCABULARY,
    "pad_token_id": PAD,
    "bos_token_id": BOS,
    "eos_token_id": EOS,
    "sep_token_id": EOS,
    "decoder_start_token_id": BOS,
    "forced_eos_token_id": None,
    "is_decoder": True,
    "use_cache": True,
    "tie_word_embeddings": False,
}
EXACTLY = {
    # What no part of a name tells.
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "index_n_heads": 2,
    "index_topk": 8,
    "query_pre_attn_scalar": 8,
    "rotary_dim": 4,
    "mamba_n_heads": 8,
    "mamba_num_heads": 8,
    "n_mamba_heads": 2,
    "mamba_d_ssm": 64,
    "mamba_d_head": 8,
    "mamba_headdim": 8,
    "mamba_d_state": 8,
    "ssm_state_size": 8,
    "state_size": 8,
    "time_step_rank": 4,
    "mamba_dt_rank": 4,
    "mamba_chunk_size": 8,
    "chunk_size": 8,
    "lru_width": 32,
    "word_embed_proj_dim": 16,
    "dim_head": 8,
    "dim_ff": 64,
    "d_head": 8,
    "kv_channels": 8,
    "keep_window_size": 8,
    "local_attention": 8,
    "num_kv_shared_layers": 2,
    "first_k_dense_replace": 1,
    "num_dense_layers": 1,
    "attention_hidden_size": 32,
    "feed_forward_size": 64,
    "input_embedding_size": 16,
    "output_embedding_size": 32,
    "embedding_dim": 32,
    "num_blocks": 4,
    "attn_layer_period": 2,
    "attn_layer_offset": 1,
    "floor_scale": 8,
    "dim_model_base": 32,
    "block_size": 8,
    "prompt_length": 4,
    "original_max_position_embeddings": 128,
    "num_nextn_predict_layers": 0,
    "layer_group_size": 2,
    "router_hidden_size": 16,
    "max_window_layers": 2,
}
RULES: list[tuple[tuple[str, ...], int]] = [
    # The first rule with a part of the key's name decides.
    (("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k", "top_k_experts", "num_selected"), 2),
    (("topk_group", "n_group", "num_shared_experts", "n_shared_experts", "n_groups"), 1),
    (("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "ffn_num_experts"), 4),
    (("kv_heads", "key_value_heads", "num_kv", "n_kv_head", "key_value_head"), 2),
    (("num_attention_heads", "n_head", "num_heads", "attention_heads", "heads_num"), 4),
    (
        ("rope_head_dim", "nope_head_dim", "v_head_dim", "qk_head_dim", "head_dim", "head_size", "attention_head_size"),
        8,
    ),
    (("lora_rank", "lora_r", "q_lora", "kv_lora"), 8),
    (("num_hidden_layers", "num_layers", "n_layers", "n_layer", "decoder_layers", "encoder_layers"), 4),
    (("sliding_window", "window_size", "attention_window", "local_window"), 8),
    (("attention_chunk_size",), 8),
    (("max_position", "n_positions", "n_ctx", "max_seq_len", "max_sequence_length", "max_target_positions"), 128),
    (("intermediate_size", "ffn_dim", "d_ff", "inner_dim", "n_inner", "ffn_hidden_size", "dff", "d_inner"), 64),
    (("hidden_size", "d_model", "n_embd", "embedding_size", "emb_dim", "d_embed", "model_dim", "embed_dim"), 32),
]
REFERENCE_STEPS = 4
LARGEST = 10_000_000
OWN: dict[str, dict[str, Any]] = {
    # What a configuration leaves open by default.
    "bamba": {"attn_layer_indices": [1, 3]},
    "deepseek_v2": {"num_experts_per_tok": 2, "n_routed_experts": 4, "n_shared_experts": 1, "qk_head_dim": 16},
    "dots1": {"num_experts_per_tok": 2, "n_routed_experts": 4, "n_shared_experts": 1},
    "cohere_compass_text": {"layer_types": ["sliding_attention", "full_attention"] * 2},
    "granitemoehybrid": {"layer_types": ["linear_attention", "full_attention"] * 2},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8},
    "lfm2": {"layer_types": ["conv", "full_attention"] * 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "mamba2": {"num_heads": 8, "head_dim": 8, "n_groups": 2},
    "ministral": {"head_dim": 8},
    "nemotron": {"num_key_value_heads": 2, "head_dim": 8},
    "zaya": {"num_experts_per_tok": 1},
    "reformer": {"axial_pos_embds": False},
    "xmod": {"default_language": "en_XX"},
}


def shrunk(config: Any) -> dict[str, Any]:
    """The keys of a configuration with small values: layers of every kind it has, narrow, with short windows."""
    table = config.to_dict()
    layers = next((table[k] for k in ("num_hidden_layers", "n_layer", "num_layers", "decoder_layers") if k in table), 0)
    small: dict[str, Any] = {}
    for key, value in table.items():
        if key in SIZES or key in EXACTLY:
            small[key] = SIZES[key] if key in SIZES else EXACTLY[key]
        elif isinstance(value, bool) or key in ("model_type", "transformers_version", "architectures"):
            continue
        elif isinstance(value, int):
            if key == "num_key_value_heads" and "qk_rope_head_dim" in table:
                found: int | None = 4  # latent attention has no groups
            else:
                found = next((size for parts, size in RULES if any(part in key for part in parts)), None)
            if found is not None:
                small[key] = found
        elif isinstance(value, list) and layers and len(value) == layers:
            small[key] = of_each_kind(value, 4)
    return small


def of_each_kind(values: list[Any], count: int) -> list[Any]:
    """A shorter list that has each kind of value, in the order of the longer one."""
    kinds = list(dict.fromkeys(map(str, values)))
    chosen = [next(v for v in values if str(v) == kind) for kind in kinds][:count]
    return (chosen * count)[:count] if chosen else []


def tiny_model(kind: str) -> Any:
    """A random model of a configuration's kind, in evaluation mode."""
    plain = CONFIG_MAPPING[kind]()
    text = plain.get_text_config(decoder=True)
    small = type(text)(**{**shrunk(text), **OWN.get(kind, {})})
    config = small
    if text is not plain:
        parts = {name: getattr(plain, name, None) for name in plain.sub_configs}
        tiny = {
            name: type(part)(**shrunk(part)) for name, part in parts.items() if part is not None and part is not text
        }
        name = next((name for name in plain.sub_configs if getattr(plain, name, None) is text), None)
        config = type(plain)(**({**tiny, name: small} if name else shrunk(plain)))
    with torch.device("meta"):
        large = sum(parameter.numel() for parameter in AutoModelForCausalLM.from_config(config).parameters())
    if large > LARGEST:
        raise ValueError(f"has {large:,} parameters even so")
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.ndim >= 2 and parameter.is_floating_point():
            parameter.normal_(0, SCALE, generator=generator)
    model(input_ids=torch.tensor([[BOS, 5, 6, 7]]))  # raises for sizes that don't fit each other
    return model


def sequences(*lengths: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(2)
    return [[BOS, *torch.randint(4, VOCABULARY, (length,), generator=generator).tolist()] for length in lengths]


def reference(model: Any, ids: Sequence[int], prefix: torch.Tensor | None) -> torch.Tensor:
    """What the base says of each token (T, V), with the prefix's embeddings in front and no cache."""
    embeds = model.get_input_embeddings()(torch.tensor(ids))
    if prefix is not None:
        embeds = torch.cat([prefix, embeds])
    logits: torch.Tensor = model(inputs_embeds=embeds[None], use_cache=False).logits[0, -len(ids) :]
    return logits


def greedy(model: Any, ids: Sequence[int], prefix: torch.Tensor | None, steps: int) -> list[int]:
    tokens = list(ids)
    for _ in range(steps):
        tokens.append(int(reference(model, tokens, prefix)[-1].argmax()))
    return tokens[len(ids) :]


def padded(texts: Sequence[Sequence[int]], side: str) -> tuple[torch.Tensor, torch.Tensor, list[slice]]:
    width = max(map(len, texts))
    ids, mask, slices = torch.full((len(texts), width), PAD), torch.zeros(len(texts), width, dtype=torch.long), []
    for row, text in enumerate(texts):
        start = width - len(text) if side == "left" else 0
        slices.append(slice(start, start + len(text)))
        ids[row, slices[-1]], mask[row, slices[-1]] = torch.tensor(text), 1
    return ids, mask, slices


def fault_of(model: Any) -> str | None:
    """The first comparison that a model which ppm accepts does not stand; None when it is exact."""
    width = model.get_input_embeddings().embedding_dim
    generator = torch.Generator().manual_seed(3)
    bank = [torch.randn(length, width, generator=generator) * SCALE for length in (5, 7)]
    patched = attach(model, bank)
    texts, rows = sequences(9, 4, 12, 1), [0, 1, UNPATCHED, 1]
    prefixes = [None if row == UNPATCHED else bank[row] for row in rows]
    wanted = [reference(model, text, prefix) for text, prefix in zip(texts, prefixes, strict=True)]

    def differ(found: torch.Tensor, expected: torch.Tensor) -> bool:
        return not torch.allclose(found, expected, atol=2e-4 * float(expected.abs().max()), rtol=1e-3)

    for side in ("left", "right"):
        ids, mask, slices = padded(texts, side)
        with backbone_of(patched).select(rows):
            together = patched(input_ids=ids, attention_mask=mask).logits
        for index, expected in enumerate(wanted):
            if differ(together[index, slices[index]], expected):
                return f"row {index} of a batch padded on the {side} differs"
    for index, (text, row) in enumerate(zip(texts, rows, strict=True)):
        with backbone_of(patched).select([row]):
            output = patched(input_ids=torch.tensor([text]), use_cache=True)
            if differ(output.logits[0], wanted[index]):
                return f"row {index} alone differs"
            if row != UNPATCHED and len(text) > 2:
                first = patched(input_ids=torch.tensor([text[:2]]), use_cache=True)
                cache, steps = first.past_key_values, [first.logits[0]]
                for token in text[2:]:
                    one = patched(input_ids=torch.tensor([[token]]), past_key_values=cache, use_cache=True)
                    steps.append(one.logits[0])
                if differ(torch.cat(steps), wanted[index]):
                    return f"row {index} token by token differs"
    return fault_of_generation(model, patched, list(zip(texts, rows, prefixes, strict=True)))


def fault_of_generation(model: Any, patched: Any, rows: list[tuple[list[int], int, torch.Tensor | None]]) -> str | None:
    tokenizer = SimpleNamespace(eos_token_id=None)
    patched.generation_config = copy.deepcopy(patched.generation_config)
    if patched.generation_config is not None:
        patched.generation_config.eos_token_id = None
    plain = Decoding(REFERENCE_STEPS, temperature=0.0)
    made = generate(patched, tokenizer, [Completion(row, tuple(text), plain, 1) for text, row, _ in rows])
    for index, (text, _, prefix) in enumerate(rows):
        if list(made[index]) != greedy(model, text, prefix, REFERENCE_STEPS):
            return f"row {index} is answered otherwise, greedily"
    sampled = Decoding(2 * REFERENCE_STEPS, temperature=1.0, top_p=0.9)
    requests = [Completion(row, tuple(text), sampled, key) for key, (text, row, _) in enumerate(rows)]
    if generate(patched, tokenizer, requests) != generate(patched, tokenizer, requests, batch_size=1):
        return "what is sampled depends on the batch"
    return None


def first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:140]


@dataclass(frozen=True)
class Found:
    kind: str
    model: str
    outcome: str
    reason: str = ""


@torch.no_grad()
def look(kind: str, *, debug: bool) -> Found:
    """What becomes of one kind of configuration: exact, refused, at fault, or not built."""
    name = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[kind]
    try:
        model = tiny_model(kind)
    except Exception as error:
        if debug:
            traceback.print_exc()
        return Found(kind, name, "not built", f"{type(error).__name__}: {first_line(error)}")
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    try:
        fault = fault_of(model)
        outcome, reason = ("fault", fault) if fault else ("exact", "")
    except ModelError as error:
        outcome, reason = "refused", error.message.partition("): ")[2] or error.message
    except Exception as error:
        if debug:
            traceback.print_exc()
        outcome, reason = "fault", f"{type(error).__name__}: {first_line(error)}"
    after = model.state_dict()
    if after.keys() != before.keys() or not all(torch.equal(after[key], before[key]) for key in before):
        outcome, reason = "fault", "the base's weights changed"
    return Found(kind, name, outcome, reason)


def page(found: list[Found], command: str) -> str:
    """The table as a page in Markdown."""
    counts = {outcome: sum(f.outcome == outcome for f in found) for outcome in ("exact", "refused", "fault")}
    built = [f for f in found if f.outcome != "not built"]
    lines = [
        "# Architectures",
        "",
        "A prefix stands in a model's key-value cache, in front of the prompt. Whether that gives what the prefix's",
        "embeddings in front of the prompt would give is tried on the model itself, when it is first used; no list",
        "decides. Where it is not exact, ppm refuses with one message that says why.",
        "",
        f"The table below is for transformers {transformers.__version__}: of the causal language models that it lists,",
        f"{len(built)} were built tiny and random, with short windows; {counts['exact']} are exact and "
        f"{counts['refused']} are refused. Exact means: alone, padded on",
        "either side in a batch of rows with and without prefixes, token by token from the cache, greedy and sampled,",
        "and the base unchanged bit for bit. `" + command + "` makes it again.",
        "",
        "Beyond a few tokens more can matter. Rotary positions that are scaled by the longest sequence of a batch",
        "(`dynamic`, `longrope`) are exact up to the length at which the scaling begins, and refused from there on.",
        "",
        "| configuration | model | | reason |",
        "|---|---|---|---|",
        *(f"| {f.kind} | {f.model} | {f.outcome} | {f.reason.replace('|', '/')} |" for f in built),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", help="configurations to look at; all by default")
    parser.add_argument("--output", type=Path, help="where to write the table")
    parser.add_argument("--debug", action="store_true", help="show where errors come from")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity(50)
    started, found = time.perf_counter(), []
    for kind in options.kinds or MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        found.append(look(kind, debug=options.debug))
        print(f"{found[-1].kind:<28} {found[-1].outcome:<10} {found[-1].reason}", flush=True)
        gc.collect()
    print({o: sum(f.outcome == o for f in found) for o in ("exact", "refused", "fault", "not built")})
    print(f"{time.perf_counter() - started:.0f} s")
    if options.output:
        command = f"python benchmarks/architectures.py --output {options.output}"
        options.output.write_text(page(found, command), encoding="utf-8")
    sys.exit(any(f.outcome == "fault" for f in found))


if __name__ == "__main__":
    main()
