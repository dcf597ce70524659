"""The ledger of gated attempts: every look at the gate's prompts is counted, in this command or in earlier ones.

An install that is repeated with another seed or strategy until something passes would pass by luck. So the attempts
on the same patches are numbered across commands and environments, and each may spend less than the one before. An
attempt is on disk before its first prompt is answered, so one that is interrupted counts too. The same composition
gated again at the same looks is the same attempt: its answers don't change. A ledger that was cut or edited is no
ledger: fewer attempts would make each worth more. Needs no torch.
"""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from ppm.disk import disk_errors
from ppm.environment import evidence
from ppm.environment.deployment import Environment
from ppm.errors import IntegrityError
from ppm.locking import exclusive
from ppm.names import canonical_digest

__all__ = ["GatedAttempt", "Ledger", "ledgers", "mend_ledger", "open_ledger", "read_ledger"]

STARTED, LOST = "started", "lost"
VERDICTS = (STARTED, LOST, "pass", "waived", "fail", "inconclusive", "unreadable")


@dataclass(frozen=True)
class GatedAttempt:
    """One composition at the gate: the digest of its prefix, how it was made, its looks, and what the gate said.

    `verdict` is "started" until the gate has said something, and "lost" where nothing is known but that it was there.
    """

    composition: str
    strategy: str
    seed: int
    looks: tuple[float, ...] = ()
    verdict: str = STARTED
    at: str = ""

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS or not all(0 < look <= 1 and math.isfinite(look) for look in self.looks):
            raise ValueError("is not an attempt: its verdict or its looks are out of range")

    def is_of(self, other: "GatedAttempt") -> bool:
        """Whether both look at the same answers."""
        return (self.composition, self.looks) == (other.composition, other.looks)


@dataclass
class Ledger:
    """The attempts on one set of patches, the first first."""

    path: Path
    attempts: list[GatedAttempt] = field(default_factory=list)

    def begin(self, attempt: GatedAttempt) -> int:
        """Which attempt this is, from 1: its own number when it was begun before.

        Raises EnvironmentStateError, or IntegrityError when attempts were lost.
        """
        with self._held():
            known = next((i for i, earlier in enumerate(self.attempts) if earlier.is_of(attempt)), None)
            if known is None:
                known = len(self.attempts)
                self.attempts.append(replace(attempt, at=datetime.now(UTC).isoformat(timespec="seconds")))
                self._write()
            return known + 1

    def end(self, number: int, verdict: str) -> None:
        """Note what the gate said of an attempt. Raises as `begin` does."""
        with self._held():
            self.attempts[number - 1] = replace(self.attempts[number - 1], verdict=verdict)
            self._write()

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Nobody else changes the ledger meanwhile, and what others added is known."""
        with exclusive(self.path.with_suffix(".lock"), str(self.path)), disk_errors("can't be written", self.path):
            self.attempts = read_ledger(self.path)
            yield

    def _write(self) -> None:
        rows = [json.dumps(asdict(attempt), ensure_ascii=False) for attempt in self.attempts]
        evidence.write(self.path, ("\n".join(rows) + "\n").encode(), len(rows))


def open_ledger(environment: Environment, packages: Sequence[str]) -> Ledger:
    """The ledger of the patches with these digests, shared by all environments.

    Raises EnvironmentStateError, or IntegrityError when attempts were lost.
    """
    key = canonical_digest(sorted(packages)).removeprefix("sha256:")
    path = environment.home / "attempts" / f"{key}.jsonl"
    return Ledger(path, read_ledger(path))


def ledgers(home: Path) -> list[Path]:
    """Every ledger, one that was deleted but for its witness included. Raises EnvironmentStateError."""
    folder = home / "attempts"
    with disk_errors("can't be read", folder):
        names = [path.name for path in folder.iterdir()] if folder.exists() else []
    return [folder / name for name in sorted({name.removesuffix(evidence.WITNESS) for name in names}) if _is_one(name)]


def _is_one(name: str) -> bool:
    return name.endswith(".jsonl") and not name.startswith(".")


def mend_ledger(path: Path) -> int | None:
    """Make a damaged ledger whole: each attempt that was lost counts as one. How many there are; None when it is sound.

    Raises EnvironmentStateError.
    """
    with exclusive(path.with_suffix(".lock"), str(path)), disk_errors("can't be written", path):
        try:
            attempts = read_ledger(path)
        except IntegrityError:
            left = evidence.salvage(path)
            attempts = [_parsed(line, or_lost=True) for line in _lines(left.content)]
            attempts += [GatedAttempt("", "", 0, verdict=LOST)] * ((left.entries or 0) - len(attempts))
        else:
            if evidence.witness_fault(path) is None:
                return None
        Ledger(path, attempts)._write()
        return len(attempts)


def read_ledger(path: Path) -> list[GatedAttempt]:
    """The attempts in a ledger. Raises IntegrityError when some were lost, EnvironmentStateError."""
    found = evidence.read(path)
    if found is None:
        return []
    lines = _lines(found.content)
    if found.entries is None:  # written before ledgers had a digest: what can't be read counts
        return [_parsed(line, or_lost=True) for line in lines]
    try:
        attempts = [_parsed(line, or_lost=False) for line in lines]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise IntegrityError("has an entry that is not an attempt", context=str(path), hint=evidence.MEND) from error
    if len(attempts) != found.entries:
        raise IntegrityError(
            f"has only {len(attempts)} of its {found.entries} attempts", context=str(path), hint=evidence.MEND
        )
    return attempts


def _lines(content: bytes) -> list[str]:
    return [line for line in content.decode("utf-8", "replace").split("\n") if line.strip()]


def _parsed(line: str, *, or_lost: bool) -> GatedAttempt:
    try:
        table = json.loads(line)
        return GatedAttempt(**{**table, "looks": tuple(table["looks"])})
    except (ValueError, TypeError, KeyError, RecursionError):
        if not or_lost:
            raise
        return GatedAttempt("", "", 0, verdict=LOST)
