"""Bases that ppm can't run exactly are one error on the command line, with what to use instead."""

import pytest
from commands import ppm
from runtime.architectures import BOS, EOS, PAD, VOCABULARY, tiny_model, tiny_tokenizer
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPTNeoConfig, Lfm2Config, MambaConfig, MptConfig

IDS = {"vocab_size": VOCABULARY, "bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD}
CONFIGURATIONS = {
    "mamba": MambaConfig(**IDS, hidden_size=32, num_hidden_layers=2),
    "lfm2": Lfm2Config(
        **IDS,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        full_attn_idxs=[1, 3],
    ),
    "gpt-neo": GPTNeoConfig(
        **IDS, hidden_size=32, num_layers=2, num_heads=4, attention_types=[[["local"], 2]], window_size=12
    ),
    "mpt": MptConfig(**IDS, d_model=32, n_heads=4, n_layers=2, max_seq_len=64),
}


def generate(folder):
    return ppm("generate", "hello w20", "--base", folder, "--unpatched", "--temperature", "0", "--max-new-tokens", "3")


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_an_architecture_without_room_for_a_prefix(tmp_path, name):
    AutoModelForCausalLM.from_config(CONFIGURATIONS[name]).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    result = generate(tmp_path)
    assert (result.code, result.out) == (1, "")
    assert result.err.count("error:") == result.err.count("hint:") == 1
    assert "key-value cache" in result.err
    assert "Traceback" not in result.err


def test_a_base_that_lacks_a_tensor(tmp_path):
    tiny_model(tie_word_embeddings=False).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    assert generate(tmp_path).code == 0
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    del tensors["lm_head.weight"]
    save_file(tensors, path, metadata={"format": "pt"})
    result = generate(tmp_path)
    assert (result.code, result.out) == (1, "")
    assert "lm_head.weight" in result.err
