"""How routers read the prompts of suites: how likely these concern a patch, and which blocks they meet; kept as
results are.

Needs no torch where all of it is kept.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ppm.bank import Bank, Router
from ppm.evaluation.measures.base import Answers
from ppm.evaluation.results import RESULTS_VERSION, Configuration, ResultStore
from ppm.evaluation.suites import LoadedSuite
from ppm.names import canonical_digest

if TYPE_CHECKING:
    from ppm.runtime.loading import LoadedBase

__all__ = ["TriggerScores", "Triggered", "trigger_scores"]


class Triggered(NamedTuple):
    """What a router makes of a prompt.

    `score` is the trigger's probability, or, of several triggers, 1 where any of them fires and else 0. `blocks` are
    the numbers of those that the prompt meets; none is the base itself.
    """

    score: float
    blocks: tuple[int, ...]


TriggerScores = dict[tuple[str, str], tuple[Triggered, ...]]
"""By the name of a configuration and the digest of a suite: one for each of its prompts."""


def trigger_scores(
    base: "Callable[[], LoadedBase]",
    configurations: Sequence[Configuration],
    suites: Sequence[LoadedSuite],
    store: ResultStore | None,
) -> TriggerScores:
    """The scores of every prompt under every configuration that has a router. Raises ModelError."""
    found: TriggerScores = {}
    routed = [configuration for configuration in configurations if configuration.bank.router is not None]
    for suite in suites if routed else ():
        sealed = bool(suite.suite.sealed)
        kept = {c.name: store.get(_key(c.bank, suite, store), private=sealed) if store else {} for c in routed}
        lacking = [c for c in routed if not all(prompt.id in kept[c.name] for prompt in suite.prompts)]
        if lacking:
            fresh = _read(base(), [c.bank.router for c in lacking if c.bank.router is not None], suite)
            for configuration, answers in zip(lacking, fresh, strict=True):
                kept[configuration.name] = answers
                if store:
                    store.put(_key(configuration.bank, suite, store), answers, private=sealed)
        for configuration in routed:
            scores = kept[configuration.name]
            found[configuration.name, suite.digest] = tuple(_triggered(*scores[p.id]) for p in suite.prompts)
    return found


def _triggered(score: float, blocks: tuple[str, ...]) -> Triggered:
    """From how it is kept, where the numbers of blocks have the place of completions."""
    return Triggered(score, tuple(map(int, blocks)))


def _key(bank: Bank, suite: LoadedSuite, store: ResultStore | None) -> str:
    weights = store.weights if store else ""
    return canonical_digest(["triggered", RESULTS_VERSION, weights, bank.digest, suite.digest]).removeprefix("sha256:")


def _read(base: "LoadedBase", routers: Sequence[Router], suite: LoadedSuite) -> list[Answers]:
    """The scores of a suite's prompts by each router; every prompt is read once for all that read alike."""
    import torch  # which an audit whose results are kept does without

    from ppm.runtime.model import attach, backbone_of
    from ppm.runtime.router import picked_of, scores_of
    from ppm.runtime.text import encoder_of

    encoder, inner = encoder_of(base), backbone_of(attach(base.model, kept=base.kept)).inner
    ids = [encoder.prompt(p.prompt, f"the suite {suite.suite.name!r}, prompt {p.id!r}") for p in suite.prompts]
    read = scores_of(inner, [router for router in routers for _ in ids], [*ids] * len(routers), base.readings)
    found: list[Answers] = []
    for router in routers:
        odds = read[router.layers, router.turn].of(router, ids)
        blocks = [picked_of(router, row) for row in odds]
        scores = torch.sigmoid(odds[:, 0]).tolist() if odds.shape[1] == 1 else [float(bool(met)) for met in blocks]
        rows = zip(suite.prompts, scores, blocks, strict=True)
        found.append({p.id: (score, tuple(map(str, met))) for p, score, met in rows})
    return found
