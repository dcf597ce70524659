"""The router: reads hidden states of the unpatched base after a few layers, and tells for which blocks a prompt is.

Each thing that a user says in a chat is read by itself: the last token before its answer begins, the last token of what
was said, and the mean over it. So is each of its sentences, if the triggers were fitted that way, so that one of them
can't hide among others. A trigger fires for a prompt if it fires for any of these, so that what fired once in a
conversation stays. Where no turn of a user's is found, the text is read as a whole. Only the layers up to the last of
these are run, or all of them where the pass is to be the base's own answer if no trigger fires.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TypeVar

import torch
from torch import nn

from ppm.bank import FEATURES, Readings, Router, Trigger
from ppm.bank_table import Turn
from ppm.errors import ModelError
from ppm.runtime.taps import Reached, States, depth_of, tapped, unreadable

__all__ = [
    "EPSILON",
    "Picked",
    "Reading",
    "Scores",
    "batches",
    "check_router",
    "features_of",
    "picked_of",
    "picked_on_the_way",
    "picks",
    "probabilities",
    "readings_of",
    "scores_of",
    "spans",
    "unseeing",
]

BATCH, BATCH_TOKENS = 32, 8192
"""How many texts are read at once, and how many tokens they may have together, padding included; one text may have
more."""
ROUNDING = 1e-6
"""How much below a threshold, in log odds, is as good as at it: what a probability in float32 leaves open."""
NEAR = 2.2
"""How much less far above its threshold than the farthest, in log odds, a trigger may be for a prompt to meet its block
too, where a prompt may meet several: odds of 9 to 1."""
LEAST_SENTENCE, MOST_SENTENCES = 4, 256
"""How many tokens a sentence has at least, with what stands before it, and how many of them a turn is read in at most:
those of a longer one are read several at a time."""
EPSILON = 1e-12
"""How close to 0 and 1 a threshold is taken for its log odds."""


@dataclass(frozen=True)
class Reading:
    """A part of a text that is read by itself: tokens `start` to `stop` are averaged, token `last` is taken."""

    start: int
    stop: int
    last: int


Output = TypeVar("Output")
Picked = tuple[int, ...]
"""The blocks of its row that a text meets, by their numbers; none where it meets the base itself."""


def _hidden_states(inner: nn.Module, layers: Sequence[int], ids: torch.Tensor, mask: torch.Tensor) -> States:
    """The hidden states after each of these many layers; those above are not run.

    `ids` and `mask` are (B, T), the latter 1 at real tokens.
    """
    found: States = {}

    def decide(states: States) -> bool:
        found.update(states)
        return False

    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    try:
        tapped(inner, layers, decide)(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False)
    except Reached:
        return found
    raise unreadable(inner)


def spans(ids: Sequence[int], turn: Turn | None) -> list[Reading]:
    """What is read of a text by itself, as `readings_of` has it by turns."""
    return [reading for own in readings_of(ids, turn) for reading in own]


def readings_of(ids: Sequence[int], turn: Turn | None) -> list[list[Reading]]:
    """What is read of a text by itself: each turn of the user's, or the text without its first token.

    Each is read as a whole, first, and a turn then sentence by sentence, if it has several and says where they end.

    A turn in which somebody has written what the template puts after one is read up to there, and up to its real end.
    Of wholes that overlap the longest alone is read by sentences, so that a text has no more of them than tokens.
    Of the first token of any text models make a sink for attention, with a hidden state that drowns all others' (Xiao
    et al. 2024, arXiv 2309.17453, section 3.1).
    """
    turns: list[list[Reading]] = []
    starts, closings = ([], []) if turn is None else (_ends(ids, turn.opening), _ends(ids, turn.closing))
    for start, following in zip(starts, [*starts[1:], len(ids)], strict=False):
        assert turn is not None
        ends = [end for end in closings if end - len(turn.closing) >= start]
        own = [end for end in ends if end <= following] or ends[:1]
        wholes = [Reading(start, end - len(turn.closing), end - 1) for end in own]
        turns.append(wholes or [Reading(start, len(ids), len(ids) - 1)])
    if turn is None or not turns:
        return [[Reading(min(1, len(ids) - 1), len(ids), len(ids) - 1)]]
    found, covered = list[list[Reading]](), 0
    for *shorter, longest in turns:
        sentences = _sentences(ids, longest, turn) if longest.start >= covered else []
        covered = max(covered, longest.stop)
        found += [*([whole] for whole in shorter), [longest, *sentences]]
    return found


def unseeing(ids: Sequence[int], turn: Turn) -> int:
    """How many tokens of a text come before its answer to the last turn, or before its last one where there is no turn.

    The tokens that the template puts after what was said are the answer's.
    """
    ends = _ends(ids, turn.closing)
    return ends[-1] - len(turn.closing) if ends else max(len(ids) - 1, 0)


def _sentences(ids: Sequence[int], whole: Reading, turn: Turn) -> list[Reading]:
    """The sentences of what is said; none where it is only one, or nothing says where sentences end."""
    if not turn.ends:
        return []
    ends, least = _set(turn.ends), max(LEAST_SENTENCE, (whole.stop - whole.start) // MOST_SENTENCES + 1)
    cuts = [whole.start]
    for i in range(whole.start, whole.stop - least):
        if ids[i] in ends and i + 1 - cuts[-1] >= least:
            cuts.append(i + 1)
    if len(cuts) == 1:
        return []
    return [Reading(start, stop, whole.last) for start, stop in pairwise([*cuts, whole.stop])]


@lru_cache
def _set(tokens: tuple[int, ...]) -> frozenset[int]:
    return frozenset(tokens)


def _ends(ids: Sequence[int], wanted: Sequence[int]) -> list[int]:
    """Where each occurrence of some tokens ends."""
    size, listed = len(wanted), list(wanted)
    starts = (i for i in range(len(ids) - size + 1) if ids[i] == listed[0])
    return [i + size for i in starts if list(ids[i : i + size]) == listed]


@torch.no_grad()
def features_of(
    inner: nn.Module, layers: Sequence[int], texts: Sequence[Sequence[int]], turn: Turn | None
) -> list[dict[int, torch.Tensor]]:
    """For each text, in one batch, its features (readings, 3 * hidden_size) after each of some layers, in float32.

    They are the hidden state of a reading's last token, that of the last one that is said, and the mean over what is.
    """
    device = inner.get_input_embeddings().weight.device  # type: ignore[operator]
    width = max(map(len, texts))
    ids = torch.zeros(len(texts), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, text in enumerate(texts):
        ids[i, : len(text)] = torch.tensor(text)
        mask[i, : len(text)] = 1
    states = _hidden_states(inner, layers, ids.to(device), mask.to(device))
    readings = [spans(text, turn) for text in texts]
    return [{layer: _read(hidden[i], own) for layer, hidden in states.items()} for i, own in enumerate(readings)]


def _read(hidden: torch.Tensor, readings: Sequence[Reading]) -> torch.Tensor:
    """The features (readings, 3 * hidden_size) of a text's hidden states (T, hidden_size)."""
    return torch.stack([_features(hidden, reading) for reading in readings])


