"""What triggers are fitted on: examples as wholes, and the sentences of prompts that ask several things.

A request may hide among others, and a trigger that has only seen one at a time then misses it. Where a chat's template
says what its user says, each sentence is read by itself, too. What a sentence looks like among others is learned from
compounds: two to four examples, one after the other, of which at most one concerns a patch. Their sentences stand for
the examples that they come from. Nothing is put between them but white space, so that any language will do.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ppm.bank_table import Turn
from ppm.jsonl import Text, last_turn
from ppm.runtime.loading import LoadedBase
from ppm.runtime.model import attach, backbone_of
from ppm.runtime.router import batches, features_of, readings_of
from ppm.runtime.text import TextEncoder, encoder_of
from ppm.runtime.turns import turn_of

__all__ = ["FOLDS", "Compound", "Material", "Read", "features_on", "gather"]

FOLDS = 5
MOST_COMPOUNDS, LEAST_COMPOUNDS = 750, 30
"""Of either kind. Where there are fewer, nothing is read by sentences."""
MOST_SENTENCES = 8
"""Of an example that concerns no patch so many are fitted on at most."""
LONGEST_PART = 250
"""How many characters a part has at most."""
MOST_PARTS = 4
JOINTS = (" ", "\n", "\n\n")
WHAT = "a prompt of the trigger's"
Fit = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""Of features (M, F) and of which example each is (M,): weight (F, *K) and bias."""

Read = Callable[[Sequence[Text], Turn | None], list[torch.Tensor]]
"""Of prompts and a turn, what `features_on` gives."""


@dataclass(frozen=True)
class Compound:
    """A prompt of several examples: which example each of its sentences is of, and the fold that all of them are in."""

    prompt: Text
    parts: tuple[int, ...]
    fold: int


