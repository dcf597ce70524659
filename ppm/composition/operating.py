"""Where a trigger works: as its patch was built, or as the deployer's policy asks. Needs no torch."""

from dataclasses import replace

from ppm.bank import Bank
from ppm.errors import RequestError
from ppm.package import Package
from ppm.project import Gates

__all__ = ["bank_under"]


def bank_under(package: Package, policy: Gates) -> Bank:
    """A patch's bank under a policy: always on, or with a threshold that finds as much of the risk as is asked for.

    That is read off the curve in the package's provenance, of ranking prompts. Raises RequestError where there is none,
    or where no threshold finds as much.
    """
    router = package.bank.router
    if router is None or policy.trigger == "always":
        return package.bank.always_on
    if policy.trigger_recall is None:
        return package.bank
    found = [threshold for threshold, recall in _curve(package) if recall >= policy.trigger_recall]
    if len(router.triggers) != 1 or not found:
        raise RequestError(
            f"does not say at which threshold its trigger finds {policy.trigger_recall:g} of the risk",
            context=package.manifest.pin,
            hint='lower [gates] trigger_recall, or set trigger = "always" there',
        )
    return package.bank.routed(replace(router, triggers=(replace(router.triggers[0], threshold=max(found)),)))


def _curve(package: Package) -> list[tuple[float, float]]:
    """(threshold, recall) of the points that the package records; what is no such point is none."""
    record = package.manifest.provenance.get("trigger")
    points = record.get("curve") if isinstance(record, dict) else None
    found = []
    for point in points if isinstance(points, list) else ():
        numbers = [x for x in point if isinstance(x, int | float)] if isinstance(point, list) else []
        if len(numbers) >= 2 and all(0 <= x <= 1 for x in numbers):
            found.append((float(numbers[0]), float(numbers[1])))
    return found
