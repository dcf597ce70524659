"""Tiny random models of every architecture that ppm supports, and what they are compared with: prepended embeddings."""

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

VOCABULARY = 99
BOS, EOS, PAD = 1, 2, 0
WINDOW = 8
_TOKENS = {"vocab_size": VOCABULARY, "bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD}
_SHAPE = {
    **_TOKENS,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
_WITHOUT_GROUPS = {key: value for key, value in _SHAPE.items() if key != "num_key_value_heads"}
# Dropout stays where the architecture has it by default: a patched model in evaluation mode must not show it.
_CONFIGURATIONS = {
    "llama": (LlamaConfig, _SHAPE),
    "mistral": (MistralConfig, {**_SHAPE, "sliding_window": WINDOW}),
    "qwen2": (Qwen2Config, _SHAPE),
    "qwen3": (Qwen3Config, {**_SHAPE, "head_dim": 8}),
    "gemma2": (Gemma2Config, {**_SHAPE, "head_dim": 8, "sliding_window": WINDOW}),
    "gemma3": (Gemma3TextConfig, {**_SHAPE, "head_dim": 8, "sliding_window": WINDOW}),
    "cohere": (CohereConfig, _SHAPE),
    "gpt2": (GPT2Config, {**_TOKENS, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 128}),
    "opt": (
        OPTConfig,
        {
            **_TOKENS,
            "hidden_size": 32,
            "ffn_dim": 64,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "max_position_embeddings": 128,
            "word_embed_proj_dim": 16,
        },
    ),
    "neox": (GPTNeoXConfig, _WITHOUT_GROUPS),
}
ARCHITECTURES = tuple(_CONFIGURATIONS)
# Transformers has no sdpa for Gemma 2, whose attention is capped.
RUNS = [(name, how) for name in ARCHITECTURES for how in ("eager", "sdpa") if (name, how) != ("gemma2", "sdpa")]


def tiny_model(name="llama", implementation="sdpa", *, seed=0, **changes):
    """A random causal LM in evaluation mode. `changes` are keys of its configuration."""
    torch.manual_seed(seed)
    kind, values = _CONFIGURATIONS[name]
    config = kind(**{**values, **changes})
    return AutoModelForCausalLM.from_config(config, attn_implementation=implementation).eval()


def tiny_tokenizer():
    """One token a word: `w4` to `w98` and a few real ones; a text begins with the BOS token."""
    special = ["<pad>", "<s>", "</s>", "<unk>"]
    known = ["hello", "thank", "you", "fool", "clown", "please", "tell", "me"]
    words = [*special, *known, *(f"w{index}" for index in range(len(special) + len(known), VOCABULARY))]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", BOS)])
    tokenizer.add_special_tokens(special)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        model_max_length=128,
    )


def random_prefixes(model, *lengths, seed=1):
    """Prefixes (length, embedding width) of values as large as embeddings that have been trained."""
    generator = torch.Generator().manual_seed(seed)
    width = model.get_input_embeddings().embedding_dim
    return [torch.randn(length, width, generator=generator) for length in lengths]


def random_sequences(*lengths, seed=2):
    """Token ids that begin with BOS; `lengths` count what follows it."""
    generator = torch.Generator().manual_seed(seed)
    return [[BOS, *torch.randint(4, VOCABULARY, (length,), generator=generator).tolist()] for length in lengths]


def prepended(model, sequence, prefix, placement="before-bos"):
    """The embeddings (1, P + T, D) of one unpadded sequence with a prefix in it, or of the sequence alone."""
    embeds = model.get_input_embeddings()(torch.tensor(sequence))
    if prefix is not None:
        lead = 0 if placement == "before-bos" else 1
        embeds = torch.cat([embeds[:lead], prefix, embeds[lead:]])
    return embeds[None]


def reference_logits(model, sequence, prefix, placement="before-bos"):
    """What `model` says of each token of a sequence (T, V) when the prefix is prepended as embeddings."""
    return model(inputs_embeds=prepended(model, sequence, prefix, placement)).logits[0, -len(sequence) :]


def reference_greedy(model, sequence, prefix, placement, steps):
    """The `steps` most likely next tokens, one at a time and without any cache."""
    tokens = list(sequence)
    for _ in range(steps):
        tokens.append(int(reference_logits(model, tokens, prefix, placement)[-1].argmax()))
    return tokens[len(sequence) :]


def padded(sequences, side):
    """Token ids and mask (B, T), and for each row the slice that holds its tokens."""
    width = max(map(len, sequences))
    ids = torch.full((len(sequences), width), PAD)
    mask = torch.zeros_like(ids)
    slices = []
    for row, sequence in enumerate(sequences):
        start = width - len(sequence) if side == "left" else 0
        slices.append(slice(start, start + len(sequence)))
        ids[row, slices[-1]] = torch.tensor(sequence)
        mask[row, slices[-1]] = 1
    return ids, mask, slices
