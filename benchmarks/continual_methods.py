"""Classic methods of continual learning, for prefixes: what each makes of one more patch.

All go on from the first patch's own prefix, but for the pool, which learns that patch, too. All have what packages
carry: they learn the chosen answers of 150 pairs a patch, with one optimiser and without DPO, and are held to the base
by KL(base || patched) on the benign prompts of all patches so far. Nothing tells them which patch a prompt concerns.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from ppm.bank import EMPTY, Bank, Router, Trigger
from ppm.composition.compose import make_context
from ppm.composition.recipe import run_strategy
from ppm.composition.steps import Context, Parent, Specialist
from ppm.composition.strategy import read_strategy
from ppm.evaluation.scoring import ScoredText
from ppm.package import Package
from ppm.runtime.loading import LoadedBase
from ppm.runtime.model import attach, backbone_of
from ppm.runtime.router import features_of
from ppm.runtime.tensors import bank_of
from ppm.runtime.text import encoder_of
from ppm.training.material import features_on
from ppm.training.passes import Reader, View, divergences, log_probabilities_of, reader_of
from ppm.training.trigger import layers_on

BATCH = 12
BENIGN_WEIGHT = 3.0
"""As in ppm's own steps."""
POOL_SIZE = 6
SPREAD = 10.0
"""How far from 0, in log odds, the scores of a pool's keys reach on the prompts that they were trained on."""


@dataclass(frozen=True)
class Settings:
    """How a classic method learns one more patch. `weight` is that of what holds it to what it has learned."""

    steps: int = 150
    learning_rate: float = 2e-2
    weight: float = 1.0


@dataclass(frozen=True)
class World:
    """The patches of one run in their order, as classic methods see them: texts to learn, texts to stay the same on."""

    context: Context
    settings: Settings
    seed: int
    banks: tuple[Bank, ...] = ()
    """What there was right after each earlier patch."""

    @property
    def patches(self) -> tuple[Specialist, ...]:
        """The patches that have arrived, the newest last."""
        return self.context.specialists

    def texts(self, patch: Specialist) -> list[ScoredText]:
        """The chosen answers that a package carries."""
        encoder = encoder_of(self.context.base)
        return [ScoredText(encoder.prompt(p.prompt), encoder.answer(p.prompt, p.chosen)) for p in patch.replay]

    @property
    def earlier(self) -> list[ScoredText]:
        """Those of all patches but the newest."""
        return [text for patch in self.patches[:-1] for text in self.texts(patch)]

    def reader(self, bank: Bank = EMPTY) -> Reader:
        """How the base is read behind a bank."""
        banks = [bank] if bank else []
        return reader_of(attach(self.context.base.model, banks, placement=self.context.placement))

    def start(self, patch: Specialist) -> torch.Tensor:
        """What a new prefix starts from: the text that its patch started from."""
        return patch.initial if patch.initial is not None else self.context.prefix(patch.bank)


@dataclass(frozen=True)
class Term:
    """A part of a loss: texts whose tokens are learned, or, with a view, on which a model stays as it was there."""

    texts: Sequence[ScoredText]
    weight: float = 1.0
    view: View | None = None

    def loss(self, reader: Reader, chosen: Sequence[ScoredText]) -> torch.Tensor:
        """The mean over the tokens of some of its texts, in nats."""
        hidden = reader.hidden(chosen)
        if self.view is not None:
            return divergences(reader, hidden, self.view.reader, self.view.hidden(chosen)).mean()
        tokens = torch.tensor([token for text in chosen for token in text.completion], device=hidden.device)
        return -log_probabilities_of(reader, hidden, tokens).mean()


def batches(texts: Sequence[ScoredText], size: int, rng: random.Random) -> Iterator[list[ScoredText]]:
    """Without end, each text once before any comes again."""
    left: list[ScoredText] = []
    while True:
        while len(left) < size:
            left += rng.sample(list(texts), len(texts))
        yield left[:size]
        left = left[size:]


