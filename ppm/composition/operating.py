"""Where a trigger works: as its patch was built, or as the deployer's policy asks. Needs no torch."""

from collections.abc import Mapping
from dataclasses import replace

from ppm.bank import Bank
from ppm.errors import RequestError
from ppm.package import Package
from ppm.project import Gates

__all__ = ["bank_under", "less_demanding", "meets", "trigger_demand"]

COLUMNS = ("threshold", "recall", "false_alarms")
TOLERANCE = 1e-6
"""What shares in float32 leave open."""


def bank_under(package: Package, policy: Gates) -> Bank:
    """A patch's bank under a policy: always on, or with a threshold that finds as much of the risk as is asked for, and
    fires on no more of the ordinary prompts.

    That is read off the curve in the package's provenance, of ranking prompts. Where a recall is asked for it is the
    threshold with the fewest alarms; else the package's own, or the lowest one above it that is quiet enough. Raises
    RequestError where no point of the curve is as asked for.
    """
    router = package.bank.router
    if router is None or policy.trigger == "always":
        return package.bank.always_on
    least, most = policy.trigger_recall, policy.trigger_alarms
    if least is None and most is None:
        return package.bank
    if len(router.triggers) != 1:
        raise RequestError(
            "has several triggers, so a policy can't say where each of them works",
            context=package.manifest.pin,
            hint="install the patches that it was made of, or leave trigger_recall and trigger_alarms out of [gates]",
        )
    own = router.triggers[0].threshold
    found = [t for t, recall, alarms in _curve(package) if meets(policy, recall, alarms)]
    if least is None:
        found = [threshold for threshold in found if threshold >= own - TOLERANCE]
    if not found:
        always = "" if least is None else ', or set trigger = "always" there'
        raise RequestError(
            f"does not say at which threshold its trigger {trigger_demand(policy)}",
            context=package.manifest.pin,
            hint=f"{less_demanding(policy)}{always}",
        )
    threshold = max(own, min(found)) if least is None else max(found)
    return package.bank.routed(replace(router, triggers=(replace(router.triggers[0], threshold=threshold),)))


def meets(policy: Gates, recall: float, alarms: float) -> bool:
    """Whether a trigger that finds so much of its risk, and fires on so many of the others, is as a policy asks."""
    least, most = policy.trigger_recall, policy.trigger_alarms
    return (least is None or recall >= least - TOLERANCE) and (most is None or alarms <= most + TOLERANCE)


def trigger_demand(policy: Gates) -> str:
    """What a policy asks of triggers, in words."""
    recall, alarms = policy.trigger_recall, policy.trigger_alarms
    parts = [] if recall is None else [f"finds {recall:g} of the risk"]
    return " and ".join([*parts, *([] if alarms is None else [f"fires on at most {alarms:g} of ordinary prompts"])])


def less_demanding(policy: Gates) -> str:
    """How a policy asks for less of them."""
    parts = [] if policy.trigger_recall is None else ["lower [gates] trigger_recall"]
    return ", ".join([*parts, *([] if policy.trigger_alarms is None else ["raise [gates] trigger_alarms"])])


def _curve(package: Package) -> list[tuple[float, float, float]]:
    """(threshold, recall, false alarms) of the points that the package records; what is no such point is none.

    Where a point has no false alarms, they count as 1.
    """
    record = package.manifest.provenance.get("trigger")
    if not isinstance(record, Mapping):
        return []
    names = record.get("shares")
    columns = [str(name) for name in names] if isinstance(names, list) else list(COLUMNS)
    points = record.get("curve")
    rows = [*(points if isinstance(points, list) else ()), record.get("chosen")]
    found = []
    for row in rows:
        point = dict(zip(columns, row, strict=False)) if isinstance(row, list) else {}
        values = [point.get(name, 1.0 if name == "false_alarms" else None) for name in COLUMNS]
        numbers = [float(x) for x in values if isinstance(x, int | float) and not isinstance(x, bool) and 0 <= x <= 1]
        if len(numbers) == len(COLUMNS):
            found.append((numbers[0], numbers[1], numbers[2]))
    return found
