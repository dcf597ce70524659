"""Where a trigger works: as its patch was built, or as the deployer's policy asks. Needs no torch."""

from dataclasses import replace

from ppm.bank import Bank
from ppm.errors import RequestError
from ppm.package import Package
from ppm.project import Gates

__all__ = ["asked", "bank_under", "otherwise"]


def bank_under(package: Package, policy: Gates) -> Bank:
    """A patch's bank under a policy: always on, or with a threshold that finds as much of the risk as is asked for, and
    fires on no more of the ordinary prompts.

    That is read off the curve in the package's provenance, of ranking prompts. Where a recall is asked for it is the
    threshold with the fewest alarms, else the one with the most recall. Raises RequestError where no point of the curve
    is as asked for.
    """
    router = package.bank.router
    if router is None or policy.trigger == "always":
        return package.bank.always_on
    least, most = policy.trigger_recall, policy.trigger_alarms
    if least is None and most is None:
        return package.bank
    found = [
        threshold
        for threshold, recall, alarms in _curve(package)
        if (least is None or recall >= least) and (most is None or alarms <= most)
    ]
    if len(router.triggers) != 1 or not found:
        raise RequestError(
            f"does not say at which threshold its trigger {asked(policy)}",
            context=package.manifest.pin,
            hint=f'{otherwise(policy)}, or set trigger = "always" there',
        )
    threshold = min(found) if least is None else max(found)
    return package.bank.routed(replace(router, triggers=(replace(router.triggers[0], threshold=threshold),)))


def asked(policy: Gates) -> str:
    """What a policy asks of triggers, in words."""
    recall, alarms = policy.trigger_recall, policy.trigger_alarms
    parts = [] if recall is None else [f"finds {recall:g} of the risk"]
    return " and ".join([*parts, *([] if alarms is None else [f"fires on at most {alarms:g} of ordinary prompts"])])


def otherwise(policy: Gates) -> str:
    """How a policy asks for less of them."""
    parts = [] if policy.trigger_recall is None else ["lower [gates] trigger_recall"]
    return ", ".join([*parts, *([] if policy.trigger_alarms is None else ["raise [gates] trigger_alarms"])])


def _curve(package: Package) -> list[tuple[float, float, float]]:
    """(threshold, recall, false alarms) of the points that the package records; what is no such point is none.

    Where a point has no false alarms, they count as 1.
    """
    record = package.manifest.provenance.get("trigger")
    points = record.get("curve") if isinstance(record, dict) else None
    found = []
    for point in points if isinstance(points, list) else ():
        numbers = [x for x in point if isinstance(x, int | float)] if isinstance(point, list) else []
        if len(numbers) >= 2 and all(0 <= x <= 1 for x in numbers):
            found.append((float(numbers[0]), float(numbers[1]), float(numbers[2]) if len(numbers) > 2 else 1.0))
    return found
