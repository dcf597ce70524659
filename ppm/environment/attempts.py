"""The ledger of gated attempts: every look at the gate's prompts is counted, in this command or in earlier ones.

An install that is repeated with another seed or strategy until something passes would pass by luck. So the attempts
on the same patches are numbered across commands, and each may spend less than the one before. The same composition
gated again is the same attempt: its answers don't change. Needs no torch.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ppm.environment.deployments import Environment
from ppm.environment.disk import disk_errors, make_folder, replace_file
from ppm.manifest import canonical_digest

__all__ = ["GatedAttempt", "Ledger", "open_ledger"]


@dataclass(frozen=True)
class GatedAttempt:
    """One composition that was gated: the digest of its prefix, how it was made, and what the gate said."""

    composition: str
    strategy: str
    seed: int
    verdict: str
    at: str


@dataclass
class Ledger:
    """The attempts on one set of patches, the first first; `path` is None for a ledger that is not kept."""

    path: Path | None = None
    attempts: list[GatedAttempt] = field(default_factory=list)

    def number(self, composition: str) -> int:
        """Which attempt the gating of a composition is, from 1: its own number when it was gated before."""
        gated = [attempt.composition for attempt in self.attempts]
        return gated.index(composition) + 1 if composition in gated else len(gated) + 1

    def add(self, attempt: GatedAttempt) -> None:
        """Count one more attempt; it is on disk before this returns. Raises EnvironmentStateError."""
        if any(known.composition == attempt.composition for known in self.attempts):
            return
        self.attempts.append(attempt)
        if self.path is not None:
            with disk_errors("can't be written", self.path):
                make_folder(self.path.parent)
                rows = [json.dumps(asdict(known), ensure_ascii=False) for known in self.attempts]
                replace_file(self.path, ("\n".join(rows) + "\n").encode())


def open_ledger(environment: Environment, packages: Sequence[str]) -> Ledger:
    """The ledger of the patches with these digests, shared by all environments of the base.

    A line that can't be read still counts as an attempt.
    """
    key = canonical_digest(sorted(packages)).removeprefix("sha256:")
    path = environment.home / "attempts" / environment.tag / f"{key}.jsonl"
    with disk_errors("can't be read", path):
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return Ledger(path)
    return Ledger(path, [_parsed(line) for line in lines if line.strip()])


def _parsed(line: str) -> GatedAttempt:
    try:
        return GatedAttempt(**json.loads(line))
    except (ValueError, TypeError):
        return GatedAttempt("", "", 0, "unreadable", "")