def _features(hidden: torch.Tensor, reading: Reading) -> torch.Tensor:
    last = hidden[reading.last].float()
    said = hidden[reading.start : reading.stop].float()
    return torch.cat([last, said[-1], said.mean(0)] if len(said) else [last] * FEATURES)


def picks(
    inner: nn.Module,
    routers: Sequence[Router | None],
    texts: Sequence[Sequence[int]],
    readings: Readings | None = None,
) -> list[Picked]:
    """For each text the blocks that its own router picks; where it has no router, the first.

    Of several triggers that fire, the one that is farthest above its threshold, in log odds, picks its block, and where
    the router takes several, so do those that are hardly less far above. On a text without any token none fires. What
    the `readings` of this base hold is not read again, and what is read goes there.
    """
    picked: list[Picked] = [(0,) if router is None else () for router in routers]
    scores = scores_of(inner, routers, texts, readings)
    for router in dict.fromkeys(router for router in routers if router is not None):
        own = [i for i, other in enumerate(routers) if other == router and len(texts[i])]
        if own:
            found = scores[router.layers, router.turn].of(router, [texts[i] for i in own])
            for i, row in zip(own, found, strict=True):
                picked[i] = picked_of(router, row)
    return picked


def _fires(router: Router, odds: torch.Tensor) -> torch.Tensor:
    """Which triggers fire for texts with these log odds (..., triggers)."""
    limits = torch.tensor([trigger.threshold for trigger in router.triggers], dtype=torch.double).logit()
    return odds.double() >= limits - ROUNDING


