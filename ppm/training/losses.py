"""TRL's SFT and DPO trainers with losses of one pass, the retention term, and the same updates on many processes.

The losses are TRL's own, which a test compares. What differs is how they are computed: texts of pairs and benign ones
go through the model together (`passes`), and what the reference of DPO and the base say is computed once for each text.
"""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

import torch
import torch.distributed
from torch.nn.functional import logsigmoid
from trl import DPOTrainer, SFTTrainer

from ppm.errors import TrainingError
from ppm.evaluation.scoring import ScoredText
from ppm.training.passes import Reader, View, divergences, log_probabilities_of

if TYPE_CHECKING:
    from accelerate import Accelerator
    from accelerate.data_loader import BatchSamplerShard
    from datasets import Dataset
    from torch.utils.data import DataLoader
    from transformers import PreTrainedModel, Trainer, TrainerState, TrainingArguments
else:
    Trainer = object  # what is mixed in has no trainer of its own

__all__ = ["DPO", "RETENTION_BATCH", "SFT", "Losses"]

Batch = dict[str, torch.Tensor]
Count = torch.Tensor | int | None
"""How many tokens of a batch count, where the trainer says it."""
RETENTION_BATCH, RETENTION_TOKENS = 8, 320
"""How many benign texts a step holds on to: as many as this, and no more once their answers have so many tokens."""


class Losses(Trainer):
    """Mixed in before a TRL trainer: its loss from one pass, the retention term, and the same updates on any number of
    processes.

    Every process reads the batches that one process alone would read, and takes its share of their rows; what it
    computes is weighted so that the mean over processes, which is what they exchange, is that of the whole batch.
    """

    accelerator: "Accelerator"
    args: "TrainingArguments"
    state: "TrainerState"
    reader: Reader
    parameters: Sequence[torch.Tensor] = ()
    benign: Sequence[ScoredText] = ()
    view: View | None = None
    retention_weight = 0.0

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
    ) -> torch.Tensor:
        rows = self._texts(inputs)
        shared = self.processes if model.training else 1  # held-out batches are shared out already
        own = range(self.rank, len(rows), shared) if shared > 1 else range(len(rows))
        benign = self._benign() if model.training else []
        held = benign[self.rank :: self.processes]
        texts = [text for i in own for text in rows[i]]
        retained = [self.benign[i] for i in held]
        if not texts and not retained:
            return torch.zeros((), device=self.accelerator.device, requires_grad=model.training)
        lengths = [sum(len(text.completion) for text in part) for part in (texts, retained)]
        states, kept = torch.split(self.reader.hidden([*texts, *retained]), lengths)
        loss = self._loss(rows, own, states) if texts else states.sum()
        if self.view is not None and retained:
            tokens = sum(len(self.benign[i].completion) for i in benign)
            moved = divergences(self.reader, kept, self.view.reader, self.view.hidden(retained)).sum()
            loss = loss + self.retention_weight * (moved / tokens)
        if not bool(torch.isfinite(loss)):
            raise TrainingError(
                f"the loss was no longer finite at step {self.state.global_step}", hint="lower the learning_rate"
            )
        return loss * shared

    def training_step(self, *args: object, **kwargs: object) -> torch.Tensor:
        loss: torch.Tensor = super().training_step(*args, **kwargs)
        if self.processes > 1:  # the pass is none of the wrapped model's, which therefore exchanges nothing
            for parameter in self.parameters:
                gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                torch.distributed.all_reduce(gradient)
                parameter.grad = gradient / self.processes
        return loss

    def prediction_step(
        self, model: "PreTrainedModel", inputs: Batch, prediction_loss_only: bool, ignore_keys: object = None
    ) -> tuple[torch.Tensor, None, None]:
        with torch.no_grad():
            return self.compute_loss(model, inputs).detach(), None, None

    def _benign(self) -> list[int]:
        """Which benign texts a step holds on to."""
        if self.view is None or not self.benign or self.retention_weight == 0:
            return []
        generator = torch.Generator().manual_seed(self.args.seed * 1_000_003 + self.state.global_step)
        drawn = torch.randperm(len(self.benign), generator=generator)[:RETENTION_BATCH].tolist()
        tokens = list(accumulate(len(self.benign[i].completion) for i in drawn))
        return [i for i, before in zip(drawn, [0, *tokens], strict=False) if before < RETENTION_TOKENS]

    @abstractmethod
    def _texts(self, inputs: Batch) -> list[tuple[ScoredText, ...]]:
        """The texts of each row of a batch."""

    @abstractmethod
    def _loss(self, rows: Sequence[tuple[ScoredText, ...]], own: Sequence[int], states: torch.Tensor) -> torch.Tensor:
        """What some rows of a batch, by index, add to its loss; `states` (tokens, hidden_size) say their texts."""


