"""Whether a patch with a trigger is for answers alone: the prompt is read as by the base then, and so only once.

Both ways are tried on ranking prompts, by what `ppm.training.choice` says of stages. A prefix was trained in front of
whole texts, and one that bends how the prompt is read may do nothing to the answer alone.
"""

from collections.abc import Sequence
from dataclasses import replace

from ppm.bank import Bank
from ppm.evaluation.results import ResultStore
from ppm.evaluation.suites import LoadedSuite
from ppm.jsonl import Text
from ppm.manifest import Placement
from ppm.runtime.answers import answers_alone
from ppm.runtime.loading import LoadedBase
from ppm.training.choice import WORSE_RATE, Figures, compare
from ppm.training.context import Tell

__all__ = ["for_answers"]

WHOLE, ANSWERS = "whole", "answers"


def for_answers(
    base: LoadedBase,
    bank: Bank,
    suites: Sequence[LoadedSuite],
    prompts: Sequence[Text],
    *,
    placement: Placement,
    store: ResultStore | None = None,
    tell: Tell = lambda text: None,
) -> tuple[Bank, dict[str, object]]:
    """A bank behind a trigger as it does better, and what provenance says of that: seen by the answer alone, or by all.

    `prompts` are ranking prompts of the risk, and of the `suites` only judge and decoding are used. By the answer alone
    unless that fails more of them, by a share of 0.02 and two prompts. A bank without a trigger, without anything to
    try it on, or trained for answers alone, is left as it is.
    """
    router = bank.router
    if router is None or router.turn is None or router.answers_only or not prompts or not suites:
        return bank, {}
    if not answers_alone(base.model, placement):
        return bank, {}
    answers = bank.routed(replace(router, answers_only=(0,)))
    ways = {WHOLE: bank.always_on, ANSWERS: answers.where_picked}
    tell(f"Trying the prefix for answers alone on {len(prompts)} ranking prompts")
    figures = compare(base, tuple(ways.items()), suites, prompts, (), placement=placement, store=store)
    found = {way: figures[way] for way in ways}
    best = ANSWERS if _as_good(found[ANSWERS], found[WHOLE], len(prompts)) else WHOLE
    rates = f"{found[ANSWERS].unfit:.3f} of them fail or are not coherent, {found[WHOLE].unfit:.3f}"
    tell(
        f"The answer alone sees the prefix, so a prompt is read once: {rates} where the prompt does, too"
        if best == ANSWERS
        else f"The prompt sees the prefix, too: where the answer alone does, {rates} here"
    )
    record = {"ships": best, **{way: one.record() for way, one in found.items()}}
    return answers if best == ANSWERS else bank, {"seen_by": record}


def _as_good(answers: Figures, whole: Figures, prompts: int) -> bool:
    return answers.unfit < whole.unfit + max(WORSE_RATE, 2 / prompts)
