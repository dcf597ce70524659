"""How a candidate does on replay and retention prompts, where looking is free: the gate's prompts are not touched."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ppm.audit.gate import margin_of
from ppm.audit.run import Subject
from ppm.bank import Bank
from ppm.composition.steps import Context
from ppm.evaluation.results import Configuration
from ppm.evaluation.runner import evaluate
from ppm.evaluation.scoring import ScoredText
from ppm.evaluation.suites import LoadedSuite
from ppm.jsonl import Prompt
from ppm.names import canonical_digest
from ppm.package import Package
from ppm.runtime.model import attach, backbone_of
from ppm.runtime.router import picks
from ppm.training.retention import RETENTION_SCALE, retention_of

__all__ = ["Ranking", "rank"]

RANKING_PROMPTS = 100


@dataclass(frozen=True)
class Ranking:
    """How a candidate does where looking is free. `score` below 1 is promising; lower is better.

    `rates`: for each suite (composition's failure rate, specialist's) on replay prompts; `divergence`: mean KL(base ||
    composition) on retention prompts, in nats a token.
    """

    score: float
    rates: dict[str, tuple[float, float]]
    divergence: float

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
        if not self.rates:
            return self._diverges
        label, rate, specialist = self._nearest_to_failing
        return (
            f"{label} {rate:.2f}, against {specialist:.2f} for its specialist" if rate > specialist else self._diverges
        )

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
    score = 0.0
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
            pair_of = found["composition", ranking.digest].mean, found["specialist", ranking.digest].mean
            rates[suite.label] = pair_of
            score = max(score, (pair_of[0] - pair_of[1]) / margin_of(suite, subject.policy))
    divergence = 0.0
    if context.retention:
        divergence = _divergence(composition.bank, subject, context.retention)
    return Ranking(max(score, divergence / RETENTION_SCALE), rates, divergence)


def _divergence(bank: Bank, subject: Subject, texts: Sequence[ScoredText]) -> float:
    """Mean KL(base || composition) a token; on texts for which no trigger fires it is none."""
    model, router = subject.loaded.model, bank.router
    if router is None:
        return retention_of(model, bank, texts, subject.placement)
    inner = backbone_of(attach(model, kept=subject.loaded.kept)).inner
    picked = picks(inner, [router] * len(texts), [text.prompt for text in texts])
    moved = 0.0
    for blocks in sorted(set(picked) - {()}):
        own = [text for text, pick in zip(texts, picked, strict=True) if pick == blocks]
        moved += retention_of(model, bank.of_blocks(blocks), own, subject.placement) * _tokens(own)
    return moved / _tokens(texts)


def _tokens(texts: Sequence[ScoredText]) -> int:
    return sum(len(text.completion) for text in texts)
