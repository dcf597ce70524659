"""Writes a base with random weights, shaped as models of 7 billion parameters are, to time work on: it says nonsense.

    python benchmarks/large_base.py FOLDER --tokenizer BASE_FOLDER [--layers 32] [--width 4096]

The tokenizer, and with it the size of the vocabulary, are those of the other base. It takes 13 GB in bfloat16.
"""

import argparse
from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tokenizer", type=Path, required=True, help="a base folder to take the tokenizer of")
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--width", type=int, default=4096)
    given = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(given.tokenizer)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=given.width,
        intermediate_size=given.width * 43 // 16 // 64 * 64,
        num_hidden_layers=given.layers,
        num_attention_heads=given.width // 128,
        num_key_value_heads=given.width // 128,
        max_position_embeddings=4096,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype=torch.bfloat16,
    )
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(given.folder)
    tokenizer.save_pretrained(given.folder)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters in {given.folder}")


if __name__ == "__main__":
    main()
