"""SFT and DPO of a prefix with TRL's trainers, plus retention: KL(base || patched) on benign texts.

DPO alone turns a small model into one that refuses everything; the retention term is what keeps its utility.
"""

import contextlib
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset, disable_progress_bars
from torch.optim.lr_scheduler import OneCycleLR
from transformers import TrainerCallback
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from ppm.errors import TrainingError
from ppm.evaluation.benign import join
from ppm.evaluation.scoring import ScoredText
from ppm.jsonl import Pair, Text
from ppm.manifest import Placement, Stage
from ppm.prefix.model import attach, backbone_of
from ppm.prefix.tensors import usable
from ppm.training.progress import Progress
from ppm.training.retention import retention_loss

__all__ = ["Setup", "dpo", "sft"]


class _WithRetention:
    """Mixed in before a TRL trainer: adds the retention term to its loss and stops at a loss that is no number."""

    benign: Sequence[ScoredText] = ()
    retention_weight = 0.0
    retention_batch = 8

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        result = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)  # type: ignore[misc]
        loss, outputs = result if return_outputs else (result, None)
        trainer: Any = self
        if self.benign and self.retention_weight > 0 and model.training:
            generator = torch.Generator().manual_seed(trainer.args.seed * 1_000_003 + trainer.state.global_step)
            chosen = torch.randperm(len(self.benign), generator=generator)[: self.retention_batch]
            kl = retention_loss(trainer.accelerator.unwrap_model(model), [self.benign[i] for i in chosen.tolist()])
            loss = loss + self.retention_weight * kl
        if not bool(torch.isfinite(loss)):
            raise TrainingError(
                f"the loss stopped being a number at step {trainer.state.global_step}", hint="lower the learning_rate"
            )
        return (loss, outputs) if return_outputs else loss


class _SFT(_WithRetention, SFTTrainer):
    pass


class _DPO(_WithRetention, DPOTrainer):
    pass


class _Report(TrainerCallback):
    """Hands each logged loss on."""

    def __init__(self, stage: str, progress: Progress) -> None:
        self.stage, self.progress = stage, progress

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if logs and "loss" in logs:
            self.progress(self.stage, state.global_step, state.max_steps, float(logs["loss"]))


@dataclass(frozen=True)
class Setup:
    """What both stages share: the frozen base, where the prefix stands, and what holds it to the base.

    The first `frozen_tokens` of the prefix are left as they are.
    """

    model: Any
    tokenizer: Any
    placement: Placement
    benign: Sequence[ScoredText]
    retention_weight: float
    seed: int
    progress: Progress = lambda stage, step, steps, loss: None
    frozen_tokens: int = 0


def sft(setup: Setup, prefix: torch.Tensor, pairs: Sequence[Pair], stage: Stage) -> torch.Tensor:
    """The prefix after supervised training on the chosen answers (virtual_tokens, hidden_size).

    Raises TrainingError when the loss stops being a number.
    """
    rows = [{"prompt": _conversation(p.prompt), "completion": _answer(p.prompt, p.chosen)} for p in pairs]
    return _train(setup, _SFT, SFTConfig, {}, {}, "sft", prefix, rows, stage)


def dpo(setup: Setup, prefix: torch.Tensor, pairs: Sequence[Pair], stage: Stage) -> torch.Tensor:
    """The prefix after direct preference optimisation against the prefix it starts from (Rafailov et al. 2023).

    Raises TrainingError when the loss stops being a number.
    """
    rows = [
        {
            "prompt": _conversation(p.prompt),
            "chosen": _answer(p.prompt, p.chosen),
            "rejected": _answer(p.prompt, p.rejected),
        }
        for p in pairs
    ]
    reference = attach(setup.model, [prefix], placement=setup.placement)
    settings = {"beta": stage.beta, "loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, stage.sft_weight]}
    return _train(setup, _DPO, DPOConfig, settings, {"ref_model": reference}, "dpo", prefix, rows, stage)


def _train(
    setup: Setup,
    trainer_class: Any,
    config_class: Any,
    settings: dict[str, Any],
    extras: dict[str, Any],
    name: str,
    prefix: torch.Tensor,
    rows: list[dict[str, Any]],
    stage: Stage,
) -> torch.Tensor:
    if stage.steps == 0:
        return prefix
    torch.manual_seed(setup.seed)
    patched = attach(setup.model, [prefix], placement=setup.placement, trainable=True)
    learned = backbone_of(patched).bank[0]
    if setup.frozen_tokens:
        mask = torch.ones(len(learned), 1, device=learned.device)
        mask[: setup.frozen_tokens] = 0
        learned.register_hook(lambda gradient: gradient * mask)
    optimizer = torch.optim.AdamW([learned], lr=stage.learning_rate, weight_decay=0.0)
    schedule = OneCycleLR(optimizer, max_lr=stage.learning_rate, total_steps=stage.steps + 1)
    with tempfile.TemporaryDirectory() as scratch, _quiet():
        config = config_class(
            output_dir=scratch,
            max_steps=stage.steps,
            per_device_train_batch_size=stage.batch_size,
            learning_rate=stage.learning_rate,
            weight_decay=0.0,
            gradient_checkpointing=False,
            bf16=False,
            max_length=None,
            save_strategy="no",
            logging_steps=max(1, stage.steps // 25),
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
            use_cpu=setup.model.device.type == "cpu",
            seed=setup.seed,
            data_seed=setup.seed,
            **settings,
        )
        trainer = trainer_class(
            model=patched,
            args=config,
            train_dataset=Dataset.from_list(rows),
            processing_class=setup.tokenizer,
            optimizers=(optimizer, schedule),
            callbacks=[_Report(name, setup.progress)],
            **extras,
        )
        trainer.benign, trainer.retention_weight = setup.benign, setup.retention_weight
        trainer.remove_callback(PrinterCallback)
        trainer.remove_callback(ProgressCallback)
        trainer.train()
    return usable(learned, name)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the bars and notices of the libraries; ppm shows its own progress."""
    disable_progress_bars()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _conversation(text: Text) -> Any:
    if isinstance(text, str):
        return text
    return [{"role": role, "content": content} for role, content in text]


def _answer(prompt: Text, answer: str) -> Any:
    """The answer as TRL wants it after this prompt: a message after a chat, else the text that follows."""
    if not isinstance(prompt, str):
        return [{"role": "assistant", "content": answer}]
    return join(prompt, answer)