class SFT(Losses, SFTTrainer):
    """The mean over the chosen answers' tokens of their negative log-probability."""

    def _texts(self, inputs: Batch) -> list[tuple[ScoredText, ...]]:
        return [(text,) for text in _read(inputs["input_ids"], inputs["attention_mask"], inputs["labels"] >= 0)]

    def _loss(self, rows: Sequence[tuple[ScoredText, ...]], own: Sequence[int], states: torch.Tensor) -> torch.Tensor:
        texts = [text for i in own for text in rows[i]]
        found = log_probabilities_of(self.reader, states, _tokens(texts, states.device))
        return -found.sum() / sum(len(text.completion) for row in rows for text in row)


class DPO(Losses, DPOTrainer):
    """The sigmoid loss (Rafailov et al. 2023, eq. 7), and `sft_weight` times the loss of the chosen answers."""

    reference: Reader

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self._referred: dict[ScoredText, torch.Tensor] = {}

    def _prepare_dataset(self, dataset: "Dataset", *args: object) -> "Dataset":
        return dataset  # of token ids already, which TRL's own would tokenise once more

    def _texts(self, inputs: Batch) -> list[tuple[ScoredText, ...]]:
        texts = _read(inputs["input_ids"], inputs["attention_mask"], inputs["completion_mask"] > 0)
        half = len(texts) // 2  # the chosen ones come first
        return list(zip(texts[:half], texts[half:], strict=True))

    def _loss(self, rows: Sequence[tuple[ScoredText, ...]], own: Sequence[int], states: torch.Tensor) -> torch.Tensor:
        texts = [text for i in own for text in rows[i]]
        lengths = [len(text.completion) for text in texts]
        found = log_probabilities_of(self.reader, states, _tokens(texts, states.device))
        said = torch.stack([part.sum() for part in torch.split(found, lengths)]).view(
            -1, 2
        )  # (pairs, chosen and rejected)
        gains = said - self._of_reference(texts).view(-1, 2)
        by_pair = -logsigmoid(self.args.beta * (gains[:, 0] - gains[:, 1])).sum() / len(rows)
        weight: float = self.args.loss_weights[1]
        return by_pair - weight * said[:, 0].sum() / sum(len(row[0].completion) for row in rows)

    @torch.no_grad()
    def _of_reference(self, texts: Sequence[ScoredText]) -> torch.Tensor:
        """The log-probability of each text (texts,), by the model that training started from; computed once."""
        missing = list(dict.fromkeys(text for text in texts if text not in self._referred))
        if missing:
            states = self.reference.hidden(missing)
            found = log_probabilities_of(self.reference, states, _tokens(missing, states.device))
            parts = torch.split(found, [len(text.completion) for text in missing])
            self._referred |= {text: part.sum() for text, part in zip(missing, parts, strict=True)}
        return torch.stack([self._referred[text] for text in texts])


def _read(ids: torch.Tensor, mask: torch.Tensor, said: torch.Tensor) -> list[ScoredText]:
    """The texts of a padded batch, each (B, T), of whose tokens `said` marks the completion's."""
    texts = []
    for row, real, own in zip(ids.tolist(), mask.bool(), said, strict=True):
        tokens = [token for token, there in zip(row, real.tolist(), strict=True) if there]
        begins = len(tokens) - int(own.sum())
        texts.append(ScoredText(tuple(tokens[:begins]), tuple(tokens[begins:])))
    return texts


def _tokens(texts: Iterable[ScoredText], device: torch.device) -> torch.Tensor:
    return torch.tensor([token for text in texts for token in text.completion], device=device)
