"""What a patch is compared with, trained in the same harness: LoRA, PEFT's prompt tuning, and the whole model.

Same pairs, benign texts, trainers and stages; each is trained on a copy of the base, which stays as it is.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import peft
import torch
from safetensors.torch import save
from transformers import PreTrainedModel

from ppm.jsonl import Pair
from ppm.runtime.model import attach
from ppm.training.trainers import Learner, Setup, train
from ppm.training_table import Stage

__all__ = ["Baseline", "fine_tuned", "lora", "prompt_tuned"]


@dataclass(frozen=True)
class Baseline:
    """A trained alternative to a patch.

    `model` answers as an ordinary causal LM, as it is served; `merged` is what `evaluate` takes, the same function in
    plain weights, or for prompt tuning None with the learned `prefix` (virtual_tokens, hidden_size). `parameters` are
    the trained ones, `size` the bytes to ship.
    """

    model: PreTrainedModel
    merged: PreTrainedModel | None
    prefix: torch.Tensor | None
    parameters: int
    size: int


def lora(setup: Setup, pairs: Sequence[Pair], stages: tuple[Stage, Stage], *, rank: int) -> Baseline:
    """LoRA on all linear layers (Hu et al. 2022, arXiv 2106.09685), with alpha twice the rank and no dropout."""
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
        fan_in_fan_out=any(type(module).__name__ == "Conv1D" for module in setup.base.model.modules()),
    )
    torch.manual_seed(setup.seed)  # for the matrices that start at random
    model = peft.inject_adapter_in_model(config, copy.deepcopy(setup.base.model))
    learned = {name: p for name, p in model.named_parameters() if "lora_" in name}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in learned)
    _train(setup, model, learned, pairs, stages)
    merged = copy.deepcopy(model)
    for module in merged.modules():
        if isinstance(module, peft.tuners.lora.LoraLayer):
            module.merge()
    return Baseline(model.eval(), merged.eval(), None, *_cost(learned))


def fine_tuned(setup: Setup, pairs: Sequence[Pair], stages: tuple[Stage, Stage]) -> Baseline:
    """All weights of the base trained."""
    model = copy.deepcopy(setup.base.model).requires_grad_(True)
    learned = dict(model.named_parameters())
    _train(setup, model, learned, pairs, stages)
    return Baseline(model.eval(), model, None, *_cost(learned))


def prompt_tuned(setup: Setup, pairs: Sequence[Pair], stages: tuple[Stage, Stage], *, prefix: torch.Tensor) -> Baseline:
    """PEFT's prompt tuning from a given prefix (Lester et al. 2021): the same function as a patch, run its own way."""
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=len(prefix))
    model = peft.get_peft_model(copy.deepcopy(setup.base.model), config)
    learned = {name: p for name, p in model.named_parameters() if "prompt_encoder" in name}
    [weights] = learned.values()
    with torch.no_grad():
        weights.copy_(prefix)
    # TRL accepts no PeftModel as a reference; a patch with the same prefix is the same function.
    _train(setup, model, learned, pairs, stages, lambda: attach(setup.base.model, [weights]))
    return Baseline(model.eval(), None, weights.detach().clone(), *_cost(learned))


def _train(
    setup: Setup,
    model: PreTrainedModel,
    learned: dict[str, torch.Tensor],
    pairs: Sequence[Pair],
    stages: tuple[Stage, Stage],
    reference: Callable[[], PreTrainedModel] | None = None,
) -> None:
    def frozen() -> PreTrainedModel:
        return copy.deepcopy(model).requires_grad_(False)

    learner = Learner(model, list(learned.values()), reference or frozen)
    train(setup, learner, pairs, stages[0], "sft")
    train(setup, learner, pairs, stages[1], "dpo")


def _cost(learned: dict[str, torch.Tensor]) -> tuple[int, int]:
    """(trained parameters, bytes of a file with them in float32)."""
    tensors = {name: parameter.detach().float().cpu().contiguous().clone() for name, parameter in learned.items()}
    return sum(tensor.numel() for tensor in tensors.values()), len(save(tensors))
