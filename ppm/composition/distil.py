"""Distillation: make one prefix behave as each specialist does where that specialist is at home.

The specialists share the base with the composition, so each gives exact next-token distributions. The loss of a text is
the root mean square over its tokens of a divergence: KL(composition || specialist_i at `temperature`) for completions
that specialist i wrote to its replay prompts, KL(composition || base) for benign texts. The whole loss is the sum over
specialists of the mean over their texts, plus `retention_weight` times the mean over benign texts, taken with noise on
the prefix. No labels, no preference pairs.
"""

import math
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from ppm.composition.soap import Soap
from ppm.composition.steps import Context, OptionError, step
from ppm.errors import RequestError, TrainingError
from ppm.evaluation.generation import Request, encode, generate, noise_key
from ppm.evaluation.scoring import ScoredText, log_probabilities
from ppm.runtime.model import UNPATCHED, attach, backbone_of
from ppm.runtime.tensors import usable
from ppm.suite import Decoding

__all__ = ["Schedule", "distil", "divergence_of", "shaken"]

KEPT_BYTES = 2**30
FLOOR = 0.2
"""The least share of a text in the draws, as a part of the mean share."""
HELD_OUT = 0.1
"""The share of prompts that is held out, for each specialist and for the base; at most `MOST_HELD_OUT`."""
MOST_HELD_OUT = 8
TINY = 1e-9
"""The least divergence of a token, in nats: where rounding leaves less, the square root would have no gradient."""
CHECK_EVERY = 25
STEPS_PER_PATCH = 100
CROWDED = 1 / 3
"""A prefix with a smaller share of the specialists' tokens than this gets less noise, in proportion: it has no room to
spare."""
MAX_LEARNING_RATE = 1e6
DIRECTIONS = ("reverse", "forward")


