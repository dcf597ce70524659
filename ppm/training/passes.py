"""How a model is read in training: each token once, and its head only where something is to be said.

The texts of a step mostly begin alike (a system message, a template's first tokens) and differ in length. So what they
all begin with is run once, right after the prefix, at batch size 1; the rest is run in parts of similar length, with
little padding. A token's hidden state is what it would be in one padded batch, to floating-point noise.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from ppm.evaluation.scoring import ScoredText
from ppm.runtime.backbone import PrefixedBackbone
from ppm.runtime.cache import PrefixCache
from ppm.runtime.shell import head_of, stack_of

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedConfig

__all__ = ["Reader", "View", "divergences", "log_probabilities_of", "parts_of", "reader_of"]

PART_COST = 64
"""What another part of a batch costs on a CPU, in tokens; a GPU runs a thousand in the time that it takes to start."""
PART_COST_ON_GPU = 4096
LOGITS_AT_ONCE = 2**26
"""How many logits are held at a time (256 MiB in float32)."""
BLOCK = 8
"""How many texts are viewed at a time."""


@dataclass(frozen=True)
class Reader:
    """A model as training reads it.

    `hidden` gives the states (tokens, hidden_size) that say the texts' completions, one text after the other, and
    `head` makes logits (tokens, vocabulary) of them. `entries` is the size of the vocabulary. `learns` says whether the
    head itself is trained.
    """

    hidden: Callable[[Sequence[ScoredText]], torch.Tensor]
    head: Callable[[torch.Tensor], torch.Tensor]
    entries: int
    learns: bool = False


def reader_of(model: "nn.Module") -> Reader:
    """The reader of a causal LM, of one that `attach` returned with one bank or none, or of a model of PEFT."""
    if not isinstance(model, PreTrainedModel):  # prompt tuning, whose virtual tokens only its own forward adds
        return Reader(lambda texts: _padded(model, texts), lambda logits: logits, _entries(model))
    stack, head, attention = stack_of(model), head_of(model), _attention(model)

    def says(hidden: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = head(inputs_embeds=hidden[None]).logits[0]
        return logits

    def hidden(texts: Sequence[ScoredText]) -> torch.Tensor:
        with attention():
            return _hidden(stack, texts)

    return Reader(hidden, says, _entries(model), any(parameter.requires_grad for parameter in head.parameters()))


def log_probabilities_of(reader: Reader, hidden: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """The log-probability (tokens,), in nats, of each token (tokens,) where `hidden` (tokens, hidden_size) says it."""

    def said(states: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        return -cross_entropy(reader.head(states).float(), wanted, reduction="none")

    return _in_pieces(reader, said, hidden, tokens)


def divergences(
    reader: Reader,
    hidden: torch.Tensor,
    other: Reader,
    wanted: torch.Tensor,
    *,
    reverse: bool = False,
    temperatures: torch.Tensor | None = None,
) -> torch.Tensor:
    """KL(other || model) (tokens,), in nats; with `reverse`, KL(model || other).

    `hidden` are the model's states and `wanted` those of the other, which learns nothing. Its logits are divided by
    `temperatures` (tokens,), 1 by default.
    """

    def moved(states: torch.Tensor, target: torch.Tensor, *divisors: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            logits = other.head(target).float()
            for divisor in divisors:
                logits.div_(divisor[:, None])
        ours = reader.head(states).float()
        found: torch.Tensor = _Divergence.apply(ours, logits, reverse)  # type: ignore[no-untyped-call]
        return found

    return _in_pieces(reader, moved, hidden, wanted, *([] if temperatures is None else [temperatures]))


class View:
    """What a model that does not learn says of texts: computed once for each, and kept as the states its head reads.

    States are a hundredth of the logits. Texts are viewed in blocks that do not depend on the order in which they are
    asked for, so that what is kept does not either.
    """

    def __init__(self, reader: Reader, texts: Sequence[ScoredText]) -> None:
        self.reader = reader
        self._block: dict[ScoredText, list[ScoredText]] = {}
        self._kept: dict[ScoredText, torch.Tensor] = {}
        self.extend(texts)

    def extend(self, texts: Sequence[ScoredText]) -> None:
        """More texts that may be asked for."""
        order = sorted((text for text in dict.fromkeys(texts) if text not in self._block), key=len)
        for start in range(0, len(order), BLOCK):
            block = order[start : start + BLOCK]
            self._block |= dict.fromkeys(block, block)

    def hidden(self, texts: Sequence[ScoredText]) -> torch.Tensor:
        """The states (tokens, hidden_size) that say the completions of some of its texts, one text after the other."""
        for text in texts:
            if text not in self._kept:
                self._view(self._block[text])
        return torch.cat([self._kept[text] for text in texts])

    @torch.no_grad()
    def _view(self, block: Sequence[ScoredText]) -> None:
        parts = torch.split(self.reader.hidden(block), [len(text.completion) for text in block])
        self._kept |= dict(zip(block, parts, strict=True))


def parts_of(lengths: Sequence[int], cost: int) -> list[list[int]]:
    """The indices of texts in parts of similar length: of all ways to cut the sorted texts, the least padded tokens.

    Each part counts for `cost` tokens more.
    """
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    least: list[tuple[int, int]] = [(0, 0)]  # (tokens of the first so many texts, where their last part begins)
    for end in range(1, len(order) + 1):
        longest = lengths[order[end - 1]]
        least.append(min((least[start][0] + (end - start) * longest + cost, start) for start in range(end)))
    parts: list[list[int]] = []
    end = len(order)
    while end:
        start = least[end][1]
        parts.insert(0, order[start:end])
        end = start
    return parts


def _hidden(stack: "nn.Module", texts: Sequence[ScoredText]) -> torch.Tensor:
    """The states of a stack of layers that say the completions, one text after the other."""
    device = next(stack.parameters()).device
    before = None
    if isinstance(stack, PrefixedBackbone) and not any(row.turn_seen for row in stack.held):
        before = stack.cache_for(None, 1, device)
    shared = _shared(texts) if before is not None else 0
    if shared:
        lead = torch.tensor([texts[0].prompt[:shared]], device=device)
        stack(input_ids=lead, past_key_values=before, use_cache=True)
    cost = PART_COST if device.type == "cpu" else PART_COST_ON_GPU
    found: list[torch.Tensor] = []
    order: list[int] = []
    for part in parts_of([len(text) - shared for text in texts], cost):
        found.append(_of_part(stack, before, [texts[i] for i in part], shared, device))
        order += part
    states = torch.cat(found)
    lengths = [len(texts[i].completion) for i in order]
    places = dict(zip(order, torch.split(torch.arange(len(states)), lengths), strict=True))
    return states[torch.cat([places[i] for i in range(len(texts))]).to(device)]


def _attention(model: PreTrainedModel) -> Callable[[], AbstractContextManager[None]]:
    """In bfloat16 on a CPU, attention in plain steps: the fused kernel takes twice as long there for short texts."""
    config = model.config.get_text_config()
    slow = model.device.type == "cpu" and model.dtype == torch.bfloat16 and config._attn_implementation == "sdpa"

    @contextmanager
    def plain() -> Iterator[None]:
        config._attn_implementation = "eager"
        try:
            yield
        finally:
            config._attn_implementation = "sdpa"

    return plain if slow else nullcontext


def _of_part(
    stack: "nn.Module", before: PrefixCache | None, texts: Sequence[ScoredText], shared: int, device: torch.device
) -> torch.Tensor:
    """The same for texts of similar length; `before` holds the prefix and the `shared` tokens they all begin with."""
    width = max(map(len, texts)) - shared - 1  # nothing is said after the last token
    ids = torch.zeros(len(texts), width, dtype=torch.long)
    mask = torch.zeros(len(texts), shared + width, dtype=torch.long)
    says = torch.zeros(len(texts), width, dtype=torch.bool)
    for i, text in enumerate(texts):
        own = (*text.prompt, *text.completion)[shared:-1]
        ids[i, : len(own)] = torch.tensor(own)
        mask[i, : shared + len(own)] = 1
        says[i, len(text.prompt) - shared - 1 : len(own)] = True
    extra = {} if before is None else {"past_key_values": _repeated(before, len(texts))}
    with _answers_alone(stack, texts) if isinstance(stack, PrefixedBackbone) and not extra else nullcontext():
        output = stack(
            input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=before is not None, **extra
        ).last_hidden_state
    states: torch.Tensor = output[says.to(device)]
    return states


def _answers_alone(stack: PrefixedBackbone, texts: Sequence[ScoredText]) -> AbstractContextManager[None]:
    """The first row of a bank, whose blocks answers alone see; what these are is told by the prompts."""
    rows = [0] * len(texts)
    return stack.select(rows, unseeing=stack.unseeing_in(rows, [text.prompt for text in texts]))


def _shared(texts: Sequence[ScoredText]) -> int:
    """How many tokens all prompts begin with; the last one of each, which says the completion's first, left out."""
    first, least = texts[0].prompt, min(len(text.prompt) for text in texts) - 1
    return next((i for i in range(least) if any(text.prompt[i] != first[i] for text in texts)), max(least, 0))


