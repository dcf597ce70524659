"""Distillation: make one prefix behave as each specialist does where that specialist is at home.

The specialists share the base with the composition, so each gives exact next-token distributions. The loss is
the mean over specialists i of KL(specialist_i || composition) on completions sampled from specialist i on its replay
prompts, plus `retention_weight` times KL(base || composition) on benign texts. No labels, no preference pairs.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch.optim.lr_scheduler import OneCycleLR

from ppm.composition.steps import Context, step
from ppm.errors import RequestError, TrainingError
from ppm.evaluation.generation import Request, encode, generate, noise_key
from ppm.manifest import Decoding
from ppm.prefix.model import UNPATCHED, attach, backbone_of

__all__ = ["distil"]


@dataclass(frozen=True)
class _Text:
    """Token ids of a prompt and its completion, and the row of the bank whose distributions it teaches."""

    row: int
    prompt: tuple[int, ...]
    completion: tuple[int, ...]


@step("distil")
def distil(
    context: Context,
    prefix: torch.Tensor | None,
    *,
    steps: int = 300,
    learning_rate: float = 3e-2,
    batch_size: int = 8,
    samples: int = 2,
    max_new_tokens: int = 32,
    retention_weight: float = 3.0,
) -> torch.Tensor:
    """Distil the specialists into `prefix`. `batch_size` texts of each specialist and of the base make a step.

    Raises RequestError when a patch has no replay pairs, TrainingError when the loss stops being a number.
    """
    if prefix is None:
        raise RequestError("distil needs a prefix to start from", hint="put average or concatenate before it")
    lacking = next((s.name for s in context.specialists if not s.replay), None)
    if lacking is not None:
        raise RequestError(f"{lacking} has no replay pairs, which the step 'distil' needs", hint="use concat or merged")
    specialists = attach(context.model, [s.prefix for s in context.specialists], placement=context.placement)
    groups = _sample(context, specialists, samples, max_new_tokens)
    groups.append([_Text(UNPATCHED, text.prompt, text.completion) for text in context.retention])
    weights = [1.0 / len(context.specialists)] * len(context.specialists) + [retention_weight]
    groups, weights = zip(*((g, w) for g, w in zip(groups, weights, strict=True) if g), strict=True)  # type: ignore[assignment]
    student = attach(context.model, [prefix], placement=context.placement, trainable=True)
    learned = backbone_of(student).bank[0]
    optimizer = torch.optim.AdamW([learned], lr=learning_rate, weight_decay=0.0)
    schedule = OneCycleLR(optimizer, max_lr=learning_rate, total_steps=steps + 1)
    generator = torch.Generator().manual_seed(context.seed)
    for done in range(steps):
        chosen = [_draw(group, batch_size, generator) for group in groups]
        loss = _loss(student, specialists, chosen, weights)
        if not bool(torch.isfinite(loss)):
            raise TrainingError(
                f"distillation's loss stopped being a number at step {done}", hint="lower the learning_rate"
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_([learned], 1.0)
        optimizer.step()
        schedule.step()
        if done % 10 == 9 or done + 1 == steps:
            context.progress("distil", done + 1, steps, loss.item())
    result: torch.Tensor = learned.detach().clone()
    return result


def _sample(context: Context, specialists: Any, samples: int, max_new_tokens: int) -> list[list[_Text]]:
    """Completions of each specialist on its own replay prompts."""
    requests = []
    for row, specialist in enumerate(context.specialists):
        for index, pair in enumerate(specialist.replay):
            ids = encode(context.tokenizer, pair.prompt)
            for sample in range(samples):
                key = noise_key("distil", f"{row}:{index}", sample, context.seed)
                requests.append(Request(row, ids, Decoding(max_new_tokens=max_new_tokens), key))
    end = () if context.tokenizer.eos_token_id is None else (context.tokenizer.eos_token_id,)
    groups: list[list[_Text]] = [[] for _ in context.specialists]
    for request, made in zip(requests, generate(specialists, context.tokenizer, requests), strict=True):
        tail = end if len(made) < max_new_tokens else ()
        if made or tail:
            groups[request.row].append(_Text(request.row, request.ids, (*made, *tail)))
    return groups


def _draw(group: list[_Text], count: int, generator: torch.Generator) -> list[_Text]:
    return [group[i] for i in torch.randint(len(group), (count,), generator=generator).tolist()]


def _loss(student: Any, specialists: Any, groups: list[list[_Text]], weights: Any) -> torch.Tensor:
    """The weighted sum over groups of the mean KL a token, in nats."""
    texts = [text for group in groups for text in group]
    width = max(len(t.prompt) + len(t.completion) for t in texts)
    device = student.device
    ids = torch.zeros(len(texts), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    scored = torch.zeros(len(texts), width)
    for i, text in enumerate(texts):
        full = (*text.prompt, *text.completion)
        ids[i, : len(full)] = torch.tensor(full)
        mask[i, : len(full)] = 1
        scored[i, len(text.prompt) - 1 : len(full) - 1] = 1.0
    line = 0
    for group, weight in zip(groups, weights, strict=True):
        scored[line : line + len(group)] *= weight / scored[line : line + len(group)].sum()
        line += len(group)
    ids, mask, scored = ids.to(device), mask.to(device), scored.to(device)
    at = scored > 0
    with torch.no_grad(), backbone_of(specialists).select([text.row for text in texts]):
        target = torch.log_softmax(specialists(input_ids=ids, attention_mask=mask).logits[at].float(), dim=-1)
    logits = student(input_ids=ids, attention_mask=mask).logits[at].float()
    kl = (target.exp() * (target - torch.log_softmax(logits, dim=-1))).sum(-1)  # (tokens,)
    return (kl * scored[at]).sum()