@step("distil")
def distil(
    context: Context,
    prefix: torch.Tensor | None,
    *,
    steps: int = 0,
    learning_rate: float = 3e-2,
    batch_size: int = 8,
    samples: int = 2,
    max_new_tokens: int = 32,
    retention_weight: float = 1.0,
    temperature: float = 0.2,
    noise: float = 0.3,
    direction: str = "reverse",
    weights: Sequence[float] = (),
    refresh: int = 0,
    patience: int = 3,
) -> torch.Tensor:
    """Distil the specialists into `prefix`. `batch_size` texts of each specialist and of the base make a step.

    A `temperature` below 1 sharpens the specialists' distributions (Hinton et al. 2015, section 2, the other way
    round): the composition is asked to be surer than they are, which makes up for what does not carry over to other
    prompts. The base's distributions stay as they are. `direction` "reverse" is the divergence above, which punishes
    what a specialist would hardly say; "forward" is KL(specialist || composition). Each step's gradient is taken with
    normal noise on every token of the prefix, `noise` times the token's length, less in a crowded prefix (An 1996;
    Bisla et al. 2022): what is learned then holds in a neighbourhood, and carries over better to prompts of other
    kinds. `weights` weigh the specialists. Every `refresh` steps (0: never) the composition's own completions join the
    texts (Agarwal et al. 2024). Some prompts are held out: once the divergence on them has not fallen for `patience`
    checks (0: never) the learning rate decays and training ends, after `steps` (0: 100 a patch) at the latest.

    Raises RequestError when a patch has no replay pairs, TrainingError when the loss stops being a number.
    """
    if min(batch_size, samples, max_new_tokens) < 1 or min(learning_rate, temperature) <= 0:
        raise OptionError("batch_size, samples, max_new_tokens, learning_rate and temperature must be above 0")
    if learning_rate > MAX_LEARNING_RATE:
        raise OptionError(f"learning_rate must be at most {MAX_LEARNING_RATE:g}")
    if min(steps, retention_weight, noise, refresh, patience, *weights, 0) < 0:
        raise OptionError("steps, retention_weight, noise, weights, refresh and patience must be 0 or more")
    if direction not in DIRECTIONS:
        raise OptionError(f"direction must be one of {', '.join(DIRECTIONS)}, not {direction!r}")
    if weights and len(weights) != len(context.specialists):
        raise OptionError(f"weights must hold {len(context.specialists)} numbers")
    if weights and not any(weights):
        raise OptionError("one of weights must be above 0")
    if prefix is None:
        raise RequestError("distil needs a prefix to start from", hint="put average or concatenate before it")
    try:
        decoding = Decoding(max_new_tokens=max_new_tokens, temperature=temperature)
    except ValueError as error:
        raise OptionError(str(error)) from error
    context.with_pairs("distil")
    specialists = attach(context.base.model, [s.prefix for s in context.specialists], placement=context.placement)
    teacher = _Teacher(specialists, temperature)
    sampler = _Sampler(context, samples, decoding)
    groups = sampler.sample(specialists, "distil")
    groups.append(list(context.retention))
    shares = [*(weights or [1.0] * len(context.specialists)), retention_weight]
    pools = [
        _Pool(*_split(texts, context.seed) if patience else (texts, []), share)
        for texts, share in zip(groups, shares, strict=True)
    ]
    pools = [pool for pool in pools if pool.texts and pool.weight > 0]
    patience = patience if any(pool.held_out for pool in pools) else 0
    teacher.keep([text for pool in pools for text in (*pool.texts, *pool.held_out)])
    student = attach(context.base.model, [prefix], placement=context.placement, trainable=True)
    learned = backbone_of(student).bank[0]
    optimizer = Soap([learned], lr=learning_rate)
    noise = noise_in(len(prefix), sum(len(s.prefix) for s in context.specialists), noise)
    schedule = Schedule(steps or STEPS_PER_PATCH * len(context.specialists), patience)
    generator = torch.Generator().manual_seed(context.seed)
    done = 0
    while not schedule.ended:
        if refresh and done and done % refresh == 0 and not schedule.decaying:
            fresh = sampler.sample(student, f"refresh-{done}")
            teacher.keep([text for own in fresh for text in own])
            for pool in pools:
                pool.extend([text for own in fresh for text in own if text.row == pool.texts[0].row])
        chosen = [pool.draw(batch_size, generator) for pool in pools]
        texts = [pool.texts[i] for pool, indices in zip(pools, chosen, strict=True) for i in indices]
        target = teacher.says(texts)
        optimizer.zero_grad(set_to_none=True)
        with shaken(learned, noise, generator):
            divergences = torch.split(_divergences(student, texts, target, direction), [len(i) for i in chosen])
            loss = torch.stack([pool.weight * part.mean() for pool, part in zip(pools, divergences, strict=True)]).sum()
            torch.autograd.backward(loss)
        size = torch.nn.utils.clip_grad_norm_([learned], 1.0)
        if not bool(torch.isfinite(loss + size)):
            raise TrainingError(
                f"distillation's loss stopped being a number at step {done}", hint="lower the learning_rate"
            )
        for pool, indices, part in zip(pools, chosen, divergences, strict=True):
            pool.update(indices, part.detach())
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * schedule.rate
        optimizer.step()
        done += 1
        schedule.step()
        if patience and done % CHECK_EVERY == 0:
            schedule.checked(_held_out(student, teacher, pools, direction))
        if done % 10 == 0 or schedule.ended:
            context.progress(f"distil (loss {loss.item():.3f})", done, schedule.total)
    context.notes["distil"] = {"steps": done, "noise": round(noise, 6)} | (
        {"held_out": round(schedule.best, 6)} if patience else {}
    )
    return usable(learned, "distillation")


def noise_in(tokens: int, specialists_tokens: int, noise: float) -> float:
    """The noise for a prefix of `tokens` that stands for specialists of `specialists_tokens` together."""
    return noise * min(1.0, tokens / specialists_tokens / CROWDED)


@contextmanager
def shaken(learned: torch.Tensor, noise: float, generator: torch.Generator) -> Iterator[None]:
    """Inside the block, each token of `learned` (tokens, width) has normal noise on it, `noise` times its length."""
    if not noise:
        yield
        return
    still = learned.detach().clone()
    drawn = torch.randn(still.shape, generator=generator).to(still)
    with torch.no_grad():
        learned.add_(drawn * still.norm(dim=-1, keepdim=True) * (noise / math.sqrt(still.shape[-1])))
    try:
        yield
    finally:
        with torch.no_grad():
            learned.copy_(still)


