"""Leads: which of several triggers that fire picks, where publishers fitted these without knowing of each other.

How far a trigger is above its own threshold says how sure it is of its own patch, against prompts that concern none.
Two triggers can't be compared by that: one that fires on much stands in the way of another's patch. The prompts that
packages carry tell whose a prompt is. On those for which triggers of several patches fire, one number a patch is
fitted, which its triggers are taken to be farther ahead (multinomial logistic regression on intercepts alone). Whether
a trigger fires stays as it was.
"""

from collections import Counter
from collections.abc import Sequence

import torch

from ppm.bank import Router
from ppm.composition.steps import Specialist
from ppm.jsonl import Text, normalised
from ppm.runtime.loading import LoadedBase
from ppm.runtime.model import attach, backbone_of
from ppm.runtime.router import margins, scores_of
from ppm.runtime.text import encoder_of

__all__ = ["fit_leads", "leads_of"]

SPREAD = 3.0
"""The standard deviation, in log odds, that is expected of leads before any prompt is seen; on SmolLM2's patches 2 to 5
pick alike."""
STEP = 0.5
"""Leads are multiples of this, in log odds: finer than what tells triggers apart, and coarse enough that processors and
dtypes, which differ in the last digits of what triggers read, mostly make the same composition."""
ITERATIONS = 100


def leads_of(base: LoadedBase, router: Router, specialists: Sequence[Specialist]) -> tuple[float, ...]:
    """The lead of each patch, in log odds. `router` has the triggers of all: those of the i-th are for block i.

    Prompts that several patches carry count for none of them.
    """
    prompts = [{normalised(pair.prompt): pair.prompt for pair in specialist.replay} for specialist in specialists]
    carried = Counter(key for own in prompts for key in own)
    rows: list[tuple[int, Text]] = [
        (i, prompt) for i, own in enumerate(prompts) for key, prompt in own.items() if carried[key] == 1
    ]
    if len({i for i, _ in rows}) < 2:
        return (0.0,) * len(specialists)
    inner, encoder = backbone_of(attach(base.model, kept=base.kept)).inner, encoder_of(base)
    ids = [encoder.prompt(prompt, f"a prompt that {specialists[i].name} carries") for i, prompt in rows]
    read = scores_of(inner, [router] * len(ids), ids, base.readings)
    odds = read[router.layers, router.turn].of(router, ids)
    ahead = margins(router, odds)
    columns = [[t for t, trigger in enumerate(router.triggers) if trigger.block == i] for i in range(len(specialists))]
    return fit_leads(torch.stack([ahead[:, own].amax(-1) for own in columns], dim=-1), [i for i, _ in rows])


def fit_leads(ahead: torch.Tensor, owners: Sequence[int]) -> tuple[float, ...]:
    """What to add to each column of `ahead` (prompts, patches), so that the largest of a row is most often its owner's.

    `ahead` is how far triggers are above their thresholds, minus infinity where they don't fire. Each patch counts the
    same, however many prompts it has. A patch that no other one stands in the way of has a lead of 0.
    """
    own = torch.tensor(owners)
    counts = torch.bincount(own, minlength=ahead.shape[1])
    weights = (len(own) / (counts > 0).sum() / counts)[own].double()
    fired = ahead.isfinite()
    contested = fired.gather(1, own[:, None])[:, 0] & (fired.sum(-1) > 1)
    ahead, own, weights = ahead[contested].double(), own[contested], weights[contested]
    with torch.inference_mode(False), torch.enable_grad():
        leads = torch.zeros(ahead.shape[1], dtype=torch.double, requires_grad=True)
        optimizer = torch.optim.LBFGS([leads], max_iter=ITERATIONS, line_search_fn="strong_wolfe")

        def loss() -> torch.Tensor:
            optimizer.zero_grad()
            wrong = torch.nn.functional.cross_entropy(ahead + leads, own, reduction="none")
            total = (weights * wrong).sum() + leads.square().sum() / (2 * SPREAD**2)
            total.backward()  # type: ignore[no-untyped-call]
            return total

        if len(own):
            optimizer.step(loss)  # type: ignore[no-untyped-call]
    return tuple(round(lead / STEP) * STEP for lead in leads.tolist())
