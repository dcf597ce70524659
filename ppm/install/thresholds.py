"""Where a trigger works on the next base: as far above ordinary prompts as on the base that it was fitted on.

Training a base on other text shifts what a trigger reads of every prompt, by about as much for those of its risk as for
others, so that the threshold finds more or fewer of both.
"""

from dataclasses import replace

import torch

from ppm.bank import Router
from ppm.composition.compose import ordinary_of
from ppm.evaluation.neutral import is_held_back
from ppm.jsonl import Text
from ppm.package import Package
from ppm.runtime.loading import LoadedBase
from ppm.runtime.model import attach, backbone_of
from ppm.runtime.router import EPSILON, scores_of
from ppm.runtime.text import encoder_of
from ppm.training.trigger import LEAST_PROMPTS

__all__ = ["on_next_base"]


def on_next_base(package: Package, old: LoadedBase, new: LoadedBase) -> Package:
    """The package with the threshold of its trigger moved from the old base to the new one.

    In log odds it is as many standard deviations above the mean of ordinary prompts as before: those of the package's
    retention and, for chats, the requests and sentences that ship with ppm. No prompt of a suite is read. A package
    without a trigger, or with several, stays as it is, and so does one with fewer than 30 such prompts.
    """
    router = package.bank.router
    rows = (*package.retention, *ordinary_of([package]))
    prompts = list(dict.fromkeys(row.prompt for row in rows if not is_held_back(row)))
    if router is None or len(router.triggers) != 1 or len(prompts) < LEAST_PROMPTS:
        return package
    [trigger] = router.triggers
    limit = float(torch.tensor(trigger.threshold, dtype=torch.double).logit(EPSILON))
    (before, spread), (after, wider) = (_moments(base, router, prompts) for base in (old, new))
    if not spread or (before, spread) == (after, wider):
        return package
    threshold = float(torch.tensor(after + (limit - before) * wider / spread, dtype=torch.double).sigmoid())
    moved = replace(router, triggers=(replace(trigger, threshold=threshold),))
    bank = package.bank.routed(moved)
    return replace(package, bank=bank, manifest=package.manifest.with_bank(bank.table))


def _moments(base: LoadedBase, router: Router, prompts: list[Text]) -> tuple[float, float]:
    """The mean and the standard deviation of the trigger's log odds."""
    encoder = encoder_of(base)
    texts = [encoder.prompt(prompt) for prompt in prompts]
    inner = backbone_of(attach(base.model, kept=base.kept)).inner
    scores = scores_of(inner, [router] * len(texts), texts)[router.layers, router.turn]
    odds = scores.of(router, texts).to(torch.double)
    return float(odds.mean()), float(odds.std())