def descend(parameters: Sequence[torch.Tensor], settings: Settings, loss: Callable[[], torch.Tensor]) -> None:
    """AdamW on one cycle, as ppm's own stages."""
    optimizer = torch.optim.AdamW(list(parameters), lr=settings.learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=settings.learning_rate, total_steps=settings.steps + 1
    )
    for _ in range(settings.steps):
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss())
        torch.nn.utils.clip_grad_norm_(list(parameters), 1.0)
        optimizer.step()
        schedule.step()


def benign(world: World) -> Term:
    """What all methods have in common: on benign texts they stay as the base."""
    return Term(world.context.retention, BENIGN_WEIGHT, View(world.reader(), world.context.retention))


def learned(world: World, start: torch.Tensor, terms: Sequence[Term], frozen: int = 0) -> Bank:
    """One prefix trained on the sum of some terms and on benign texts; its first `frozen` tokens stay."""
    context = world.context
    patched = attach(context.base.model, [start], placement=context.placement, trainable=True)
    [prefix], reader = backbone_of(patched).bank, reader_of(patched)
    if frozen:
        mask = torch.ones(len(prefix), 1)
        mask[:frozen] = 0
        prefix.register_hook(lambda gradient: gradient * mask)
    rng, every = random.Random(world.seed), [*terms, benign(world)]
    drawn = [batches(term.texts, BATCH, rng) for term in every]
    descend(
        [prefix],
        world.settings,
        lambda: torch.stack(
            [term.weight * term.loss(reader, next(draw)) for term, draw in zip(every, drawn, strict=True)]
        ).sum(),
    )
    return bank_of(prefix)


def sequential(world: World, bank: Bank) -> Bank:
    """Fine-tuning on the newest patch's answers."""
    return learned(world, world.context.prefix(bank), [Term(world.texts(world.patches[-1]))])


def replay(world: World, bank: Bank) -> Bank:
    """The same, with as many of the earlier patches' answers."""
    return learned(world, world.context.prefix(bank), [Term(world.texts(world.patches[-1])), Term(world.earlier)])


def derpp(world: World, bank: Bank) -> Bank:
    """The same, and on each earlier patch's answers it stays as it was right after that patch: by all logits.

    It is held by KL, where the paper has the squared distance of logits.
    """
    held = []
    for patch, then in zip(world.patches, world.banks, strict=False):
        texts = world.texts(patch)
        held.append(Term(texts, world.settings.weight / len(world.banks), View(world.reader(then), texts)))
    terms = [Term(world.texts(world.patches[-1])), Term(world.earlier)]
    return learned(world, world.context.prefix(bank), [*terms, *held])


def lwf(world: World, bank: Bank) -> Bank:
    """Learning without forgetting: no pairs of earlier patches are kept; it stays as it was on the newest's texts.

    The paper's tasks have heads of their own, so that learning and staying are not at odds; here there is one.
    """
    texts = world.texts(world.patches[-1])
    before = View(world.reader(bank), texts)
    return learned(world, world.context.prefix(bank), [Term(texts), Term(texts, world.settings.weight, before)])


def progressive(world: World, bank: Bank) -> Bank:
    """What is there is frozen, and a new block after it learns the newest patch's answers.

    The paper tests a task with the blocks that there were when it was learned, which takes knowing the task, and puts
    new blocks first; here all blocks stand in front of every prompt, and those that are frozen see no newer one.
    """
    context = world.context
    start = torch.cat([context.prefix(bank), world.start(world.patches[-1])])
    return learned(world, start, [Term(world.texts(world.patches[-1]))], frozen=bank.virtual_tokens)


