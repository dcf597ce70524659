"""Compositions behind triggers: one block where any of them fires, or each patch's own block where its own does."""

from collections.abc import Sequence
from dataclasses import replace

from ppm.bank import Bank, Router
from ppm.composition.options import Route
from ppm.composition.steps import Context, Specialist, built_in
from ppm.errors import RequestError

__all__ = ["behind_triggers", "route"]


@built_in("route")
def route(context: Context, bank: Bank | None, options: Route) -> Bank:
    """The patches' own blocks side by side: each prompt meets that of the patch whose trigger fires, or none.

    Of several triggers that fire, the one that is farthest above its threshold picks. Nothing is trained. Raises
    RequestError where a patch has no trigger, or triggers can't be put together.
    """
    router = _together(context.specialists, range(len(context.specialists)))
    if router is None:
        lacking = [s.name for s in context.specialists if s.bank.router is None]
        why = f"{', '.join(lacking)} has none" if lacking else "the patches' triggers can't be put together"
        raise RequestError(f"routing takes a trigger of every patch, and {why}", hint="use distilled, or auto")
    return Bank(tuple(s.bank.blocks[0] for s in context.specialists)).routed(router)


def behind_triggers(specialists: Sequence[Specialist], bank: Bank) -> Bank:
    """A composed bank behind the triggers of all its patches: it stands in front of a prompt where any of them fires.

    Where a patch has none its risk is everywhere, and the composition is always on; so it is where triggers read after
    different layers, or were made for two chat templates. A bank that has a router keeps it.
    """
    if bank.router is not None:
        return bank
    router = _together(specialists, [0] * len(specialists)) if len(bank.blocks) == 1 else None
    return bank.joined if router is None else bank.joined.routed(router)


def _together(specialists: Sequence[Specialist], blocks: Sequence[int]) -> Router | None:
    """The triggers of some patches as one router, each for a block; None where they can't be put together."""
    routers = [specialist.bank.router for specialist in specialists]
    known = [router for router in routers if router is not None and len({t.block for t in router.triggers}) == 1]
    if len(known) < len(routers) or len({(router.layers, router.turn) for router in known}) > 1:
        return None
    triggers = (
        replace(trigger, block=block, patch=trigger.patch or specialist.name)
        for specialist, router, block in zip(specialists, known, blocks, strict=True)
        for trigger in router.triggers
    )
    return replace(known[0], triggers=tuple(triggers))