class Schedule:
    """A learning rate that rises, stays, and decays: at the end, or once the held-out divergence stops falling.

    Staying and then decaying linearly ends as low as a schedule planned for the same number of steps, and the end need
    not be known beforehand (Hägele et al. 2024).
    """

    def __init__(self, steps: int, patience: int) -> None:
        self.total = steps
        self.patience = patience
        self.warmup = max(1, steps // 10)
        self.decay_from = steps - max(1, round(0.3 * steps))
        self.done = 0
        self.best = float("inf")
        self.fallen_to = float("inf")
        self.stale = 0

    @property
    def decaying(self) -> bool:
        return self.done >= self.decay_from

    @property
    def ended(self) -> bool:
        return self.done >= self.total

    @property
    def rate(self) -> float:
        """The factor on the next step's learning rate."""
        decay = (self.total - self.done) / max(1, self.total - self.decay_from)
        return min(1.0, (self.done + 1) / self.warmup, decay)

    def step(self) -> None:
        self.done += 1

    def checked(self, divergence: float) -> None:
        """Take note of a held-out divergence. It has fallen once it is 3 % below the last one that had fallen."""
        self.best = min(self.best, divergence)
        if divergence < 0.97 * self.fallen_to:
            self.fallen_to, self.stale = divergence, 0
        else:
            self.stale += 1
        if self.patience and self.stale >= self.patience and not self.decaying and self.done > self.warmup:
            length = self.total - self.decay_from
            self.decay_from = self.done
            self.total = self.done + max(1, min(length, round(0.5 * self.done)))


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

    def update(self, indices: list[int], divergences: torch.Tensor) -> None:
        self.left[indices] = divergences.float().cpu().clamp(min=0)  # rounding can make it negative

    def extend(self, texts: list[ScoredText]) -> None:
        """Add texts, but none of a prompt that is held out."""
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

    def sample(self, model: Any, label: str) -> list[list[ScoredText]]:
        """For each specialist, completions of its replay prompts by its own row of the bank, or by the only one."""
        context = self.context
        alone = len(backbone_of(model).bank) == 1
        requests, owners = [], []
        for row, specialist in enumerate(context.specialists):
            for index, pair in enumerate(specialist.replay):
                ids = encode(context.base.tokenizer, pair.prompt)
                for sample in range(self.samples):
                    key = noise_key(label, f"{row}:{index}", sample, context.seed)
                    requests.append(Request(0 if alone else row, ids, self.decoding, key))
                    owners.append(row)
        end = () if context.base.tokenizer.eos_token_id is None else (context.base.tokenizer.eos_token_id,)
        groups: list[list[ScoredText]] = [[] for _ in context.specialists]
        made = generate(model, context.base.tokenizer, requests)
        for request, row, ids in zip(requests, owners, made, strict=True):
            tail = end if len(ids) < self.decoding.max_new_tokens else ()
            if ids or tail:
                groups[row].append(ScoredText(request.ids, (*ids, *tail), row))
        return groups


class _Teacher:
    """The specialists' distributions at every token of some texts: kept if they take little memory, else made anew."""

    def __init__(self, specialists: Any, temperature: float) -> None:
        self.specialists = specialists
        self.temperature = temperature
        self.kept: dict[ScoredText, torch.Tensor] = {}

    def keep(self, texts: Sequence[ScoredText]) -> None:
        """Ask about these texts now, if the answers fit into memory."""
        vocabulary = self.specialists.get_input_embeddings().num_embeddings
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


def divergence_of(found: torch.Tensor, target: torch.Tensor, lengths: Sequence[int], direction: str) -> torch.Tensor:
    """For each text, the root mean square of its tokens' divergences, in nats: (texts,).

    `found` and `target` are log-probabilities (tokens, vocabulary), one text after the other. The mean would let one
    token that is far off hide among many that are not; that token is the failure.
    """
    if direction == "forward":
        tokens = (target.exp() * (target - found)).sum(-1)  # (tokens,)
    else:
        tokens = (found.exp() * (found - target)).sum(-1)
    parts = torch.split(tokens.clamp(min=TINY), list(lengths))
    return torch.stack([part.square().mean().sqrt() for part in parts])


def _divergences(student: Any, texts: Sequence[ScoredText], target: torch.Tensor, direction: str) -> torch.Tensor:
    """The divergences of the student from the targets on some texts: (texts,)."""
    lengths = [len(text.completion) for text in texts]
    return divergence_of(log_probabilities(student, texts), target, lengths, direction)


@torch.no_grad()
def _held_out(student: Any, teacher: _Teacher, pools: Sequence[_Pool], direction: str) -> float:
    """The loss on the prompts that are held out."""
    total = 0.0
    for pool in pools:
        if pool.held_out:
            texts = pool.held_out
            total += pool.weight * float(_divergences(student, texts, teacher.says(texts), direction).mean())
    return total
