"""How likely the prompts of suites concern a patch with a trigger, as its router reads them; kept as results are.

Needs no torch where all of it is kept.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ppm.bank import Bank, Router
from ppm.evaluation.measures.base import Answers
from ppm.evaluation.results import RESULTS_VERSION, Configuration, ResultStore
from ppm.evaluation.suites import LoadedSuite
from ppm.names import canonical_digest

if TYPE_CHECKING:
    from ppm.runtime.loading import LoadedBase

__all__ = ["TriggerScores", "trigger_scores"]

TriggerScores = dict[tuple[str, str], tuple[float, ...]]
"""By the name of a configuration and the digest of a suite: for each of its prompts the trigger's probability, or, of
several triggers, 1 where any of them fires and else 0."""


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
            found[configuration.name, suite.digest] = tuple(scores[prompt.id][0] for prompt in suite.prompts)
    return found


def _key(bank: Bank, suite: LoadedSuite, store: ResultStore | None) -> str:
    weights = store.weights if store else ""
    return canonical_digest(["trigger", RESULTS_VERSION, weights, bank.digest, suite.digest]).removeprefix("sha256:")


def _read(base: "LoadedBase", routers: Sequence[Router], suite: LoadedSuite) -> list[Answers]:
    """The scores of a suite's prompts by each router; every prompt is read once for all that read alike."""
    import torch  # which an audit whose results are kept does without

    from ppm.runtime.model import attach, backbone_of
    from ppm.runtime.router import fires, scores_of
    from ppm.runtime.text import encoder_of

    encoder, inner = encoder_of(base), backbone_of(attach(base.model, kept=base.kept)).inner
    ids = [encoder.prompt(p.prompt, f"the suite {suite.suite.name!r}, prompt {p.id!r}") for p in suite.prompts]
    read = scores_of(inner, [router for router in routers for _ in ids], [*ids] * len(routers), base.readings)
    found: list[Answers] = []
    for router in routers:
        odds = read[router.layers, router.turn].of(router, ids)
        scores = torch.sigmoid(odds[:, 0]) if odds.shape[1] == 1 else fires(router, odds).any(-1).float()
        found.append({p.id: (float(score), ()) for p, score in zip(suite.prompts, scores, strict=True)})
    return found
