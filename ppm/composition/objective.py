"""The objective of distillation: texts of the specialists and of the base, and what these say at every token."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ppm.bank import Bank
from ppm.composition.options import Distil
from ppm.composition.steps import Context
from ppm.evaluation.generation import Completion, generate, noise_key
from ppm.evaluation.scoring import ScoredText
from ppm.runtime.model import attach, backbone_of
from ppm.runtime.text import encoder_of
from ppm.suite import Decoding
from ppm.training.passes import Reader, View, divergences, reader_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Objective", "spread"]

FLOOR = 0.2
"""The least share of a text in the draws, as a part of the mean share."""
HELD_OUT = 0.1
"""The share of the prompts that is held out, of each specialist and of the base; at most so many as follow."""
MOST_HELD_OUT = 8
TINY = 1e-9
"""The least divergence a token, in nats: where rounding leaves less, the root would have no slope."""


class Objective:
    """The texts to distil on, in one pool for each specialist and one for the base, and what is to be said of them.

    `patience` is that of the options, or 0 where nothing is held out.
    """

    def __init__(self, context: Context, options: Distil) -> None:
        own = [specialist.bank.where_picked for specialist in context.specialists]
        specialists = _attached(context, own)
        self._reverse = options.direction == "reverse"
        self._sampler = _Sampler(context, options.samples, options.decoding)
        groups = [*self._sampler.sample(specialists, "distil"), list(context.retention)]
        readers = [reader_of(_attached(context, banks)) for banks in (*([bank] for bank in own), [])]
        temperatures = [options.temperature] * len(own) + [1.0]
        shares = [*(options.weights or [1.0] * len(own)), options.retention_weight]
        pools = [
            _Pool(*(_split(texts, context.seed) if options.patience else (texts, [])), share, reader, temperature)
            for texts, share, reader, temperature in zip(groups, shares, readers, temperatures, strict=True)
        ]
        self._pools = [pool for pool in pools if pool.texts and pool.weight > 0]
        self.patience = options.patience if any(pool.held_out for pool in self._pools) else 0

    @property
    def longest(self) -> int:
        """The tokens of the longest text."""
        return max((len(text) for pool in self._pools for text in (*pool.texts, *pool.held_out)), default=0)

    def refresh(self, student: "PreTrainedModel", label: str) -> None:
        """Completions of the student's own join the texts."""
        fresh = self._sampler.sample(student, label)
        for pool in self._pools:
            pool.extend([text for own in fresh for text in own if text.row == pool.texts[0].row])

    def draw(self, batch_size: int, generator: torch.Generator) -> list[list[int]]:
        """Which texts make the next step, of each pool."""
        return [pool.draw(batch_size, generator) for pool in self._pools]

    def backward(self, student: "PreTrainedModel", chosen: Sequence[Sequence[int]]) -> torch.Tensor:
        """The loss on the texts that were drawn; its gradients are with the student afterwards."""
        texts = [[pool.texts[i] for i in indices] for pool, indices in zip(self._pools, chosen, strict=True)]
        found = self._divergences(student, texts)
        parts = torch.split(found, [len(indices) for indices in chosen])
        loss = torch.stack([pool.weight * part.mean() for pool, part in zip(self._pools, parts, strict=True)]).sum()
        torch.autograd.backward(loss)
        for pool, indices, part in zip(self._pools, chosen, parts, strict=True):
            pool.update(indices, part.detach())
        return loss

    @torch.no_grad()
    def held_out(self, student: "PreTrainedModel") -> float:
        """The loss on the prompts that are held out."""
        sizes = [len(pool.held_out) for pool in self._pools]
        parts = torch.split(self._divergences(student, [pool.held_out for pool in self._pools]), sizes)
        return sum(pool.weight * float(part.mean()) for pool, part in zip(self._pools, parts, strict=True) if len(part))

    def _divergences(self, student: "PreTrainedModel", texts: Sequence[Sequence[ScoredText]]) -> torch.Tensor:
        """How far the student is from what is to be said, on some texts of each pool, in one pass: (texts,)."""
        reader = reader_of(student)
        every = [text for own in texts for text in own]
        lengths = [len(text.completion) for text in every]
        hidden = reader.hidden(every)
        asked = [(pool, own) for pool, own in zip(self._pools, texts, strict=True) if own]
        wanted = torch.cat([pool.view.hidden(own) for pool, own in asked])
        temperatures = torch.cat(
            [torch.full((sum(len(t.completion) for t in own),), pool.temperature) for pool, own in asked]
        )
        found = divergences(
            reader,
            hidden,
            self._pools[0].view.reader,  # every specialist has the base's head
            wanted,
            reverse=self._reverse,
            temperatures=temperatures.to(hidden.device),
        )
        return spread(found, lengths)


