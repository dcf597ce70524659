"""SFT and DPO of a prefix with TRL's trainers, plus retention: KL(base || patched) on benign texts.

DPO alone turns a small model into one that refuses everything; the retention term is what keeps its utility.
"""

import contextlib
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from datasets import Dataset, disable_progress_bars
from torch.optim.lr_scheduler import OneCycleLR
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from trl import DPOConfig, SFTConfig

from ppm.bank_table import Turn
from ppm.evaluation.scoring import ScoredText
from ppm.jsonl import Pair
from ppm.manifest import Placement
from ppm.progress import Progress, silent
from ppm.runtime.loading import LoadedBase
from ppm.runtime.model import attach, backbone_of
from ppm.runtime.tensors import bank_of, usable
from ppm.runtime.text import TextEncoder, encoder_of
from ppm.training.losses import DPO, SFT
from ppm.training.passes import View, reader_of
from ppm.training.processes import are_several
from ppm.training_table import Stage

__all__ = [
    "STAGES",
    "STAGES_VERSION",
    "Learner",
    "Setup",
    "StageName",
    "dpo",
    "dpo_rows",
    "sft",
    "sft_rows",
    "train",
]

STAGES_VERSION = 2
"""Counts up whenever a stage may learn another prefix from the same inputs, so that kept ones are not used."""

IGNORED = -100
"""The label of tokens that are in no loss."""

StageName = Literal["sft", "dpo"]


class _Report(TrainerCallback):
    """Passes each logged loss on."""

    def __init__(self, stage: str, progress: Progress) -> None:
        self.stage, self.progress = stage, progress

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: object,
    ) -> None:
        if logs and "loss" in logs:
            label = f"{self.stage} (loss {float(logs['loss']):.3f})"
            self.progress(label, state.global_step, state.max_steps)


class _Best(TrainerCallback):
    """Keeps the parameters with the lowest loss on held-out pairs, and ends a stage that no longer improves on it."""

    def __init__(self, parameters: Sequence[torch.Tensor], patience: int) -> None:
        self.parameters, self.patience = parameters, patience
        self.loss, self.waited = float("inf"), 0
        self.kept = [parameter.detach().clone() for parameter in parameters]

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **kwargs: object,
    ) -> None:
        loss = float((metrics or {})["eval_loss"])
        if loss < self.loss:
            self.loss, self.waited = loss, 0
            self.kept = [parameter.detach().clone() for parameter in self.parameters]
        else:
            self.waited += 1
            control.should_training_stop = control.should_training_stop or self.waited >= self.patience

    def restore(self) -> None:
        """Put the best parameters back."""
        with torch.no_grad():
            for parameter, kept in zip(self.parameters, self.kept, strict=True):
                parameter.copy_(kept)


@dataclass(frozen=True)
class Setup:
    """What both stages share: the frozen base, where the prefix stands, and what holds it to the base.

    The first `frozen_tokens` of the prefix are left as they are. `held` are pairs that are never trained on: with
    `patience`, a stage ends when the loss on them has not improved in that many of its 20 checks, and keeps its best
    prefix. `answers_to` is the turn after which a text sees the prefix, the last of its kind; None: all of it does.
    """

    base: LoadedBase
    placement: Placement
    benign: Sequence[ScoredText]
    retention_weight: float
    seed: int
    progress: Progress = silent
    frozen_tokens: int = 0
    held: Sequence[Pair] = ()
    patience: int = 0
    answers_to: Turn | None = None

    @cached_property
    def view(self) -> View:
        """What the base says of the benign texts, for all stages."""
        return View(reader_of(attach(self.base.model, kept=self.base.kept)), self.benign)


@dataclass(frozen=True)
class Learner:
    """What a stage trains: the model that TRL is given, and its parameters.

    `reference` makes the frozen model that DPO compares with. `virtual_tokens` stand before each text.
    """

    model: PreTrainedModel
    parameters: Sequence[torch.Tensor]
    reference: Callable[[], PreTrainedModel]
    virtual_tokens: int = 0


def sft(setup: Setup, prefix: torch.Tensor, pairs: Sequence[Pair], stage: Stage) -> torch.Tensor:
    """The prefix after supervised training on the chosen answers (virtual_tokens, hidden_size).

    Raises TrainingError when the loss stops being a number.
    """
    return _of_prefix(setup, prefix, pairs, stage, "sft")


def dpo(setup: Setup, prefix: torch.Tensor, pairs: Sequence[Pair], stage: Stage) -> torch.Tensor:
    """The prefix after direct preference optimisation against the prefix it starts from (Rafailov et al. 2023).

    Raises TrainingError when the loss stops being a number.
    """
    return _of_prefix(setup, prefix, pairs, stage, "dpo")


STAGES = {"sft": sft, "dpo": dpo}


def _of_prefix(
    setup: Setup, prefix: torch.Tensor, pairs: Sequence[Pair], stage: Stage, name: StageName
) -> torch.Tensor:
    if stage.steps == 0:
        return prefix
    bank = replace(bank_of(prefix), answers_to=setup.answers_to)
    patched = attach(setup.base.model, [bank], placement=setup.placement, trainable=True, kept=setup.base.kept)
    learned = backbone_of(patched).bank[0]
    if setup.frozen_tokens:
        mask = torch.ones(len(learned), 1, device=learned.device)
        mask[: setup.frozen_tokens] = 0
        learned.register_hook(lambda gradient: gradient * mask)
    learner = Learner(
        patched,
        [learned],
        lambda: attach(setup.base.model, [bank], placement=setup.placement),
        len(prefix),
    )
    train(setup, learner, pairs, stage, name)
    return usable(learned, name)


