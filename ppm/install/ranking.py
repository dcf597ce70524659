"""How a candidate does on replay and retention prompts, where looking is free: the gate's prompts are not touched."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ppm.audit.candidates import PROMPT_TOKENS, Candidate
from ppm.audit.gate import margin_of
from ppm.audit.run import Subject
from ppm.bank import Bank
from ppm.composition.steps import Context
from ppm.composition.strategy import Strategy
from ppm.evaluation.results import Configuration, Outcome
from ppm.evaluation.runner import evaluate
from ppm.evaluation.scoring import ScoredText
from ppm.evaluation.suites import LoadedSuite
from ppm.evaluation.wellformed import is_well_formed, words_of
from ppm.jsonl import Prompt
from ppm.names import canonical_digest
from ppm.package import Package
from ppm.runtime.model import attach, backbone_of
from ppm.runtime.router import picks
from ppm.runtime.taps import depth_of
from ppm.training.retention import RETENTION_SCALE, retention_of

__all__ = ["Ranking", "candidate_of", "is_one_prefix", "rank"]

RANKING_PROMPTS = 100
SAMENESS, FEWEST_DIFFERENT = 0.2, 20
"""By what share a composition's answers may be fewer different ones than its specialist's, of so many at least: where
the specialist always says the same, so may a composition."""
ILL_FORMED, FEWEST_ILL_FORMED = 0.05, 5
"""Which share more of a composition's answers may be empty, broken or looping, or how many, if that is more."""


@dataclass(frozen=True)
class Ranking:
    """How a candidate does where looking is free. `score` below 1 is promising; lower is better.

    `rates`: for each suite (composition's failure rate, specialist's) on replay prompts; `divergence`: mean KL(base ||
    composition) on retention prompts, in nats a token; `poorer`: what its answers to replay prompts lose in variety and
    form, as a score and in words.
    """

    score: float
    rates: dict[str, tuple[float, float]]
    divergence: float
    poorer: tuple[float, str] = (0.0, "")

    @property
    def words(self) -> str:
        """What was found, in words."""
        if not self.rates:
            return self._diverges
        label, rate, specialist = self._nearest_to_failing
        return f"at worst {label} fails {rate:.2f}, where its patch alone fails {specialist:.2f}"

    @property
    def worst(self) -> str:
        """What speaks most against the candidate, in words."""
        if 0 < self.poorer[0] >= self.score:
            return self.poorer[1]
        if not self.rates:
            return self._diverges
        label, rate, specialist = self._nearest_to_failing
        return (
            f"{label} {rate:.2f}, against {specialist:.2f} for its specialist" if rate > specialist else self._diverges
        )

    @property
    def loss(self) -> float | None:
        """How much more often it fails than a patch alone, of the one that it loses most of; None without any."""
        if not self.rates:
            return None
        _, rate, specialist = self._nearest_to_failing
        return rate - specialist

    @property
    def _nearest_to_failing(self) -> tuple[str, float, float]:
        label, (rate, specialist) = max(self.rates.items(), key=lambda item: item[1][0] - item[1][1])
        return label, rate, specialist

    @property
    def _diverges(self) -> str:
        return f"benign texts diverge by {self.divergence:.2f} nats a token"


def rank(composition: Package, subject: Subject, context: Context, suites: Sequence[LoadedSuite]) -> Ranking:
    """A candidate on replay and retention prompts."""
    rates: dict[str, tuple[float, float]] = {}
    score, poorer = 0.0, (0.0, "")
    for specialist in context.specialists:
        rows = specialist.replay[:RANKING_PROMPTS]
        prompts = tuple(Prompt(str(i), pair.prompt) for i, pair in enumerate(rows))
        for suite in suites:
            if suite.owner != specialist.name or suite.suite.against != "specialist" or not prompts:
                continue
            if suite.needs_expected:  # which replay prompts don't have
                continue
            digest = canonical_digest([suite.digest, "ranking", [p.prompt for p in prompts]])
            ranking = replace(suite, prompts=prompts, digest=digest)
            both = [
                Configuration("specialist", specialist.bank),
                Configuration("composition", composition.bank),
            ]
            found = evaluate(subject.loaded, both, [ranking], placement=subject.placement, store=subject.store)
            own, alone = found["composition", ranking.digest], found["specialist", ranking.digest]
            rates[suite.label] = own.mean, alone.mean
            score = max(score, (own.mean - alone.mean) / margin_of(suite, subject.policy))
            poorer = max(poorer, *_poorer(suite.label, own, alone))
    divergence = 0.0
    if context.retention:
        divergence = _divergence(composition.bank, subject, context.retention)
    return Ranking(max(score, divergence / RETENTION_SCALE, poorer[0]), rates, divergence, poorer)


