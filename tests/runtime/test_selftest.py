"""A model on which a prefix would not be exact is refused in one message, and the test leaves no trace."""

import json
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from runtime.architectures import (
    BOS,
    EOS,
    PAD,
    VOCABULARY,
    padded,
    random_prefixes,
    random_sequences,
    reference_logits,
    tiny_model,
)
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    FalconH1Config,
    GPTNeoConfig,
    Lfm2Config,
    Llama4TextConfig,
    LlamaConfig,
    Mamba2Config,
    MambaConfig,
    MptConfig,
    Phi3Config,
    Qwen3NextConfig,
    RecurrentGemmaConfig,
    RwkvConfig,
)

from ppm.bank import EMPTY
from ppm.errors import ModelError
from ppm.evaluation.generation import Completion, generate
from ppm.runtime.model import UNPATCHED, attach, backbone_of
from ppm.suite import Decoding

IDS = {"vocab_size": VOCABULARY, "bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD}
SHAPE = {
    **IDS,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
}
NEO = {**IDS, "hidden_size": 32, "num_layers": 2, "num_heads": 4, "max_position_embeddings": 512}
MPT = {**IDS, "d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 64, "initializer_range": 0.2}
REFUSED = {
    "mamba": MambaConfig(**IDS, hidden_size=32, num_hidden_layers=2),
    "mamba2": Mamba2Config(**IDS, hidden_size=32, num_hidden_layers=2, num_heads=8, head_dim=8, n_groups=2),
    "lfm2": Lfm2Config(**SHAPE, full_attn_idxs=[1]),
    "qwen3-next": Qwen3NextConfig(
        **SHAPE, head_dim=8, num_experts=4, layer_types=["linear_attention", "full_attention"]
    ),
    "falcon-h1": FalconH1Config(**SHAPE, head_dim=8, mamba_d_ssm=64, mamba_n_heads=8, mamba_d_head=8, mamba_d_state=8),
    "recurrent-gemma": RecurrentGemmaConfig(**{**SHAPE, "num_hidden_layers": 3}, attention_window_size=8, lru_width=32),
    "rwkv": RwkvConfig(**IDS, hidden_size=32, num_hidden_layers=2, attention_hidden_size=32),
    "gpt-neo with short windows": GPTNeoConfig(**NEO, attention_types=[[["local"], 2]], window_size=12),
    "gpt-neo with its own windows": GPTNeoConfig(**NEO, attention_types=[[["global", "local"], 1]]),
    "mpt": MptConfig(**MPT),
}


def made(config, seed=0):
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(config).eval()


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("bare", [True, False])
def test_what_a_prefix_can_not_be_exact_on_is_refused_in_one_message(name, bare):
    model = made(REFUSED[name])
    banks = [] if bare else random_prefixes(model, 4)
    with pytest.raises(ModelError) as caught:
        attach(model, banks)
    assert type(model).__name__ in caught.value.message
    assert "key-value cache" in caught.value.hint
    assert "\n" not in caught.value.message


def test_alibi_that_follows_positions_is_exact_beside_a_longer_prompt():
    model = made(BloomConfig(**IDS, hidden_size=32, n_layer=2, n_head=4, initializer_range=0.2))
    [prefix] = random_prefixes(model, 4)
    patched = attach(model, [prefix])
    sequences = random_sequences(3, 40)
    ids, mask, slices = padded(sequences, "left")
    with torch.no_grad():
        together = patched(input_ids=ids, attention_mask=mask).logits
        for index, sequence in enumerate(sequences):
            wanted = reference_logits(model, sequence, prefix)
            torch.testing.assert_close(together[index, slices[index]], wanted, atol=1e-4, rtol=1e-3)


def test_attention_in_chunks_follows_positions():
    model = made(
        Llama4TextConfig(**SHAPE, head_dim=8, intermediate_size_mlp=64, num_local_experts=2, attention_chunk_size=8)
    )
    bank = random_prefixes(model, 5, 3)
    patched = attach(model, bank)
    sequences = random_sequences(14, 6, 20)
    for side in ("left", "right"):
        ids, mask, slices = padded(sequences, side)
        with torch.no_grad(), backbone_of(patched).select([0, 1, UNPATCHED]):
            together = patched(input_ids=ids, attention_mask=mask).logits
            for index, prefix in enumerate([*bank, None]):
                wanted = reference_logits(model, sequences[index], prefix)
                torch.testing.assert_close(together[index, slices[index]], wanted, atol=1e-3, rtol=1e-3)


DYNAMIC = {
    "dynamic": LlamaConfig(**SHAPE, rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}),
    "longrope": Phi3Config(
        **{**SHAPE, "max_position_embeddings": 128},
        original_max_position_embeddings=64,
        rope_parameters={
            "rope_type": "longrope",
            "rope_theta": 10000.0,
            "short_factor": [1.0] * 4,
            "long_factor": [4.0] * 4,
        },
    ),
}


@pytest.mark.parametrize("name", DYNAMIC)
def test_rotary_scaling_by_the_longest_sequence_is_exact_up_to_where_it_begins_and_refused_from_there(name):
    model = made(DYNAMIC[name])
    [prefix] = random_prefixes(model, 5)
    for patched, taken, wanted in ((attach(model, [prefix]), 5, prefix), (attach(model), 0, None)):
        fits = random_sequences(64 - taken - 1)
        with torch.no_grad():
            logits = patched(input_ids=torch.tensor(fits)).logits[0]
            torch.testing.assert_close(logits, reference_logits(model, fits[0], wanted), atol=1e-4, rtol=1e-3)
            with pytest.raises(ModelError, match="64 tokens together"):
                patched(input_ids=torch.tensor(random_sequences(64 - taken)))
            ids, mask, _ = padded([*random_sequences(64), *fits], "left")
            with pytest.raises(ModelError, match="64 tokens together"):
                patched(input_ids=ids, attention_mask=mask)


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3", "opt"])
def test_the_test_leaves_no_trace(name):
    # A seed of its own: a model of this configuration has not been tried in this process.
    model = tiny_model(name, rope_theta=10001.0) if name != "gpt2" else tiny_model(name, n_layer=2)
    model.train()
    weights = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    buffers = {key: (id(tensor), tensor.clone()) for key, tensor in model.named_buffers()}
    attributes = {key: list(module.__dict__) for key, module in model.named_modules()}
    torch.manual_seed(5)
    random.seed(5)
    before = torch.get_rng_state(), random.getstate()
    attach(model)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert all(module.training for module in model.modules())
    assert all(torch.equal(tensor, weights[key]) for key, tensor in model.state_dict().items())
    for key, tensor in model.named_buffers():
        assert id(tensor) == buffers[key][0]
        assert torch.equal(tensor, buffers[key][1])
    assert {key: list(module.__dict__) for key, module in model.named_modules()} == attributes
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def test_a_second_model_of_a_configuration_is_not_tried_again():
    config = LlamaConfig(**{**SHAPE, "num_hidden_layers": 2}, rope_theta=777.0)
    first, second = made(config), made(config, seed=1)
    calls = []
    for model in (first, second):
        model.model.register_forward_hook(lambda module, *_: calls.append(module))
        attach(model)
    assert first.model in calls
    assert second.model not in calls


def test_a_folder_given_later_gets_what_is_known_already(tmp_path):
    model = made(LlamaConfig(**SHAPE, rope_theta=556.0))
    attach(model)
    attach(model, kept=tmp_path / "kept")
    assert len(list((tmp_path / "kept").iterdir())) == 1


def test_a_folder_that_can_not_be_written_is_none(tmp_path):
    (tmp_path / "file").write_text("")
    attach(made(LlamaConfig(**SHAPE, rope_theta=557.0)), kept=tmp_path / "file" / "kept")


def test_that_a_model_is_exact_is_kept_in_a_folder(tmp_path):
    kept = tmp_path / "kept"
    model = made(LlamaConfig(**SHAPE, rope_theta=555.0))
    attach(model, kept=kept)
    [file] = kept.iterdir()
    [key] = json.loads(file.read_bytes()).values()
    assert file.name.startswith("self-test-")
    assert key[:32] in file.name
    refused = made(MptConfig(**MPT, layer_norm_epsilon=1e-4))
    for _ in range(2):
        with pytest.raises(ModelError, match="MptForCausalLM"):
            attach(refused, kept=kept)
    assert list(kept.iterdir()) == [file]


KEPT_RUN = """
import sys, time, torch
from pathlib import Path
from transformers import AutoModelForCausalLM, LlamaConfig
from ppm.runtime.model import attach
model = AutoModelForCausalLM.from_config(LlamaConfig.from_pretrained(sys.argv[1]))
calls = []
model.model.register_forward_hook(lambda *_: calls.append(1))
attach(model, kept=Path(sys.argv[2]))
print(len(calls))
"""


def test_another_process_believes_the_folder_and_not_a_damaged_file(tmp_path):
    LlamaConfig(**SHAPE).save_pretrained(tmp_path)

    def tried():
        run = [sys.executable, "-c", KEPT_RUN, str(tmp_path), str(tmp_path / "kept")]
        return int(subprocess.run(run, capture_output=True, text=True, check=True).stdout) > 0

    assert [tried(), tried()] == [True, False]
    [file] = (tmp_path / "kept").iterdir()
    file.write_bytes(b'{"exact": "another"}')
    assert tried()


def test_a_model_can_be_tried_in_inference_mode():
    with torch.inference_mode():
        attach(made(LlamaConfig(**SHAPE, rope_theta=222.0)))


def test_weights_that_say_nothing_are_no_fault():
    """A model of zeros answers alike with and without a prefix, and that is what it would do with one in front."""
    model = made(LlamaConfig(**SHAPE, rope_theta=333.0))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    attach(model)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_exact_enough(dtype):
    attach(made(LlamaConfig(**SHAPE)).to(dtype), random_prefixes(made(LlamaConfig(**SHAPE)), 4))
    with pytest.raises(ModelError, match="Mpt"):
        attach(made(REFUSED["mpt"]).to(dtype))


def test_an_empty_bank_is_no_patch():
    model = tiny_model()
    [prefix] = random_prefixes(model, 4)
    patched = attach(model, [EMPTY, prefix, EMPTY])
    sequence = random_sequences(6)[0]
    ids = torch.tensor([sequence] * 4)
    with torch.no_grad(), backbone_of(patched).select([0, 1, 2, UNPATCHED]):
        logits = patched(input_ids=ids).logits
        bare = model(input_ids=ids).logits[0]
        for row in (0, 2, 3):
            torch.testing.assert_close(logits[row], bare, atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(logits[1], reference_logits(model, sequence, prefix), atol=2e-5, rtol=1e-4)
    with torch.no_grad():
        only = attach(model, [EMPTY])
        assert torch.equal(only(input_ids=ids).logits, attach(model)(input_ids=ids).logits)
        requests = [Completion(0, tuple(sequence), Decoding(3, temperature=0.0), 1)]
        tokenizer = type("Tokenizer", (), {"eos_token_id": None})()
        assert generate(only, tokenizer, requests) == generate(
            attach(model, [prefix]),
            tokenizer,
            [Completion(UNPATCHED, tuple(sequence), Decoding(3, temperature=0.0), 1)],
        )


def test_two_threads_may_attach_to_one_model():
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for theta in range(4):
            model = made(LlamaConfig(**SHAPE, rope_theta=888.0 + theta)).train()
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(attach, [model] * 4))
            assert all(module.training for module in model.modules())
    finally:
        sys.setswitchinterval(switch)
