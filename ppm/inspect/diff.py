"""What differs between two deployments."""

from typing import TypedDict

from ppm.environment.deployment import Deployment
from ppm.install.current import audit_of

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
        "metrics": dict[str, list[str | None]],
        "incomparable": list[str],
    },
)
"""What differs between two deployments; a pair is what was and what is, of a suite its `scores` and `metrics`.

`incomparable` are the suites whose two figures can't be compared: prompts, judge or decoding differ.
"""


def changes(old: Deployment, new: Deployment) -> Changes:
    """What differs between two deployments: patches, strategy, verdict, and the composition's figures on each suite."""
    before, after = ({p.name: p for p in d.lock.packages} for d in (old, new))
    audits = [audit_of(deployment) for deployment in (old, new)]
    values = [audit.composed if audit is not None else {} for audit in audits]
    metrics = [{n: s.metric for n, s in audit.suites.items()} if audit is not None else {} for audit in audits]
    suites = dict.fromkeys(suite for found in values for suite in found)
    tested = [{n: s.digest for n, s in audit.suites.items()} if audit is not None else {} for audit in audits]
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
        "scores": {suite: [found.get(suite) for found in values] for suite in suites},
        "metrics": {suite: [found.get(suite) for found in metrics] for suite in suites},
        "incomparable": [suite for suite in suites if len({found.get(suite) for found in tested} - {None, ""}) > 1],
    }