@dataclass
class Pool:
    """Blocks with keys: each prompt meets the one whose key is nearest to it, by the angle between them.

    L2P lets it meet several. As there, keys are drawn to the prompts that choose them, and blocks that were used much
    for earlier patches are chosen less in training. The query is what ppm's triggers read, from the mean over benign
    prompts.
    """

    blocks: list[torch.Tensor]
    keys: torch.Tensor
    used: torch.Tensor
    layers: tuple[int, ...]
    middle: torch.Tensor
    reach: float = 1.0

    @classmethod
    def new(cls, world: World) -> "Pool":
        """Blocks and keys that have learned nothing yet."""
        context, generator = world.context, torch.Generator().manual_seed(world.seed)
        layers = layers_on(context.base)
        read = features_on(context.base, [row.prompt for row in context.benign][:200], layers, None)
        middle = torch.cat(read).mean(0)
        start = world.start(world.patches[0])
        blocks = [start + 0.1 * start.std() * torch.randn(start.shape, generator=generator) for _ in range(POOL_SIZE)]
        keys = torch.randn(POOL_SIZE, len(middle), generator=generator)
        return cls(blocks, keys, torch.ones(POOL_SIZE), layers, middle)

    def queries(self, world: World, texts: Sequence[ScoredText]) -> torch.Tensor:
        """Where the prompts of some texts stand from the mean of benign ones: (texts, features)."""
        inner = backbone_of(attach(world.context.base.model)).inner
        read = features_of(inner, self.layers, [text.prompt for text in texts], None)
        return torch.stack([torch.cat([own[layer][-1] for layer in self.layers]) for own in read]) - self.middle

    def learn(self, world: World) -> None:
        """The newest patch's answers, and on benign texts to stay as the base, each with the block that it meets."""
        context, terms = world.context, [Term(world.texts(world.patches[-1])), benign(world)]
        place: dict[ScoredText, torch.Tensor] = {}
        for term in terms:
            away = self.queries(world, term.texts)
            self.reach = max(self.reach, float(away.norm(dim=1).max()))
            place |= dict(zip(term.texts, torch.nn.functional.normalize(away), strict=True))
        patched = [
            attach(context.base.model, [block], placement=context.placement, trainable=True) for block in self.blocks
        ]
        blocks, readers = [backbone_of(one).bank[0] for one in patched], [reader_of(one) for one in patched]
        keys = self.keys.clone().requires_grad_()
        rng, chosen = random.Random(world.seed), torch.zeros(POOL_SIZE)
        drawn = [batches(term.texts, BATCH, rng) for term in terms]

        def loss() -> torch.Tensor:
            total = torch.zeros(())
            for term, draw in zip(terms, drawn, strict=True):
                batch = next(draw)
                near = torch.stack([place[text] for text in batch]) @ torch.nn.functional.normalize(keys).T
                met = ((1 - near.detach()) * self.used / self.used.sum()).argmin(1)
                total = total + (1 - near.gather(1, met[:, None])).mean()
                for block in sorted(set(met.tolist())):
                    part = [text for text, m in zip(batch, met.tolist(), strict=True) if m == block]
                    chosen[block] += len(part)
                    total = total + term.weight * term.loss(readers[block], part) * len(part) / len(batch)
            return total

        descend([*blocks, keys], world.settings, loss)
        self.blocks, self.keys = [block.detach().clone() for block in blocks], keys.detach()
        self.used = self.used + chosen

    @property
    def bank(self) -> Bank:
        """The same as a routed bank, of triggers that always fire: the nearest key's does most."""
        towards = torch.nn.functional.normalize(self.keys) * (SPREAD / self.reach)
        triggers = tuple(
            Trigger(1e-9, key.numpy().tobytes(), (-key @ self.middle)[None].numpy().tobytes(), block=i)
            for i, key in enumerate(towards)
        )
        blocks = tuple(bank_of(block).blocks[0] for block in self.blocks)
        return Bank(blocks).routed(Router(triggers, self.layers))


METHODS = {"sequential": sequential, "replay": replay, "derpp": derpp, "lwf": lwf, "progressive": progressive}


def stages(method: str, base: LoadedBase, packages: Sequence[Package], settings: Settings, seed: int) -> Iterator[Bank]:
    """What a method has after each patch."""
    pool, bank, banks = None, packages[0].bank, list[Bank]()
    for count in range(1, len(packages) + 1):
        context = make_context(packages[:count], base, seed=seed)
        world = World(context, settings, seed, tuple(banks))
        if method == "pool":
            pool = pool or Pool.new(world)
            pool.learn(world)
            bank = pool.bank
        elif count > 1 and method in METHODS:
            bank = METHODS[method](world, bank)
        elif count > 1:
            parent = Parent(bank, bank.digest) if method == "continued" else None
            bank = run_strategy(read_strategy(method), replace(context, parent=parent))
        banks.append(bank)
        yield bank
