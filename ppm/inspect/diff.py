"""What differs between two deployments."""

from collections.abc import Mapping
from typing import TypedDict

from ppm.environment.deployment import Deployment

__all__ = ["Changes", "changes"]


Moved = TypedDict("Moved", {"name": str, "from": str, "to": str})
"""A patch of another version, or of other contents."""


Changes = TypedDict(
    "Changes",
    {
        "from": int,
        "to": int,
        "added": list[str],
        "removed": list[str],
        "changed": list[Moved],
        "strategy": list[str | None],
        "verdict": list[str],
        "scores": dict[str, list[float | None]],
    },
)
"""What differs between two deployments; of `strategy`, `verdict` and each suite's score, what was and what is."""


def changes(old: Deployment, new: Deployment) -> Changes:
    """What differs between two deployments: patches, strategy, verdict, and the composition's figures on each suite."""
    before, after = ({p.name: p for p in d.lock.packages} for d in (old, new))
    return {
        "from": old.number,
        "to": new.number,
        "added": [after[name].pin for name in sorted(set(after) - set(before))],
        "removed": [before[name].pin for name in sorted(set(before) - set(after))],
        "changed": [
            {"name": name, "from": before[name].version, "to": after[name].version}
            for name in sorted(set(before) & set(after))
            if before[name].sha256 != after[name].sha256
        ],
        "strategy": [old.record.strategy, new.record.strategy],
        "verdict": [old.record.verdict, new.record.verdict],
        "scores": _scores(old, new),
    }


def _scores(old: Deployment, new: Deployment) -> dict[str, list[float | None]]:
    values: list[Mapping[str, float]] = []
    for deployment in (old, new):
        cells = (deployment.audit or {}).get("matrix", {}).get("composition", {})
        values.append({suite: cell["value"] for suite, cell in cells.items()})
    suites = dict.fromkeys(suite for found in values for suite in found)
    return {suite: [found.get(suite) for found in values] for suite in suites}
