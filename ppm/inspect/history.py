"""The deployments of an environment over time, as plain data."""

from typing import Required, TypedDict

from ppm.environment.deployment import Environment
from ppm.environment.trail import Trail, trail_of
from ppm.errors import PpmError
from ppm.inspect.trail import Advised, advised
from ppm.install.current import audit_of

__all__ = ["Entry", "Figures", "figures", "history"]


class Waived(TypedDict):
    """A suite that was let through, why, by whom and when."""

    suite: str
    reason: str
    by: str
    at: str


class Entry(TypedDict, total=False):
    """A deployment; `error` says what is damaged, and then all but its number is missing."""

    number: Required[int]
    current: Required[bool]
    error: str
    created: str
    user: str
    command: str
    patches: list[str]
    strategy: str | None
    verdict: str
    rolled_back_from: int | None
    waivers: list[Waived]
    advisories: list[Advised]
    derived_from: list[str]


class Figures(TypedDict, total=False):
    """What a deployment's audit measured, by suite, and the metric of each suite; `error` as in an `Entry`.

    `incomparable` are the suites whose figure can't be compared with the one before it, as prompts, judge or decoding
    differ.
    """

    number: Required[int]
    error: str
    patches: list[str]
    values: dict[str, float]
    metrics: dict[str, str]
    incomparable: list[str]
    continual: dict[str, float] | None


def history(environment: Environment, current: int) -> list[Entry]:
    """Each deployment, the newest first; a damaged one has its number and `error` alone. `current` is in force."""
    rows: list[Entry] = []
    for number in reversed(environment.numbers()):
        row: Entry = {"number": number, "current": number == current}
        try:
            deployment = environment.deployment(number)
            record, pins = deployment.record, [package.pin for package in deployment.lock.packages]
            derived_from, trail = deployment.lock.base.derived_from, trail_of(deployment) or Trail()
        except PpmError as error:
            rows.append({**row, "error": error.message})
            continue
        row |= {"created": record.created, "user": record.user, "command": record.command, "patches": pins}
        row |= {"strategy": record.strategy, "verdict": record.verdict, "rolled_back_from": record.rolled_back_from}
        row["waivers"] = [{"suite": w.suite, "reason": w.reason, "by": w.by, "at": w.at} for w in record.waivers]
        row["advisories"] = advised(trail.advisories)
        row["derived_from"] = [f"{other.model}: {other.note}" for other in derived_from]
        rows.append(row)
    return rows


def figures(environment: Environment) -> list[Figures]:
    """The audit's figures of each deployment's composition, by suite, the oldest first."""
    rows: list[Figures] = []
    tested: dict[str, str] = {}
    for number in environment.numbers():
        try:
            deployment = environment.deployment(number)
            audit, pins = audit_of(deployment), [package.pin for package in deployment.lock.packages]
        except PpmError as error:
            rows.append({"number": number, "error": error.message})
            continue
        row: Figures = {
            "number": number,
            "patches": pins,
            "values": {},
            "metrics": {},
            "incomparable": [],
            "continual": None,
        }
        if audit is not None:
            metrics = {label: suite.metric for label, suite in audit.suites.items()}
            digests = {label: suite.digest for label, suite in audit.suites.items() if suite.digest}
            incomparable = [label for label, digest in digests.items() if tested.get(label, digest) != digest]
            tested |= digests
            row |= {
                "values": audit.composed,
                "metrics": metrics,
                "incomparable": incomparable,
                "continual": audit.continual,
            }
        rows.append(row)
    return rows