def _attached(context: Context, banks: Sequence[Bank]) -> "PreTrainedModel":
    return attach(context.base.model, banks, placement=context.placement, kept=context.base.kept)


class _Pool:
    """The texts of one specialist, or of the base, drawn in proportion to what is left to learn of them.

    `view` has what it says of them, to be read at that `temperature`.

    Most texts agree with their specialist early on. Each text's divergence at its last visit is its share of the next
    draws (Schaul et al. 2016, section 3.3, with a floor instead of an exponent), and texts not seen yet come first.
    """

    def __init__(
        self, texts: list[ScoredText], held_out: list[ScoredText], weight: float, reader: Reader, temperature: float
    ) -> None:
        self.texts = texts
        self.held_out = held_out
        self.weight = weight
        self.view = View(reader, [*texts, *held_out])
        self.temperature = temperature
        self.left = torch.full((len(texts),), torch.inf)

    def draw(self, count: int, generator: torch.Generator) -> list[int]:
        unseen = torch.isinf(self.left)
        if bool(unseen.any()):
            shares = unseen.double()
        else:
            shares = self.left.double() + FLOOR * self.left.double().mean() + 1e-9
        count = min(count, int((shares > 0).sum()))
        return torch.multinomial(shares, count, generator=generator).tolist()

    def update(self, indices: Sequence[int], divergences: torch.Tensor) -> None:
        self.left[list(indices)] = divergences.float().cpu().clamp(min=0)  # rounding can make it negative

    def extend(self, texts: list[ScoredText]) -> None:
        """More texts; prompts that are held out stay so."""
        away = {text.prompt for text in self.held_out}
        added = [text for text in texts if text.prompt not in away]
        self.texts = self.texts + added
        self.view.extend(added)
        self.left = torch.cat([self.left, torch.full((len(added),), torch.inf)])


def _split(texts: list[ScoredText], seed: int) -> tuple[list[ScoredText], list[ScoredText]]:
    """Texts to train on, and those of the prompts that are held out."""
    prompts = sorted({text.prompt for text in texts})
    random.Random(seed).shuffle(prompts)
    away = set(prompts[: min(MOST_HELD_OUT, int(HELD_OUT * len(prompts)))])
    return [t for t in texts if t.prompt not in away], [t for t in texts if t.prompt in away]


@dataclass(frozen=True)
class _Sampler:
    """Samples completions of the specialists' replay prompts."""

    context: Context
    samples: int
    decoding: Decoding

    def sample(self, model: "PreTrainedModel", label: str) -> list[list[ScoredText]]:
        """For each specialist, completions of its replay prompts by its own row of the bank, or by the only one."""
        context = self.context
        encoder = encoder_of(context.base)
        alone = len(backbone_of(model).bank) == 1
        wanted, owners = [], []
        for row, specialist in enumerate(context.specialists):
            for index, pair in enumerate(specialist.replay):
                ids = encoder.prompt(pair.prompt, f"a replay pair of {specialist.name}")
                for sample in range(self.samples):
                    key = noise_key(label, f"{row}:{index}", sample, context.seed)
                    wanted.append(Completion(0 if alone else row, ids, self.decoding, key))
                    owners.append((row, pair.prompt))
        groups: list[list[ScoredText]] = [[] for _ in context.specialists]
        made = generate(model, context.base.tokenizer, wanted, memory=context.base.memory)
        for one, (row, prompt), ids in zip(wanted, owners, made, strict=True):
            tail = encoder.ending(prompt) if len(ids) < self.decoding.max_new_tokens else ()
            if ids or tail:
                groups[row].append(ScoredText(one.ids, (*ids, *tail), row))
        return groups


def spread(divergences: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
    """Root mean square over each text's tokens of the divergence a token, in nats: (texts,).

    `divergences` (tokens,) come one text after the other. The mean would let one token that is far off hide among many
    that are not; that token is the failure.
    """
    parts = torch.split(divergences.clamp(min=TINY), list(lengths))
    return torch.stack([part.square().mean().sqrt() for part in parts])
