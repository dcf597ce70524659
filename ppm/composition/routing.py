"""Compositions behind triggers: one block where any of them fires, or each patch's own block where its own does."""

from collections.abc import Sequence
from dataclasses import replace

from ppm.bank import Bank, Router
from ppm.composition.operating import less_demanding, meets, trigger_demand
from ppm.composition.options import Route
from ppm.composition.steps import Context, Specialist, built_in
from ppm.errors import RequestError
from ppm.jsonl import Benign, normalised
from ppm.training.retention import RETENTION_SCALE, retention_of
from ppm.training.trigger import LEAST_PROMPTS, MOST_ALARMS, Example, examples
from ppm.training.triggers import fit_triggers

__all__ = ["behind_triggers", "route", "route_several"]

OTHERWISE = "use distilled, or auto"


@built_in("route")
def route(context: Context, bank: Bank | None, options: Route) -> Bank:
    """The patches' own blocks side by side: each prompt meets that of the patch whose trigger fires, or none.

    Of several triggers that fire, the one that is farthest above its threshold picks. A patch without a trigger gets
    one, which is fitted on its replay prompts, against those of the other patches and the retention prompts; no block
    is trained. Raises RequestError where a patch has no replay prompts or its trigger finds too little, or where
    triggers can't be put together.
    """
    return _routed(context)


@built_in("route-several")
def route_several(context: Context, bank: Bank | None, options: Route) -> Bank:
    """As `route`, but where triggers of several patches fire as clearly a prompt meets all their blocks, isolated."""
    routed = _routed(context)
    assert routed.router is not None
    return routed.routed(replace(routed.router, several=True))


def _routed(context: Context) -> Bank:
    if not context.conditional:
        raise RequestError('routing takes triggers, which [gates] trigger = "always" leaves out', hint=OTHERWISE)
    wide = [specialist.name for specialist in context.specialists if len(specialist.bank.blocks) > 1]
    if wide:
        raise RequestError(f"a patch of several blocks can't be routed: {', '.join(wide)}", hint=OTHERWISE)
    lacking = [specialist for specialist in context.specialists if specialist.bank.router is None]
    having = [specialist for specialist in context.specialists if specialist.bank.router is not None]
    shipped = _together(having, range(len(having))) if having else None
    if having and shipped is None:
        raise _unlike(having)
    routers = _fitted(context, lacking, shipped) if lacking else {}
    behind = [replace(s, bank=s.bank.routed(routers[s.name])) if s.name in routers else s for s in context.specialists]
    router = _together(behind, range(len(behind)))
    if router is None:
        raise _unlike(behind)
    return Bank(tuple(s.bank.blocks[0] for s in behind)).routed(router)


def _unlike(specialists: Sequence[Specialist]) -> RequestError:
    names = ", ".join(specialist.name for specialist in specialists)
    return RequestError(
        f"the triggers of {names} can't be put together: they read after different layers, or were made for different "
        "chat templates",
        hint=OTHERWISE,
    )


def _fitted(context: Context, lacking: Sequence[Specialist], shipped: Router | None) -> dict[str, Router]:
    """A router of one trigger for each of some patches, by its name; they read where the `shipped` ones do.

    Raises RequestError.
    """
    context.with_pairs("route", lacking)
    rows = {specialist.name: _examples(context, specialist) for specialist in lacking}
    concerned = {example.prompt for own in rows.values() for example in own if example.positive}
    others = {example.prompt for own in rows.values() for example in own} - concerned
    for name, own in rows.items():
        count = sum(example.positive for example in own)
        if min(count, len(others)) < LEAST_PROMPTS:
            raise RequestError(
                f"a trigger for {name} takes {LEAST_PROMPTS} prompts of its risk and as many that concern no patch; "
                f"the patches have {count} and {len(others)}",
                hint=OTHERWISE,
            )
    policy = context.policy
    fitted = fit_triggers(
        context.base,
        rows,
        costs=_costs(context, lacking),
        recall=policy.trigger_recall or 0.0,
        alarms=min(MOST_ALARMS, MOST_ALARMS if policy.trigger_alarms is None else policy.trigger_alarms),
        layers=shipped.layers if shipped is not None else (),
        turn=shipped.turn if shipped is not None else None,
    )
    context.notes["triggers"] = {name: found.record for name, found in fitted.items()}
    for name, found in fitted.items():
        if not meets(policy, found.at.recall, found.at.false_alarms):
            asked = f"no threshold is such that a trigger for {name} {trigger_demand(policy)}"
            raise RequestError(f"{asked}; it {found.words()}", hint=f"{less_demanding(policy)}, or {OTHERWISE}")
        if not found.ships:
            less = f"{less_demanding(policy)}, or " if policy.trigger_alarms is not None else ""
            raise RequestError(
                f"a trigger for {name} {found.words()}: too little for routing", hint=f"{less}{OTHERWISE}"
            )
    return {name: found.router for name, found in fitted.items()}


def _costs(context: Context, specialists: Sequence[Specialist]) -> dict[str, float]:
    """What a false alarm of a patch costs against a miss: how far it moves benign answers; 1 where nobody knows."""
    if not context.retention:
        return {}
    model, texts = context.base.model, context.retention
    return {s.name: retention_of(model, s.bank, texts, context.placement) / RETENTION_SCALE for s in specialists}


def _examples(context: Context, specialist: Specialist) -> list[Example]:
    """What a trigger is fitted on: the patch's replay prompts, against the other patches' and the benign ones.

    What several patches have counts for each of them.
    """
    own = {normalised(pair.prompt) for pair in specialist.replay}
    others = [pair for other in context.specialists if other.name != specialist.name for pair in other.replay]
    benign = (*context.benign, *(Benign(pair.prompt, extra=pair.extra) for pair in others))
    return examples(specialist.replay, [row for row in benign if normalised(row.prompt) not in own])


def behind_triggers(specialists: Sequence[Specialist], bank: Bank) -> Bank:
    """A composed bank behind the triggers of all its patches: it stands in front of a prompt where any of them fires.

    Where a patch has none its risk is everywhere, and the composition is always on; so it is where triggers read after
    different layers, or were made for two chat templates. A bank that has a router keeps it.
    """
    if bank.router is not None:
        return bank
    router = _together(specialists, [0] * len(specialists)) if len(bank.blocks) == 1 else None
    return bank.always_on if router is None else bank.always_on.routed(replace(router, answers_only=()))


def _together(specialists: Sequence[Specialist], blocks: Sequence[int]) -> Router | None:
    """The triggers of some patches as one router, each for a block; None where they can't be put together.

    Where some of them read sentences by themselves and others don't, all read wholes alone: then none fires more often
    than by itself.
    """
    routers = [specialist.bank.router for specialist in specialists]
    known = [router for router in routers if router is not None and len({t.block for t in router.triggers}) == 1]
    if len(known) < len(routers) or len({router.reads for router in known}) > 1:
        return None
    turns = {router.turn for router in known}
    triggers = (
        replace(trigger, block=block, patch=trigger.patch or specialist.name)
        for specialist, router, block in zip(specialists, known, blocks, strict=True)
        for trigger in router.triggers
    )
    return replace(
        known[0],
        triggers=tuple(triggers),
        turn=known[0].turn if len(turns) == 1 else known[0].reads[1],
        answers_only=tuple(block for router, block in zip(known, blocks, strict=True) if router.answers_only),
    )
