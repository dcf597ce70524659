"""The ledger of gated attempts: every look at the gate's prompts is counted, in this command or in earlier ones.

An install that is repeated with another seed or strategy until something passes would pass by luck. So the attempts
on the same patches are numbered across commands and environments, and each may spend less than the one before. An
attempt is on disk before its first prompt is answered, so one that is interrupted counts too. The same composition
gated again at the same looks is the same attempt: its answers don't change. Needs no torch.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from ppm.disk import disk_errors, replace_file
from ppm.environment.deployment import Environment
from ppm.locking import exclusive
from ppm.names import canonical_digest

__all__ = ["GatedAttempt", "Ledger", "open_ledger"]

STARTED = "started"


@dataclass(frozen=True)
class GatedAttempt:
    """One composition at the gate: the digest of its prefix, how it was made, its looks, and what the gate said.

    `verdict` is "started" until the gate has said something.
    """

    composition: str
    strategy: str
    seed: int
    looks: tuple[float, ...] = ()
    verdict: str = STARTED
    at: str = ""

    def is_of(self, other: "GatedAttempt") -> bool:
        """Whether both look at the same answers."""
        return (self.composition, self.looks) == (other.composition, other.looks)


@dataclass
class Ledger:
    """The attempts on one set of patches, the first first."""

    path: Path
    attempts: list[GatedAttempt] = field(default_factory=list)

    def begin(self, attempt: GatedAttempt) -> int:
        """Which attempt this is, from 1: its own number when it was begun before. Raises EnvironmentStateError."""
        with self._held():
            known = next((i for i, earlier in enumerate(self.attempts) if earlier.is_of(attempt)), None)
            if known is None:
                known = len(self.attempts)
                self.attempts.append(replace(attempt, at=datetime.now(UTC).isoformat(timespec="seconds")))
                self._write()
            return known + 1

    def end(self, number: int, verdict: str) -> None:
        """Note what the gate said of an attempt. Raises EnvironmentStateError."""
        with self._held():
            self.attempts[number - 1] = replace(self.attempts[number - 1], verdict=verdict)
            self._write()

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Nobody else changes the ledger meanwhile, and what others added is known."""
        with exclusive(self.path.with_suffix(".lock"), str(self.path)), disk_errors("can't be written", self.path):
            self.attempts = _read(self.path)
            yield

    def _write(self) -> None:
        rows = [json.dumps(asdict(attempt), ensure_ascii=False) for attempt in self.attempts]
        replace_file(self.path, ("\n".join(rows) + "\n").encode(), sole_writer=True)


def open_ledger(environment: Environment, packages: Sequence[str]) -> Ledger:
    """The ledger of the patches with these digests, shared by all environments.

    A line that can't be read still counts as an attempt. Raises EnvironmentStateError.
    """
    key = canonical_digest(sorted(packages)).removeprefix("sha256:")
    path = environment.home / "attempts" / f"{key}.jsonl"
    with disk_errors("can't be read", path):
        return Ledger(path, _read(path))


def _read(path: Path) -> list[GatedAttempt]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    return [_parsed(line) for line in lines if line.strip()]


def _parsed(line: str) -> GatedAttempt:
    try:
        table = json.loads(line)
        return GatedAttempt(**{**table, "looks": tuple(table["looks"])})
    except (ValueError, TypeError, KeyError):
        return GatedAttempt("", "", 0, verdict="unreadable")
