"""Distillation: make one prefix behave as each specialist does where that specialist is at home.

The specialists share the base with the composition, so each gives exact next-token distributions. The loss of a text is
the root mean square over its tokens of a divergence: KL(composition || specialist_i at `temperature`) for completions
that specialist i wrote to its replay prompts, KL(composition || base) for benign texts. The whole loss is the sum over
specialists of the mean over their texts, plus `retention_weight` times the mean over benign texts, taken with noise on
the prefix. No labels, no preference pairs.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ppm.bank import Bank
from ppm.composition.objective import Objective
from ppm.composition.options import Distil
from ppm.composition.soap import Soap
from ppm.composition.steps import Context, OptionError, built_in
from ppm.errors import RequestError, TrainingError
from ppm.runtime.model import attach, backbone_of
from ppm.runtime.tensors import bank_of, usable
from ppm.runtime.text import encoder_of

__all__ = ["Schedule", "distil", "noise_in", "shaken"]

CHECK_EVERY = 25
STEPS_PER_PATCH = 100
CROWDED = 1 / 3
"""A prefix with a smaller share of the specialists' tokens than this gets less noise, in proportion: it has no room to
spare."""


@built_in("distil")
def distil(context: Context, bank: Bank | None, options: Distil) -> Bank:
    """Distil the specialists into the joined `bank`, which becomes one block.

    `batch_size` texts of each specialist and of the base make a step. A `temperature` below 1 sharpens the specialists'
    distributions (Hinton et al. 2015, section 2, the other way round): the composition is asked to be surer than they
    are, which makes up for what does not carry over to other prompts. The base's distributions stay as they are.
    `direction` "reverse" is the divergence above, which punishes what a specialist would hardly say; "forward" is
    KL(specialist || composition). Each step's gradient is taken with normal noise on every token of the prefix, `noise`
    times the token's length, less in a crowded prefix (An 1996; Bisla et al. 2022): what is learned then holds in a
    neighbourhood, and carries over better to prompts of other kinds. `weights` weigh the specialists. Every `refresh`
    steps (0: never) the composition's own completions join the texts (Agarwal et al. 2024). Some prompts are held out:
    once the divergence on them has not fallen for `patience` checks (0: never) the learning rate decays and training
    ends, after `steps` (0: 100 a patch) at the latest.

    Raises RequestError when a patch has no replay pairs, TrainingError when the loss stops being a number.
    """
    if options.weights and len(options.weights) != len(context.specialists):
        raise OptionError(f"weights must have {len(context.specialists)} numbers")
    if bank is None:
        raise RequestError("distil needs a prefix to start from", hint="put average or concatenate before it")
    context.with_pairs("distil")
    objective = Objective(context, options)
    encoder_of(context.base).check_room(bank.virtual_tokens + objective.longest, "a text to distil on")
    start = [context.prefix(bank)]
    student = attach(context.base.model, start, placement=context.placement, trainable=True, kept=context.base.kept)
    learned = backbone_of(student).bank[0]
    optimizer = Soap([learned], lr=options.learning_rate)
    noise = noise_in(bank.virtual_tokens, sum(s.bank.virtual_tokens for s in context.specialists), options.noise)
    schedule = Schedule(options.steps or STEPS_PER_PATCH * len(context.specialists), objective.patience)
    generator = torch.Generator().manual_seed(context.seed)
    done = 0
    while not schedule.ended:
        if options.refresh and done and done % options.refresh == 0 and not schedule.decaying:
            objective.refresh(student, f"refresh-{done}")
        chosen = objective.draw(options.batch_size, generator)
        optimizer.zero_grad(set_to_none=True)
        with shaken(learned, noise, generator):
            loss = objective.backward(student, chosen)
        size = torch.nn.utils.clip_grad_norm_([learned], 1.0)
        if not bool(torch.isfinite(loss + size)):
            raise TrainingError(
                f"the distillation loss was no longer finite at step {done}", hint="lower the learning_rate"
            )
        for group in optimizer.param_groups:
            group["lr"] = options.learning_rate * schedule.rate
        optimizer.step()
        done += 1
        schedule.step()
        if objective.patience and done % CHECK_EVERY == 0:
            schedule.checked(objective.held_out(student))
        if done % 10 == 0 or schedule.ended:
            context.progress(f"distil (loss {loss.item():.3f})", done, schedule.total)
    context.notes["distil"] = {"steps": done, "noise": round(noise, 6)} | (
        {"held_out": round(schedule.best, 6)} if objective.patience else {}
    )
    return bank_of(usable(learned, "distillation"))


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