def picked_of(router: Router, odds: torch.Tensor) -> Picked:
    """The blocks that a text with these log odds (triggers,) meets.

    Compared are log odds, as probabilities of some size are all one.
    """
    limits = torch.tensor([trigger.threshold for trigger in router.triggers], dtype=torch.double).logit(EPSILON)
    over = torch.where(_fires(router, odds), odds - limits, -torch.inf)
    highest = float(over.max())
    if highest == -torch.inf:
        return ()
    near = over >= highest - (NEAR if router.several else 0.0)
    blocks = [trigger.block for trigger, taken in zip(router.triggers, near.tolist(), strict=True) if taken]
    return tuple(sorted(set(blocks))) if router.several else (blocks[0],)


def picked_on_the_way(
    inner: nn.Module,
    router: Router,
    real: torch.Tensor,
    texts: Sequence[Sequence[int]],
    run: Callable[[nn.Module], Output],
) -> tuple[list[Picked], Output | None]:
    """As `picks`, in a pass over the batch that `run` makes of the base, and what that returns.

    The pass ends where the router reads, and returns nothing, if a block is picked for any text that all of it sees.
    `real` (B, T) is true at the tokens that are no padding; of each row's, the `texts` are what is read.
    """
    picked: list[Picked] = []

    def decide(states: States) -> bool:
        for i, text in enumerate(texts):
            readings = spans(text, router.turn) if text else []
            own = {
                layer: _read(hidden[i][real[i].to(hidden.device)], readings) for layer, hidden in states.items() if text
            }
            picked.append(picked_of(router, _scored(router.triggers, router.layers, own)) if text else ())
        return all(router.seen_after(blocks) for blocks in picked if blocks)

    try:
        result = run(tapped(inner, router.layers, decide))
    except Reached:
        return picked, None
    if len(picked) < len(texts):
        raise unreadable(inner)
    return picked, result


@dataclass(frozen=True)
class Scores:
    """How likely texts concern the patches of routers that read after the same layers: each is read once for all.

    `rows` are the log odds (triggers,) of each text, and `columns` says where each trigger's stands.
    """

    columns: Mapping[Trigger, int]
    rows: Mapping[tuple[int, ...], torch.Tensor]

    def of(self, router: Router, texts: Sequence[Sequence[int]]) -> torch.Tensor:
        """The log odds (texts, triggers) that each text concerns each of a router's patches."""
        columns = [self.columns[trigger] for trigger in router.triggers]
        return torch.stack([self.rows[tuple(text)][columns] for text in texts])


def scores_of(
    inner: nn.Module,
    routers: Sequence[Router | None],
    texts: Sequence[Sequence[int]],
    readings: Readings | None = None,
) -> dict[tuple[tuple[int, ...], Turn | None], Scores]:
    """Of each text, those of its router, by where that reads. A text without any token is not read.

    `readings` are as `picks` has them.
    """
    found = {}
    for layers, turn in dict.fromkeys((router.layers, router.turn) for router in routers if router is not None):
        alike = [
            (r, tuple(t)) for r, t in zip(routers, texts, strict=True) if r and (r.layers, r.turn) == (layers, turn)
        ]
        triggers = list(dict.fromkeys(trigger for router, _ in alike for trigger in router.triggers))
        different = list(dict.fromkeys(text for _, text in alike if text))
        columns = {trigger: i for i, trigger in enumerate(triggers)}
        rows = _remembered(inner, triggers, layers, turn, different, {} if readings is None else readings)
        found[layers, turn] = Scores(columns, dict(zip(different, rows, strict=True)))
    return found