def _repeated(before: PrefixCache, batch: int) -> PrefixCache:
    """A cache of one row for each of a batch, to go on with; gradients reach the one."""
    cache = PrefixCache(before.columns.select(torch.zeros(batch, dtype=torch.long, device=before.columns.mask.device)))
    for index, layer in enumerate(before.layers):
        if layer.is_initialized:
            cache.update(*(states.expand(batch, -1, -1, -1) for states in (layer.keys, layer.values)), index)
    return cache


def _padded(model: "nn.Module", texts: Sequence[ScoredText]) -> torch.Tensor:
    """The logits (tokens, vocabulary) that say the completions, in one padded batch."""
    width = max(map(len, texts))
    ids, mask = (torch.zeros(len(texts), width, dtype=torch.long) for _ in range(2))
    says = torch.zeros(len(texts), width, dtype=torch.bool)
    for i, text in enumerate(texts):
        ids[i, : len(text)] = torch.tensor((*text.prompt, *text.completion))
        mask[i, : len(text)] = 1
        says[i, len(text.prompt) - 1 : len(text) - 1] = True
    device = next(model.parameters()).device
    logits = model(input_ids=ids.to(device), attention_mask=mask.to(device)).logits[:, -width:]
    found: torch.Tensor = logits[says.to(device)]
    return found