@dataclass(frozen=True)
class Material:
    """What is read of N examples and of compounds of them, in features as `features_on` gives them.

    `concerned` and `folds` (N,) say whether an example concerns any patch, and in which fold it is held out. `turn` is
    what the triggers are to read.
    """

    layers: tuple[int, ...]
    turn: Turn | None
    concerned: torch.Tensor
    folds: torch.Tensor
    readings: Sequence[torch.Tensor]
    compounds: Sequence[Compound] = ()
    compound_readings: Sequence[torch.Tensor] = ()

    @property
    def wholes(self) -> "Material":
        """The same, for triggers that read wholes alone."""
        turn = None if self.turn is None else self.turn.whole
        return Material(self.layers, turn, self.concerned, self.folds, [own[:1] for own in self.readings])

    @property
    def risky(self) -> torch.Tensor:
        """Whether each compound (C,) concerns a patch."""
        return torch.tensor([bool(self.concerned[list(c.parts)].any()) for c in self.compounds], dtype=torch.bool)

    def fitted(self, fit: Fit, without: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """What `fit` makes of everything, or of all but one fold.

        These are the examples as wholes, the sentences of those that concern no patch, and those of compounds.
        """
        rows: list[torch.Tensor] = []
        of: list[int] = []
        for i, own in enumerate(self.readings):
            if int(self.folds[i]) != without:
                kept = own[:1] if self.concerned[i] else own[: 1 + MOST_SENTENCES]
                rows.append(kept)
                of += [i] * len(kept)
        for compound, own in zip(self.compounds, self.compound_readings, strict=True):
            if compound.fold != without:
                rows.append(own[1:])
                of += compound.parts
        return fit(torch.cat(rows), torch.tensor(of))

    def held_out(self, fit: Fit) -> tuple[torch.Tensor, torch.Tensor]:
        """The log odds of each example (N, *K) and each compound (C, *K), by what was fitted without its fold.

        They are 0 where all examples are in one fold.
        """
        odds: dict[int, torch.Tensor] = {}
        hidden: dict[int, torch.Tensor] = {}
        folds = self.folds.tolist()
        for fold in sorted(set(folds)):
            if bool((self.folds != fold).any()):
                weight, bias = self.fitted(fit, without=fold)
            else:
                weight, bias = (0 * part for part in self.fitted(fit))
            for i in (i for i, own in enumerate(folds) if own == fold):
                odds[i] = _highest(self.readings[i], weight, bias)
            for i in (i for i, own in enumerate(self.compounds) if own.fold == fold):
                hidden[i] = _highest(self.compound_readings[i], weight, bias)
        return (
            torch.stack([odds[i] for i in sorted(odds)]),
            torch.stack([hidden[i] for i in sorted(hidden)]) if hidden else torch.zeros(0, *odds[0].shape),
        )


def _highest(readings: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """The log odds of a prompt (*K) are the highest of its readings' (R, F), as a router has it."""
    return (readings @ weight + bias).reshape(len(readings), *weight.shape[1:]).amax(0)


def gather(
    base: LoadedBase,
    prompts: Sequence[Text],
    concerned: torch.Tensor,
    folds: torch.Tensor,
    layers: tuple[int, ...],
    *,
    turn: Turn | None = None,
    read: Read | None = None,
) -> Material:
    """Reads some prompts, and compounds that are made of them.

    `concerned` (N,) says whether each concerns a patch, and `folds` (N,) when it is held out. `turn` is what the
    triggers have to read, as others do already, and by default the base's own; without its sentences where there are
    too few compounds. `read` reads prompts in place of `features_on`.
    """
    reads = turn or turn_of(base.tokenizer)
    made = _compounds(encoder_of(base), prompts, concerned, folds, reads) if reads is not None and reads.ends else []
    if reads is not None and not made:
        reads = reads.whole
    texts = [*prompts, *(compound.prompt for compound in made)]
    every = features_on(base, texts, layers, reads) if read is None else read(texts, reads)
    return Material(layers, reads, concerned, folds, every[: len(prompts)], made, every[len(prompts) :])


def features_on(
    base: LoadedBase, prompts: Sequence[Text], layers: Sequence[int], turn: Turn | None
) -> list[torch.Tensor]:
    """Of the last thing that is said in each prompt the features (R, F), F = 3 * hidden_size for each layer.

    Of its R readings the first is the whole, and the others are its sentences, if it has several.
    """
    encoder, inner = encoder_of(base), backbone_of(attach(base.model, kept=base.kept)).inner
    ids = [encoder.prompt(prompt, WHAT) for prompt in prompts]
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    found: dict[int, torch.Tensor] = {}
    for places in batches([len(ids[i]) for i in order]):
        chosen = [order[place] for place in places]
        for i, own in zip(chosen, features_of(inner, layers, [ids[i] for i in chosen], turn), strict=True):
            last = len(readings_of(ids[i], turn)[-1])
            found[i] = torch.cat([own[layer][-last:].cpu() for layer in layers], dim=1)
    return [found[i] for i in range(len(ids))]


def _compounds(
    encoder: TextEncoder, prompts: Sequence[Text], concerned: torch.Tensor, folds: torch.Tensor, turn: Turn
) -> list[Compound]:
    """As many with one part that concerns a patch as with none; nothing at all if there are few."""
    counts = [_sentences(encoder, prompt, turn) if _is_part(prompt) else 0 for prompt in prompts]
    random_, found = random.Random(0), list[Compound]()
    for fold in sorted(set(folds.tolist())):
        inside = [i for i, count in enumerate(counts) if count and int(folds[i]) == fold]
        risky = [i for i in inside if concerned[i] and counts[i] == 1]
        others = [i for i in inside if not concerned[i]]
        if len(others) < MOST_PARTS:
            continue
        for first in random_.sample(risky, min(MOST_COMPOUNDS // FOLDS, len(risky))):
            size = random_.randint(2, MOST_PARTS)
            for chosen in ([first, *random_.sample(others, size - 1)], random_.sample(others, size)):
                random_.shuffle(chosen)
                prompt: Text = (("user", random_.choice(JOINTS).join(last_turn(prompts[i]) for i in chosen)),)
                parts = tuple(i for i in chosen for _ in range(counts[i]))
                if _sentences(encoder, prompt, turn) == len(parts):
                    found.append(Compound(prompt, parts, fold))
    risks = sum(bool(concerned[list(compound.parts)].any()) for compound in found)
    return found if min(risks, len(found) - risks) >= LEAST_COMPOUNDS else []


def _is_part(prompt: Text) -> bool:
    alone = not isinstance(prompt, str) and [role for role, _ in prompt] == ["user"]
    return alone and len(last_turn(prompt)) <= LONGEST_PART


def _sentences(encoder: TextEncoder, prompt: Text, turn: Turn) -> int:
    return max(1, len(readings_of(encoder.prompt(prompt, WHAT), turn)[-1]) - 1)