def _remembered(
    inner: nn.Module,
    triggers: Sequence[Trigger],
    layers: tuple[int, ...],
    turn: Turn | None,
    texts: Sequence[tuple[int, ...]],
    readings: Readings,
) -> list[torch.Tensor]:
    """As `_log_odds`; a text is read where what some trigger says of it is not known yet."""
    keys = [(trigger.weight, trigger.bias) for trigger in triggers]
    known = [readings.setdefault((layers, turn, text), {}) for text in texts]
    lacking = [i for i, own in enumerate(known) if any(key not in own for key in keys)]
    rows = _log_odds(inner, triggers, layers, turn, [texts[i] for i in lacking])
    for i, row in zip(lacking, rows, strict=True):
        known[i].update(zip(keys, row.tolist(), strict=True))
    return [torch.tensor([own[key] for key in keys]) for own in known]


def probabilities(inner: nn.Module, router: Router, texts: Sequence[Sequence[int]]) -> torch.Tensor:
    """The probability (texts, triggers) that each text concerns each trigger's patch, in float32, on the CPU.

    `inner` is the backbone of the unpatched base. Texts that are the same are read once.
    """
    return torch.sigmoid(torch.stack(_log_odds(inner, router.triggers, router.layers, router.turn, texts)))


def _log_odds(
    inner: nn.Module,
    triggers: Sequence[Trigger],
    layers: Sequence[int],
    turn: Turn | None,
    texts: Sequence[Sequence[int]],
) -> list[torch.Tensor]:
    """For each text the log odds (triggers,), in float32, on the CPU; those that are the same are read once."""
    different = sorted(dict.fromkeys(tuple(text) for text in texts), key=len)
    rows: dict[tuple[int, ...], torch.Tensor] = {}
    for chosen in batches([len(text) for text in different]):
        part = [different[i] for i in chosen]
        for text, own in zip(part, features_of(inner, layers, part, turn), strict=True):
            rows[text] = _scored(triggers, layers, own)
    return [rows[tuple(text)] for text in texts]


def batches(lengths: Sequence[int]) -> list[range]:
    """Which of some texts are read at once, by their place; their lengths in tokens must rise."""
    starts = [0]
    for i, length in enumerate(lengths):
        count = i - starts[-1]
        if count == BATCH or (count and (count + 1) * length > BATCH_TOKENS):
            starts.append(i)
    return [range(start, stop) for start, stop in pairwise([*starts, len(lengths)]) if stop > start]


def _scored(triggers: Sequence[Trigger], layers: Sequence[int], features: States) -> torch.Tensor:
    """The log odds (triggers,), in float32, on the CPU, of a text with these features after each of the layers."""
    read = torch.cat([features[layer].cpu() for layer in layers], dim=-1)  # which may be on several devices
    return torch.stack([_odds(trigger, read) for trigger in triggers])


def _odds(trigger: Trigger, features: torch.Tensor) -> torch.Tensor:
    weight, bias = (
        torch.frombuffer(bytearray(values), dtype=torch.float32) for values in (trigger.weight, trigger.bias)
    )
    return (features @ weight + bias).max()


def check_router(inner: nn.Module, router: Router, name: str) -> None:
    """Raises ModelError for a router that was made for another base: one with more layers, or of another width.

    Tries on a short text that the layers can be read.
    """
    depth = depth_of(inner)
    if router.layers[-1] >= depth:
        raise ModelError(
            f"has {depth} layers, but a trigger reads after {router.layers[-1]}",
            context=name,
            hint="the bank was made for another base model",
        )
    with torch.inference_mode(False):
        found = features_of(inner, router.layers, [[0, 0]], None)[0]
    width = next(iter(found.values())).shape[-1] // FEATURES
    if width != router.hidden_size:
        raise ModelError(
            f"has hidden states of {width} values, but its trigger reads {router.hidden_size}",
            context=name,
            hint="the bank was made for another base model",
        )
