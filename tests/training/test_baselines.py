"""LoRA, prompt tuning and the whole model in the harness of patches: they learn, and the base stays as it is."""

import pytest
import torch
from runtime.architectures import random_prefixes, tiny_model, tiny_tokenizer
from training.test_trainers import BENIGN, PAIRS

from ppm.evaluation.benign import benign_texts
from ppm.runtime.loading import LoadedBase
from ppm.runtime.model import attach
from ppm.training.baselines import fine_tuned, lora, prompt_tuned
from ppm.training.trainers import Setup, sft
from ppm.training_table import Stage

pytestmark = pytest.mark.slow

TOKENIZER = tiny_tokenizer()
STAGES = Stage(12, 2e-2, batch_size=12), Stage(4, 2e-3, batch_size=12)


def setup(model):
    return Setup(
        LoadedBase(model, TOKENIZER), "before-bos", benign_texts(LoadedBase(model, TOKENIZER), BENIGN, seed=0), 1.0, 0
    )


def logits(model, text="tell me w20"):
    with torch.no_grad():
        return model(input_ids=torch.tensor([TOKENIZER(text).input_ids])).logits[:, -1]


@pytest.mark.parametrize("name", ["llama", "gpt2"])
@pytest.mark.parametrize("how", ["lora", "fine_tuned", "prompt_tuned"])
def test_a_baseline_learns_and_leaves_the_base_alone(name, how):
    model = tiny_model(name, initializer_range=0.3)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    start = random_prefixes(model, 5)[0]
    trained = {
        "lora": lambda: lora(setup(model), PAIRS, STAGES, rank=2),
        "fine_tuned": lambda: fine_tuned(setup(model), PAIRS, STAGES),
        "prompt_tuned": lambda: prompt_tuned(setup(model), PAIRS, STAGES, prefix=start),
    }[how]()
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    thank = TOKENIZER("thank", add_special_tokens=False).input_ids[0]
    origin = attach(model, [start]) if how == "prompt_tuned" else model
    gain = torch.log_softmax(logits(trained.model), -1) - torch.log_softmax(logits(origin), -1)
    assert float(gain[0, thank]) > 0.2
    served = logits(trained.model)
    plain = trained.merged if trained.merged is not None else attach(model, [trained.prefix])
    assert torch.allclose(logits(plain), served, atol=1e-4)
    if trained.merged is not None:
        assert trained.parameters < sum(p.numel() for p in model.parameters()) or how == "fine_tuned"
    else:
        assert trained.parameters == start.numel()
    assert trained.parameters * 4 < trained.size < trained.parameters * 4 + 20_000


def test_prompt_tuning_and_a_patch_are_the_same_function_trained_the_same_way():
    model = tiny_model("llama", initializer_range=0.3)
    start = random_prefixes(model, 5)[0]
    stage = Stage(8, 1e-2, batch_size=12)
    ours = sft(setup(model), start, PAIRS, stage)
    theirs = prompt_tuned(setup(model), PAIRS, (stage, Stage(0, 1e-3)), prefix=start).prefix
    assert torch.allclose(ours, theirs, atol=1e-3)