def train(setup: Setup, learner: Learner, pairs: Sequence[Pair], stage: Stage, name: StageName) -> None:
    """Train a learner's parameters in place, with TRL's SFT or DPO trainer.

    Raises ModelError for a text that the base can't read, TrainingError when the loss stops being a number.
    """
    if stage.steps == 0:
        return
    trainer_class: type[SFT | DPO] = SFT if name == "sft" else DPO
    rows = sft_rows if name == "sft" else dpo_rows
    reference = learner.reference() if name == "dpo" else None
    extras: dict[str, object] = {} if reference is None else {"ref_model": reference}
    torch.manual_seed(setup.seed)
    parameters = list(learner.parameters)
    optimizer = torch.optim.AdamW(parameters, lr=stage.learning_rate, weight_decay=0.0)
    schedule = OneCycleLR(optimizer, max_lr=stage.learning_rate, total_steps=stage.steps + 1)
    best = _Best(parameters, setup.patience) if setup.patience and setup.held else None
    encoder = encoder_of(setup.base)
    shown = [rows(encoder, pairs), rows(encoder, setup.held) if best else []]
    longest = max(_length(row) for part in shown for row in part)
    encoder.check_room(learner.virtual_tokens + longest, f"the longest pair for {name.upper()}")
    # A prefix that is trained on may be longer than the one that these were checked for at the build.
    longest = max(map(len, setup.benign), default=0)
    encoder.check_room(learner.virtual_tokens + longest, f"the longest benign text for {name.upper()}")
    with tempfile.TemporaryDirectory() as scratch, _quiet():
        trainer = trainer_class(
            model=learner.model,
            args=_arguments(setup, stage, name, scratch, evaluated=best is not None),
            train_dataset=Dataset.from_list(shown[0]),
            eval_dataset=Dataset.from_list(shown[1]) if best else None,
            processing_class=setup.base.tokenizer,
            optimizers=(optimizer, schedule),
            callbacks=[_Report(name, setup.progress), *([best] if best else [])],
            **extras,
        )
        trainer.reader, trainer.parameters = reader_of(learner.model), parameters
        trainer.benign, trainer.view, trainer.retention_weight = setup.benign, setup.view, setup.retention_weight
        if isinstance(trainer, DPO) and reference is not None:
            trainer.reference = reader_of(reference)
        trainer.remove_callback(PrinterCallback)
        trainer.remove_callback(ProgressCallback)
        trainer.train()
    if best:
        best.restore()


def _arguments(setup: Setup, stage: Stage, name: StageName, scratch: str, *, evaluated: bool) -> SFTConfig | DPOConfig:
    """TRL's arguments for a stage; with `evaluated`, the loss on held-out pairs is taken 20 times."""
    on_cpu = setup.base.model.device.type == "cpu"
    settings: dict[str, object] = {
        "output_dir": scratch,
        "max_steps": stage.steps,
        "per_device_train_batch_size": stage.batch_size,
        "learning_rate": stage.learning_rate,
        "weight_decay": 0.0,
        "gradient_checkpointing": False,
        "bf16": False,
        "max_length": None,
        "save_strategy": "no",
        "logging_steps": max(1, stage.steps // 25),
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "use_cpu": on_cpu,
        "ddp_find_unused_parameters": False,
        "ddp_backend": "gloo" if on_cpu and are_several() else None,
        "seed": setup.seed,
        "data_seed": setup.seed,
    }
    if evaluated:
        settings |= {"eval_strategy": "steps", "eval_steps": max(1, stage.steps // 20)}
    if name == "sft":
        return SFTConfig(**settings)
    weights = [1.0, stage.sft_weight]
    return DPOConfig(**settings, beta=stage.beta, loss_type=["sigmoid", "sft"], loss_weights=weights)


def sft_rows(encoder: TextEncoder, pairs: Sequence[Pair]) -> list[dict[str, list[int]]]:
    """The rows that TRL's SFT trainer is given: token ids, and labels that leave the prompt out of the loss."""
    rows = []
    for pair in pairs:
        prompt, answer = encoder.prompt(pair.prompt), encoder.answer(pair.prompt, pair.chosen)
        rows.append({"input_ids": [*prompt, *answer], "labels": [IGNORED] * len(prompt) + list(answer)})
    return rows


def dpo_rows(encoder: TextEncoder, pairs: Sequence[Pair]) -> list[dict[str, list[int]]]:
    """The rows that TRL's DPO trainer is given: token ids of the prompt and of both answers."""
    return [
        {
            "prompt_ids": list(encoder.prompt(pair.prompt)),
            "chosen_ids": list(encoder.answer(pair.prompt, pair.chosen)),
            "rejected_ids": list(encoder.answer(pair.prompt, pair.rejected)),
        }
        for pair in pairs
    ]


def _length(row: dict[str, list[int]]) -> int:
    """The tokens of the longest text of a row."""
    if "input_ids" in row:
        return len(row["input_ids"])
    return len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"]))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the bars and notices of the libraries; ppm shows its own progress."""
    disable_progress_bars()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
