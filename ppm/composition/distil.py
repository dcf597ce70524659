"""Distillation: make one prefix behave as each specialist does where that specialist is at home.

The specialists share the base with the composition, so each gives exact next-token distributions. The loss is
the mean over specialists i of KL(specialist_i || composition) on completions sampled from specialist i on its replay
prompts, plus `retention_weight` times KL(base || composition) on benign texts. No labels, no preference pairs.
"""

from typing import Any

import torch
from torch.optim.lr_scheduler import OneCycleLR

from ppm.composition.steps import Context, step
from ppm.errors import RequestError, TrainingError
from ppm.evaluation.generation import Request, encode, generate, noise_key
from ppm.evaluation.scoring import ScoredText, log_probabilities
from ppm.manifest import Decoding
from ppm.prefix.model import UNPATCHED, attach, backbone_of
from ppm.prefix.tensors import usable

__all__ = ["distil"]

KEPT_BYTES = 2**30
FLOOR = 0.2
"""The least share of a text in the draws, as a part of the mean share."""


@step("distil")
def distil(
    context: Context,
    prefix: torch.Tensor | None,
    *,
    steps: int = 400,
    learning_rate: float = 3e-2,
    batch_size: int = 8,
    samples: int = 2,
    max_new_tokens: int = 32,
    retention_weight: float = 1.0,
    temperature: float = 0.5,
) -> torch.Tensor:
    """Distil the specialists into `prefix`. `batch_size` texts of each specialist and of the base make a step.

    A `temperature` below 1 sharpens the specialists' distributions (Hinton et al. 2015, section 2, the other way
    round): the composition is asked to be surer than they are, which makes up for what it does not learn. The
    base's distributions stay as they are.

    Raises RequestError when a patch has no replay pairs, TrainingError when the loss stops being a number.
    """
    if (
        min(steps, batch_size, samples, max_new_tokens) < 1
        or min(learning_rate, temperature) <= 0
        or retention_weight < 0
    ):
        raise ValueError("steps, batch_size, samples, max_new_tokens, learning_rate and temperature must be above 0")
    if prefix is None:
        raise RequestError("distil needs a prefix to start from", hint="put average or concatenate before it")
    lacking = next((s.name for s in context.specialists if not s.replay), None)
    if lacking is not None:
        raise RequestError(f"{lacking} has no replay pairs, which the step 'distil' needs", hint="use concat or merged")
    specialists = attach(context.model, [s.prefix for s in context.specialists], placement=context.placement)
    groups = _sample(context, specialists, samples, max_new_tokens, temperature)
    groups.append(list(context.retention))
    weights = [1.0] * len(context.specialists) + [retention_weight]
    pools = [_Pool(group, weight) for group, weight in zip(groups, weights, strict=True) if group and weight > 0]
    targets = _Targets(specialists, [text for pool in pools for text in pool.texts], temperature)
    student = attach(context.model, [prefix], placement=context.placement, trainable=True)
    learned = backbone_of(student).bank[0]
    optimizer = torch.optim.AdamW([learned], lr=learning_rate, weight_decay=0.0)
    schedule = OneCycleLR(optimizer, max_lr=learning_rate, total_steps=steps + 1)
    generator = torch.Generator().manual_seed(context.seed)
    for done in range(steps):
        chosen = [pool.draw(batch_size, generator) for pool in pools]
        texts = [pool.texts[i] for pool, indices in zip(pools, chosen, strict=True) for i in indices]
        divergences = torch.split(_divergences(student, texts, targets.of(texts)), [len(indices) for indices in chosen])
        loss = torch.stack([pool.weight * part.mean() for pool, part in zip(pools, divergences, strict=True)]).sum()
        if not bool(torch.isfinite(loss)):
            raise TrainingError(
                f"distillation's loss stopped being a number at step {done}", hint="lower the learning_rate"
            )
        for pool, indices, part in zip(pools, chosen, divergences, strict=True):
            pool.update(indices, part.detach())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_([learned], 1.0)
        optimizer.step()
        schedule.step()
        if done % 10 == 9 or done + 1 == steps:
            context.progress("distil", done + 1, steps, loss.item())
    return usable(learned, "distillation")


class _Pool:
    """The texts of one specialist, or of the base, drawn in proportion to what is left to learn of them.

    Most texts agree with their specialist early on. Each text's divergence at its last visit is its share of the next
    draws (Schaul et al. 2016, section 3.3, with a floor instead of an exponent), and texts not seen yet come first.
    """

    def __init__(self, texts: list[ScoredText], weight: float) -> None:
        self.texts = texts
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
        self.left[indices] = divergences.float().cpu()


class _Targets:
    """What the specialists say at every token of some texts: kept if that takes little memory, else asked each time."""

    def __init__(self, specialists: Any, texts: list[ScoredText], temperature: float) -> None:
        self.specialists = specialists
        self.temperature = temperature
        vocabulary = specialists.get_input_embeddings().num_embeddings
        self.kept: dict[ScoredText, torch.Tensor] = {}
        if 4 * vocabulary * sum(len(text.completion) for text in texts) <= KEPT_BYTES:
            different = sorted(set(texts), key=len)
            for start in range(0, len(different), 64):
                part = different[start : start + 64]
                sizes = [len(text.completion) for text in part]
                self.kept.update(zip(part, torch.split(self._ask(part), sizes), strict=True))

    def of(self, texts: list[ScoredText]) -> torch.Tensor:
        """Log-probabilities (tokens, vocabulary) of the texts' completions, one text after the other."""
        return torch.cat([self.kept[text] for text in texts]) if self.kept else self._ask(texts)

    def _ask(self, texts: list[ScoredText]) -> torch.Tensor:
        temperatures = [1.0 if text.row == UNPATCHED else self.temperature for text in texts]
        with torch.no_grad(), backbone_of(self.specialists).select([text.row for text in texts]):
            found = log_probabilities(self.specialists, texts)
        sizes = torch.tensor([len(text.completion) for text in texts])
        divisor = torch.tensor(temperatures).repeat_interleave(sizes).to(found.device)
        return torch.log_softmax(found / divisor[:, None], dim=-1)


def _sample(
    context: Context, specialists: Any, samples: int, max_new_tokens: int, temperature: float
) -> list[list[ScoredText]]:
    """Completions of each specialist on its own replay prompts."""
    requests = []
    for row, specialist in enumerate(context.specialists):
        for index, pair in enumerate(specialist.replay):
            ids = encode(context.tokenizer, pair.prompt)
            for sample in range(samples):
                key = noise_key("distil", f"{row}:{index}", sample, context.seed)
                requests.append(
                    Request(row, ids, Decoding(max_new_tokens=max_new_tokens, temperature=temperature), key)
                )
    end = () if context.tokenizer.eos_token_id is None else (context.tokenizer.eos_token_id,)
    groups: list[list[ScoredText]] = [[] for _ in context.specialists]
    for request, made in zip(requests, generate(specialists, context.tokenizer, requests), strict=True):
        tail = end if len(made) < max_new_tokens else ()
        if made or tail:
            groups[request.row].append(ScoredText(request.ids, (*made, *tail), request.row))
    return groups


def _divergences(student: Any, texts: list[ScoredText], targets: torch.Tensor) -> torch.Tensor:
    """Mean over each text's completion of KL(target || student) a token, in nats: (texts,)."""
    kl = (targets.exp() * (targets - log_probabilities(student, texts))).sum(-1)  # (tokens,)
    return torch.stack([part.mean() for part in torch.split(kl, [len(text.completion) for text in texts])])
