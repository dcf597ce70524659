"""TRL's SFT and DPO trainers with the retention term, and with the same updates on any number of processes."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from trl import DPOTrainer, SFTTrainer

from ppm.errors import TrainingError
from ppm.evaluation.scoring import ScoredText
from ppm.training.retention import Target, divergence

if TYPE_CHECKING:
    from accelerate import Accelerator
    from accelerate.data_loader import BatchSamplerShard
    from datasets import Dataset
    from torch.utils.data import DataLoader
    from transformers import PreTrainedModel, Trainer, TrainerState, TrainingArguments
    from transformers.utils import ModelOutput

    Loss = torch.Tensor | tuple[torch.Tensor, ModelOutput | None]
else:
    Trainer = object  # what is mixed in has no trainer of its own

__all__ = ["DPO", "SFT"]

Batch = dict[str, torch.Tensor]
Count = torch.Tensor | int | None
"""How many tokens of a batch count, where the trainer says it."""


class _Shared(Trainer):
    """Mixed in before a TRL trainer: the retention term, and the same updates on any number of processes.

    Every process reads the batches that one process alone would read, and takes its share of their rows; what it
    computes is weighted so that the mean over processes, which is what they exchange, is the loss of the whole batch.
    """

    accelerator: "Accelerator"
    args: "TrainingArguments"
    state: "TrainerState"
    benign: Sequence[ScoredText] = ()
    target: Target
    retention_weight = 0.0
    retention_batch = 8

    def get_train_dataloader(self) -> "DataLoader[Batch]":
        loader: DataLoader[Batch] = super().get_train_dataloader()
        if self.processes > 1:  # each process reads all rows, and a short last batch stays short
            shard: BatchSamplerShard = loader.batch_sampler
            shard.num_processes, shard.process_index, shard.even_batches = 1, 0, False
        return loader

    @property
    def processes(self) -> int:
        return int(self.accelerator.num_processes)

    @property
    def rank(self) -> int:
        return int(self.accelerator.process_index)

    def compute_loss(
        self,
        model: "PreTrainedModel",
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Count = None,
    ) -> "Loss":
        training = model.training
        if self.processes > 1 and training:
            loss, outputs = self._share_of_loss(model, inputs, num_items_in_batch), None
        else:
            result = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
            loss, outputs = result if return_outputs else (result, None)
        if self.benign and self.retention_weight > 0 and training:
            generator = torch.Generator().manual_seed(self.args.seed * 1_000_003 + self.state.global_step)
            chosen = torch.randperm(len(self.benign), generator=generator)[: self.retention_batch].tolist()
            texts = [self.benign[i] for i in chosen]
            own = texts[self.rank :: self.processes]
            if own:
                kl = divergence(self.accelerator.unwrap_model(model), own, self.target)
                tokens = sum(len(text.completion) for text in texts)
                loss = loss + self.retention_weight * (kl / tokens * self.processes)
        if not bool(torch.isfinite(loss)):
            raise TrainingError(
                f"the loss was no longer finite at step {self.state.global_step}", hint="lower the learning_rate"
            )
        return (loss, outputs) if return_outputs else loss

    @abstractmethod
    def _share_of_loss(self, model: "PreTrainedModel", inputs: Batch, num_items_in_batch: Count) -> torch.Tensor:
        """This process's part of the loss, times the number of processes."""

    def _own_rows(self, inputs: Batch, rows: int) -> tuple[Batch, int]:
        """This process's rows of a batch, and how many they are; if it has none, the first row and 0."""
        own = list(range(self.rank, rows, self.processes))
        taken = torch.tensor(own or [0])
        halves = len(inputs["input_ids"]) // rows  # in a batch of preferences, the chosen rows come first
        index = torch.cat([taken + half * rows for half in range(halves)])
        return {
            key: value[index.to(value.device)] if isinstance(value, torch.Tensor) else value
            for key, value in inputs.items()
        }, len(own)


class SFT(_Shared, SFTTrainer):
    def _share_of_loss(self, model: "PreTrainedModel", inputs: Batch, num_items_in_batch: Count) -> torch.Tensor:
        own, count = self._own_rows(inputs, len(inputs["input_ids"]))
        # TRL divides by the tokens of all processes' batches, each of which is the whole one, and multiplies by the
        # number of processes.
        loss: torch.Tensor = SFTTrainer.compute_loss(self, model, own, num_items_in_batch=num_items_in_batch)
        return loss * (self.processes if count else 0)


class DPO(_Shared, DPOTrainer):
    def _prepare_dataset(self, dataset: "Dataset", *args: object) -> "Dataset":
        return dataset  # of token ids already, which TRL's own would tokenise once more

    def _share_of_loss(self, model: "PreTrainedModel", inputs: Batch, num_items_in_batch: Count) -> torch.Tensor:
        pairs = len(inputs["input_ids"]) // 2
        own, count = self._own_rows(inputs, pairs)
        made: list[ModelOutput] = []

        def recorded(**arguments: object) -> "ModelOutput":
            made.append(model(**arguments))
            return made[-1]

        loss: torch.Tensor = DPOTrainer.compute_loss(self, recorded, own)
        if not count:
            return loss * 0
        # TRL's loss is a mean over pairs, and its SFT term one over tokens, of which processes have different numbers.
        masks = [batch["completion_mask"][: len(batch["input_ids"]) // 2, 1:].bool() for batch in (own, inputs)]
        found = -made[0].log_probs[: len(masks[0]), -masks[0].shape[1] :][masks[0]]
        term: torch.Tensor = self.args.loss_weights[1] * found.sum()
        by_pair: torch.Tensor = (loss - term / masks[0].sum()) * (count * self.processes / pairs)
        by_token: torch.Tensor = term * (self.processes / masks[1].sum())
        return by_pair + by_token