def _poorer(label: str, own: Outcome, alone: Outcome) -> list[tuple[float, str]]:
    """What a composition's answers to a suite's prompts lose beside the specialist's: scores, each with its words."""
    texts, before = ([text for given in one.completions for text in given] for one in (own, alone))
    different, other = (len(set(map(words_of, found))) for found in (texts, before))
    broken, broken_before = (sum(not is_well_formed(text) for text in found) for found in (texts, before))
    sameness = (other - different) / (SAMENESS * other) if other >= FEWEST_DIFFERENT else 0.0
    faults = (broken - broken_before) / max(ILL_FORMED * len(texts), FEWEST_ILL_FORMED)
    return [
        (sameness, f"{label} has {different} different answers, against {other} for its specialist"),
        (
            faults,
            f"{broken} of {label}'s answers are not well-formed, against {broken_before} of its specialist's",
        ),
    ]


def _divergence(bank: Bank, subject: Subject, texts: Sequence[ScoredText]) -> float:
    """Mean KL(base || composition) a token; on texts for which no trigger fires it is none."""
    model, router = subject.loaded.model, bank.router
    if router is None:
        return retention_of(model, bank, texts, subject.placement)
    inner = backbone_of(attach(model, kept=subject.loaded.kept)).inner
    picked = picks(inner, [router] * len(texts), [text.prompt for text in texts], subject.loaded.readings)
    moved = 0.0
    for blocks in sorted(set(picked) - {()}):
        own = [text for text, pick in zip(texts, picked, strict=True) if pick == blocks]
        moved += retention_of(model, bank.of_blocks(blocks), own, subject.placement) * _tokens(own)
    return moved / _tokens(texts)


def candidate_of(recipe: Strategy, composition: Package, ranking: Ranking, subject: Subject) -> Candidate:
    """A candidate's figures for a choice among several."""
    bank = composition.bank
    router, sizes = bank.router, [block.shape[0] for block in bank.blocks]
    one_block_a_prompt = router is not None and not router.several
    return Candidate(
        recipe.name,
        ranking.loss,
        _passes(bank, subject),
        max(sizes) if one_block_a_prompt else sum(sizes),
        recipe.cost,
        is_one_prefix(bank),
    )


def is_one_prefix(bank: Bank) -> bool:
    """Whether a bank is what exports take: one block, in front of every text."""
    return len(bank.blocks) == 1 and bank.table is None


def _passes(bank: Bank, subject: Subject) -> float:
    """How often a prompt of PROMPT_TOKENS tokens is run through the base's layers where a patch acts, at most.

    A prefix's own tokens are run once for all prompts. Behind a trigger, what follows the last turn is run again where
    the answer alone sees the block, and else all of the prompt, after the layers that the trigger reads.
    """
    router = bank.router
    if router is None:
        return 1.0
    depth = depth_of(backbone_of(attach(subject.loaded.model, kept=subject.loaded.kept)).inner)
    turns = [router.seen_after([number]) for number in range(len(bank.blocks))]
    again = [len(turn.closing) / PROMPT_TOKENS if turn else router.layers[-1] / depth for turn in turns]
    return 1 + max(again)


def _tokens(texts: Sequence[ScoredText]) -> int:
    return sum(len(text.completion) for text in texts)
