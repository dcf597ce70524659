"""The deployments of an environment over time, as plain data."""

from typing import Any

from ppm.environment.deployment import Environment
from ppm.errors import PpmError

__all__ = ["figures", "history"]


def history(environment: Environment, current: int) -> list[dict[str, Any]]:
    """Each deployment, the newest first; a damaged one has its number and `error` alone. `current` is in force."""
    rows: list[dict[str, Any]] = []
    for number in reversed(environment.numbers()):
        row: dict[str, Any] = {"number": number, "current": number == current}
        try:
            deployment = environment.deployment(number)
            record, pins = deployment.record, [package.pin for package in deployment.lock.packages]
        except PpmError as error:
            rows.append({**row, "error": error.message})
            continue
        row |= {"created": record.created, "user": record.user, "command": record.command, "patches": pins}
        row |= {"strategy": record.strategy, "verdict": record.verdict, "rolled_back_from": record.rolled_back_from}
        waivers = [{"suite": w.suite, "reason": w.reason, "by": w.by, "at": w.at} for w in record.waivers]
        rows.append({**row, "waivers": waivers})
    return rows


def figures(environment: Environment) -> list[dict[str, Any]]:
    """The audit's figures of each deployment's composition, by suite, the oldest first."""
    rows: list[dict[str, Any]] = []
    for number in environment.numbers():
        try:
            deployment = environment.deployment(number)
            audit, pins = deployment.audit or {}, [package.pin for package in deployment.lock.packages]
        except PpmError as error:
            rows.append({"number": number, "error": error.message})
            continue
        found = audit.get("matrix", {}).get("composition", {})
        values = {suite: cell["value"] for suite, cell in found.items()}
        rows.append({"number": number, "patches": pins, "values": values, "continual": audit.get("continual")})
    return rows
