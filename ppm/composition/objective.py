"""The objective of distillation: texts of the specialists and of the base, and what these say at every token."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ppm.composition.options import Direction, Distil
from ppm.composition.steps import Context
from ppm.evaluation.generation import Completion, generate, noise_key
from ppm.evaluation.scoring import ScoredText, log_probabilities
from ppm.runtime.model import UNPATCHED, attach, backbone_of
from ppm.runtime.text import encoder_of
from ppm.suite import Decoding

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Objective", "divergence_of"]

KEPT_BYTES = 2**30
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
        own = [context.prefix(specialist.bank) for specialist in context.specialists]
        specialists = attach(context.base.model, own, placement=context.placement, kept=context.base.kept)
        self.direction = options.direction
        self._teacher = _Teacher(specialists, options.temperature)
        self._sampler = _Sampler(context, options.samples, options.decoding)
        groups = [*self._sampler.sample(specialists, "distil"), list(context.retention)]
        shares = [*(options.weights or [1.0] * len(context.specialists)), options.retention_weight]
        pools = [
            _Pool(*(_split(texts, context.seed) if options.patience else (texts, [])), share)
            for texts, share in zip(groups, shares, strict=True)
        ]
        self._pools = [pool for pool in pools if pool.texts and pool.weight > 0]
        self.patience = options.patience if any(pool.held_out for pool in self._pools) else 0
        self._teacher.keep([text for pool in self._pools for text in (*pool.texts, *pool.held_out)])

    @property
    def longest(self) -> int:
        """The tokens of the longest text."""
        return max((len(text) for pool in self._pools for text in (*pool.texts, *pool.held_out)), default=0)

    def refresh(self, student: "PreTrainedModel", label: str) -> None:
        """Completions of the student's own join the texts."""
        fresh = self._sampler.sample(student, label)
        self._teacher.keep([text for own in fresh for text in own])
        for pool in self._pools:
            pool.extend([text for own in fresh for text in own if text.row == pool.texts[0].row])

    def draw(self, batch_size: int, generator: torch.Generator) -> list[list[int]]:
        """Which texts make the next step, of each pool."""
        return [pool.draw(batch_size, generator) for pool in self._pools]

    def backward(self, student: "PreTrainedModel", chosen: Sequence[Sequence[int]]) -> torch.Tensor:
        """The loss on the texts that were drawn; its gradients are with the student afterwards."""
        texts = [pool.texts[i] for pool, indices in zip(self._pools, chosen, strict=True) for i in indices]
        found = _divergences(student, texts, self._teacher.says(texts), self.direction)
        parts = torch.split(found, [len(indices) for indices in chosen])
        loss = torch.stack([pool.weight * part.mean() for pool, part in zip(self._pools, parts, strict=True)]).sum()
        torch.autograd.backward(loss)
        for pool, indices, part in zip(self._pools, chosen, parts, strict=True):
            pool.update(indices, part.detach())
        return loss

    @torch.no_grad()
    def held_out(self, student: "PreTrainedModel") -> float:
        """The loss on the prompts that are held out."""
        total = 0.0
        for pool in self._pools:
            if pool.held_out:
                wanted = self._teacher.says(pool.held_out)
                total += pool.weight * float(_divergences(student, pool.held_out, wanted, self.direction).mean())
        return total


class _Pool:
    """The texts of one specialist, or of the base, drawn in proportion to what is left to learn of them.

    Most texts agree with their specialist early on. Each text's divergence at its last visit is its share of the next
    draws (Schaul et al. 2016, section 3.3, with a floor instead of an exponent), and texts not seen yet come first.
    """

    def __init__(self, texts: list[ScoredText], held_out: list[ScoredText], weight: float) -> None:
        self.texts = texts
        self.held_out = held_out
        self.weight = weight
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


class _Teacher:
    """What the specialists say at every token of some texts: kept if that takes little memory, else asked each time."""

    def __init__(self, specialists: "PreTrainedModel", temperature: float) -> None:
        self.specialists = specialists
        self.temperature = temperature
        self.kept: dict[ScoredText, torch.Tensor] = {}

    def keep(self, texts: Sequence[ScoredText]) -> None:
        """Ask about these texts now, if all of it fits."""
        vocabulary = int(self.specialists.get_input_embeddings().num_embeddings)
        different = sorted(set(texts) - set(self.kept), key=len)
        tokens = sum(len(text.completion) for text in (*self.kept, *different))
        if 4 * vocabulary * tokens <= KEPT_BYTES:
            for start in range(0, len(different), 64):
                part = different[start : start + 64]
                sizes = [len(text.completion) for text in part]
                self.kept.update(zip(part, torch.split(self._ask(part), sizes), strict=True))

    def says(self, texts: Sequence[ScoredText]) -> torch.Tensor:
        """Log-probabilities (tokens, vocabulary) of the texts' completions, one text after the other."""
        asked = [text for text in texts if text not in self.kept]
        fresh = iter(torch.split(self._ask(asked), [len(text.completion) for text in asked])) if asked else iter(())
        return torch.cat([self.kept[text] if text in self.kept else next(fresh) for text in texts])

    def _ask(self, texts: Sequence[ScoredText]) -> torch.Tensor:
        temperatures = [1.0 if text.row == UNPATCHED else self.temperature for text in texts]
        with torch.no_grad(), backbone_of(self.specialists).select([text.row for text in texts]):
            found = log_probabilities(self.specialists, texts)
        sizes = torch.tensor([len(text.completion) for text in texts])
        divisor = torch.tensor(temperatures).repeat_interleave(sizes).to(found.device)
        return torch.log_softmax(found / divisor[:, None], dim=-1)


def divergence_of(
    found: torch.Tensor, target: torch.Tensor, lengths: Sequence[int], direction: Direction
) -> torch.Tensor:
    """Root mean square over each text's tokens of the divergence a token, in nats: (texts,).

    `found` and `target` are log-probabilities (tokens, vocabulary), one text after the other. The mean would let one
    token that is far off hide among many that are not; that token is the failure.
    """
    if direction == "forward":
        tokens = (target.exp() * (target - found)).sum(-1)  # (tokens,)
    else:
        tokens = (found.exp() * (found - target)).sum(-1)
    parts = torch.split(tokens.clamp(min=TINY), list(lengths))
    return torch.stack([part.square().mean().sqrt() for part in parts])


def _divergences(
    student: "PreTrainedModel", texts: Sequence[ScoredText], target: torch.Tensor, direction: Direction
) -> torch.Tensor:
    """The divergences of the student from the targets on some texts: (texts,)."""
    lengths = [len(text.completion) for text in texts]
    return divergence_of(log_probabilities(student, texts), target, lengths, direction)