def _entries(model: "nn.Module") -> int:
    config: PreTrainedConfig = model.config
    return int(config.get_text_config().vocab_size)


def _in_pieces(reader: Reader, function: Callable[..., torch.Tensor], *rows: torch.Tensor) -> torch.Tensor:
    """A function of rows that passes through logits, so many at a time; gradients reach the first of the rows.

    It gives each row a number of its own.
    """
    size = max(1, LOGITS_AT_ONCE // reader.entries)
    if len(rows[0]) <= size:
        return function(*rows)
    pieces = list(zip(*(torch.split(part, size) for part in rows), strict=True))
    if reader.learns:  # whose own gradient needs the logits once more
        return torch.cat([checkpoint(function, *piece, use_reentrant=False) for piece in pieces])
    if torch.is_grad_enabled() and rows[0].requires_grad:
        found: torch.Tensor = _Pieces.apply(function, pieces, rows[0])  # type: ignore[no-untyped-call]
        return found
    return torch.cat([function(*piece) for piece in pieces])


class _Pieces(torch.autograd.Function):
    """A function of rows, a piece at a time, whose gradient is made along with each piece.

    A row's number depends on that row alone, so its gradient is that of the sum times what arrives for it. No logits
    are kept or computed twice.
    """

    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        context,
        function: Callable[..., torch.Tensor],
        pieces: Sequence[tuple[torch.Tensor, ...]],
        states: torch.Tensor,
    ) -> torch.Tensor:
        found, slopes = [], []
        for own, *others in pieces:
            leaf = own.detach().requires_grad_()
            with torch.enable_grad():
                values = function(leaf, *others)
                [slope] = torch.autograd.grad(values.sum(), leaf)
            slopes.append(slope)
            found.append(values.detach())
        context.save_for_backward(torch.cat(slopes))
        return torch.cat(found)

    @staticmethod
    def backward(context, gradient: torch.Tensor) -> tuple[None, None, torch.Tensor]:  # type: ignore[no-untyped-def]
        [slope] = context.saved_tensors
        return None, None, (slope * gradient[:, None]).to(slope.dtype)


class _Divergence(torch.autograd.Function):
    """KL(other || model) of logits (tokens, vocabulary), or with `reverse` KL(model || other).

    Few tensors of this size are made, and one is kept: the gradient, for its own factor. It is the difference of the
    two distributions, and in reverse the model's times what each log ratio is above their mean.
    """

    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        context, logits: torch.Tensor, others: torch.Tensor, reverse: bool
    ) -> torch.Tensor:
        own, wanted = torch.log_softmax(logits, dim=-1), torch.log_softmax(others, dim=-1)
        if reverse:
            ratios = torch.sub(own, wanted, out=wanted)
            chances = own.exp_()
            found = torch.einsum("tv,tv->t", chances, ratios)
            context.save_for_backward(chances.mul_(ratios.sub_(found[:, None])))
        else:
            chances = wanted.exp()
            found = torch.einsum("tv,tv->t", chances, wanted.sub_(own))
            context.save_for_backward(own.exp_().sub_(chances))
        return found

    @staticmethod
    def backward(context, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:  # type: ignore[no-untyped-def]
        [slope] = context.saved_tensors
        return slope * gradient[:, None], None, None
