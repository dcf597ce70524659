"""The ledger of a base: which prompts of the gate have been looked at, how often, and by which compositions.

An install that is repeated with another seed or strategy until something passes would pass by luck, and so would a
patch that is built anew until it fits the prompts that refused it. So looks are counted by prompt, whatever patches
are called, across commands and environments; a suite counts as often as that of its prompts that was looked at most,
and may spend less each time. An attempt is on disk before its first prompt is answered, so one that is interrupted
counts too. The same composition gated again on the same suite is the same attempt: its answers don't change. A ledger
that was cut or edited is no ledger: fewer attempts would make each worth more. Needs no torch.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from ppm.disk import disk_errors, make_folder, replace_file
from ppm.environment import evidence
from ppm.errors import IntegrityError
from ppm.jsonl import Text, normalised
from ppm.lock import MOST_ATTEMPTS
from ppm.locking import exclusive
from ppm.names import canonical_digest
from ppm.package import sha256

__all__ = [
    "ELSEWHERE",
    "Asked",
    "GatedAttempt",
    "Ledger",
    "Mark",
    "check_ledger",
    "ledger_of",
    "ledgers",
    "mend_ledger",
    "read_ledger",
]

STARTED, LOST, ELSEWHERE = "started", "lost", "elsewhere"
VERDICTS = (STARTED, LOST, ELSEWHERE, "pass", "waived", "fail", "inconclusive", "unreadable")
_KEY = 16
"""Hexadecimal digits by which a prompt is known: two of a million have the same with a chance of 3e-8."""


@dataclass(frozen=True)
class Asked:
    """A suite as the ledger knows it: its digest, the keys of its prompts, and its name for people."""

    suite: str
    prompts: tuple[str, ...]
    label: str = ""

    @staticmethod
    def of(suite: str, prompts: Iterable[Text], label: str = "") -> "Asked":
        """A suite with its prompts, which are the same where they are the same but for case, width and white space."""
        keys = {sha256(normalised(text).encode("utf-8", "surrogatepass"))[:_KEY] for text in prompts}
        return Asked(suite, tuple(sorted(keys)), label)

    @cached_property
    def digest(self) -> str:
        """Hexadecimal SHA-256 of the set of prompts."""
        return canonical_digest(self.prompts).removeprefix("sha256:")


@dataclass(frozen=True)
class GatedAttempt:
    """One composition at the gate: the digest of its prefix, how it was made, its looks, and what the gate said.

    `suites` maps the digest of each suite that it was the first to show the composition to that of the set of its
    prompts, and `names` to its name; None stands for all prompts that there are. `times` is for how many attempts it
    stands. `verdict` is
    "started" until the gate has said something, "elsewhere" for what was counted in another ledger, and "lost" where
    nothing is known but that it was there.
    """

    composition: str
    strategy: str
    seed: int
    looks: tuple[float, ...] = ()
    verdict: str = STARTED
    at: str = ""
    dtype: str = ""
    suites: Mapping[str, str] | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    times: int = 1

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS or not all(0 < look <= 1 and math.isfinite(look) for look in self.looks):
            raise ValueError("is not an attempt: its verdict or its looks are out of range")
        if not 0 < self.times < MOST_ATTEMPTS:
            raise ValueError("is not an attempt: it stands for an impossible number of them")
        if self.suites is not None and not all(_is_digest(name) for name in self.suites.values()):
            raise ValueError("is not an attempt: it names prompts in no way that a ledger does")

    def is_of(self, other: "GatedAttempt") -> bool:
        """Whether both look at the same answers of the same composition."""
        return (self.composition, self.looks, self.dtype) == (other.composition, other.looks, other.dtype)

    def has_shown(self, suite: str) -> bool:
        """Whether it is where its composition first met a suite."""
        return self.suites is None or suite in self.suites


@dataclass(frozen=True)
class Mark:
    """Where a ledger was at some time: how many attempts it had, and the digest of what they are."""

    attempts: int
    digest: str


@dataclass
class Ledger:
    """The attempts on one base, the first first. `earlier` are those of older ledgers, one for each set of patches."""

    path: Path
    attempts: list[GatedAttempt] = field(default_factory=list)
    earlier: tuple[GatedAttempt, ...] = ()
    _sets: dict[str, frozenset[str]] = field(default_factory=dict, repr=False)

    def begin(self, attempt: GatedAttempt, asked: Sequence[Asked]) -> dict[str, int]:
        """Count a look at these suites, and say for each, by its digest, which one it is, from 1.

        It is the same as before where the composition met the suite before. Raises EnvironmentStateError, or
        IntegrityError when attempts were lost.
        """
        with self._held():
            known = {name for one in self.attempts if one.is_of(attempt) for name in one.suites or ()}
            new = [one for one in asked if one.suite not in known]
            if new:
                self._add([attempt], new)
            return {one.suite: self.number(attempt, one) for one in asked}

    def number(self, attempt: GatedAttempt, one: Asked) -> int:
        """Which look at a suite's prompts an attempt is, or would be, from 1."""
        return 1 + self.looks_at(one, before=attempt)

    def place(self, attempt: GatedAttempt) -> int:
        """How many attempts came before a composition was first tested, or have come if it was not."""
        return next((i for i, other in enumerate(self.attempts) if other.is_of(attempt)), len(self.attempts))

    def looks_at(self, one: Asked, *, before: GatedAttempt | None = None) -> int:
        """How many attempts a suite has had: the most that any of its prompts has, before an attempt if one is given.

        Raises IntegrityError when a list of prompts was lost.
        """
        counts: Counter[str] = Counter()
        everywhere, own = 0, frozenset(one.prompts)
        for other in (*self.earlier, *self.attempts):
            if before is not None and other.is_of(before) and other.has_shown(one.suite):
                break
            if other.suites is None:
                everywhere += other.times
                continue
            seen = frozenset[str]().union(*(self._prompts(digest) for digest in other.suites.values()))
            counts.update(dict.fromkeys(own & seen, other.times))
        return everywhere + max(counts.values(), default=0)

    def adopt(self, counts: Mapping[str, int], asked: Sequence[Asked], last: GatedAttempt | None = None) -> None:
        """Take over what was counted elsewhere: how many attempts the sets of prompts with these digests have had.

        `last` is the last of them, if it is known. Only what is missing is added. Raises as `begin` does.
        """
        with self._held():
            for one in asked:
                lacking = min(counts.get(one.digest, 0), MOST_ATTEMPTS - 1) - self.looks_at(one)
                known = last is None or any(other.is_of(last) and other.has_shown(one.suite) for other in self.attempts)
                if lacking > 0 and last is not None and not known:
                    lacking -= 1
                    others = [replace(_NOBODY, times=lacking)] if lacking else []
                    self._add([*others, last], [one])
                elif lacking > 0:
                    self._add([replace(_NOBODY, times=lacking)], [one])

    def end(self, attempt: GatedAttempt, verdict: str) -> None:
        """Note what the gate said of an attempt. Raises as `begin` does."""
        with self._held():
            for i, other in enumerate(self.attempts):
                if other.is_of(attempt):
                    self.attempts[i] = replace(other, verdict=verdict)
            self._write()

    def asked(self) -> list[Asked]:
        """Every set of prompts that was looked at, with its latest name. Raises IntegrityError when one was lost."""
        found: dict[str, Asked] = {}
        for attempt in self.attempts:
            for suite, digest in (attempt.suites or {}).items():
                prompts = tuple(sorted(self._prompts(digest)))
                found[digest] = Asked(suite, prompts, attempt.names.get(suite, ""))
        return list(found.values())

    @property
    def mark(self) -> Mark:
        """Where it is now."""
        return Mark(len(self.attempts), _digest(self.attempts))

    def goes_on_from(self, mark: Mark) -> bool:
        """Whether it still has all that it had at a mark."""
        return len(self.attempts) >= mark.attempts and _digest(self.attempts[: mark.attempts]) == mark.digest

    def _add(self, attempts: Sequence[GatedAttempt], asked: Sequence[Asked]) -> None:
        for one in asked:
            self._keep(one)
        at = datetime.now(UTC).isoformat(timespec="seconds")
        suites, names = {one.suite: one.digest for one in asked}, {one.suite: one.label for one in asked}
        self.attempts += [replace(attempt, suites=suites, names=names, at=at) for attempt in attempts]
        self._write()

    def _keep(self, one: Asked) -> None:
        path, data = self._set_path(one.digest), "\n".join(one.prompts).encode()
        if not path.exists() or path.read_bytes() != data:
            make_folder(path.parent)
            replace_file(path, data)
        self._sets[one.digest] = frozenset(one.prompts)

    def _prompts(self, digest: str) -> frozenset[str]:
        """A set of prompts that was looked at."""
        if digest not in self._sets:
            path = self._set_path(digest)
            with disk_errors("can't be read", path):
                text = path.read_bytes().decode("utf-8", "replace") if path.exists() else ""
            found = Asked("", tuple(text.split("\n")) if text else ())
            if found.digest != digest:
                raise IntegrityError(
                    "is not the list of prompts that attempts looked at", context=str(path), hint=evidence.MEND
                )
            self._sets[digest] = frozenset(found.prompts)
        return self._sets[digest]

    def _set_path(self, digest: str) -> Path:
        return self.path.parent / "prompts" / digest

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Nobody else changes the ledger meanwhile, and what others added is known."""
        with exclusive(self.path.with_suffix(".lock"), str(self.path)), disk_errors("can't be written", self.path):
            self.attempts = read_ledger(self.path)
            yield

    def _write(self) -> None:
        rows = [json.dumps(asdict(attempt), ensure_ascii=False) for attempt in self.attempts]
        evidence.write(self.path, ("\n".join(rows) + "\n").encode(), _counted(self.attempts))


_NOBODY = GatedAttempt("", "", 0, verdict=ELSEWHERE)


def ledger_of(home: Path, fingerprint: str, packages: Sequence[str] = ()) -> Ledger:
    """The ledger of the base with a fingerprint, shared by all environments.

    Older ppm kept one for each set of patches, here those with the digests `packages`: what it says counts for all
    their prompts. Raises EnvironmentStateError, or IntegrityError when attempts were lost.
    """
    folder = home / "attempts"
    path = folder / f"base-{fingerprint.removeprefix('sha256:')}.jsonl"
    old = folder / f"{canonical_digest(sorted(packages)).removeprefix('sha256:')}.jsonl"
    return Ledger(path, read_ledger(path), tuple(read_ledger(old)) if packages else ())


def check_ledger(path: Path) -> None:
    """Raises IntegrityError when attempts, or the prompts that they looked at, were lost; EnvironmentStateError."""
    Ledger(path, read_ledger(path)).asked()


def ledgers(home: Path) -> list[Path]:
    """Every ledger, one that was deleted but for its witness included. Raises EnvironmentStateError."""
    folder = home / "attempts"
    with disk_errors("can't be read", folder):
        names = [path.name for path in folder.iterdir()] if folder.exists() else []
    return [folder / name for name in sorted({name.removesuffix(evidence.WITNESS) for name in names}) if _is_one(name)]


def _is_one(name: str) -> bool:
    return name.endswith(".jsonl") and not name.startswith(".")


def mend_ledger(path: Path) -> int | None:
    """Make a damaged ledger whole: an attempt that was lost, or whose prompts were, counts as one on all prompts.

    How many attempts there are; None when it is sound. Raises EnvironmentStateError.
    """
    with exclusive(path.with_suffix(".lock"), str(path)), disk_errors("can't be written", path):
        try:
            attempts = read_ledger(path)
            weak = evidence.witness_fault(path) is not None
        except IntegrityError:
            left = evidence.salvage(path)
            attempts = [_parsed(line, or_lost=True) for line in _lines(left.content)]
            lacking = (left.entries or 0) - _counted(attempts)
            attempts += [replace(_LOST, times=lacking)] if lacking > 0 else []
            weak = True
        ledger = Ledger(path, attempts)
        for i, attempt in enumerate(attempts):
            try:
                for digest in (attempt.suites or {}).values():
                    ledger._prompts(digest)
            except IntegrityError:
                attempts[i], weak = replace(attempt, suites=None), True
        if not weak:
            return None
        ledger._write()
        return _counted(attempts)


def _counted(attempts: Sequence[GatedAttempt]) -> int:
    return sum(attempt.times for attempt in attempts)


_LOST = replace(_NOBODY, verdict=LOST)


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
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise IntegrityError("has an entry that is not an attempt", context=str(path), hint=evidence.MEND) from error
    if found.entries not in (_counted(attempts), len(attempts)):  # of entries, as older ppm counted
        raise IntegrityError(
            f"has only {_counted(attempts)} of its {found.entries} attempts", context=str(path), hint=evidence.MEND
        )
    return attempts


def _digest(attempts: Sequence[GatedAttempt]) -> str:
    """Of what attempts are; what the gate said of them comes later."""
    return canonical_digest([asdict(replace(attempt, verdict=STARTED)) for attempt in attempts])


def _is_digest(name: object) -> bool:
    return isinstance(name, str) and len(name) == 64 and set(name) <= set("0123456789abcdef")


def _lines(content: bytes) -> list[str]:
    return [line for line in content.decode("utf-8", "replace").split("\n") if line.strip()]


def _parsed(line: str, *, or_lost: bool) -> GatedAttempt:
    try:
        table = json.loads(line)
        return GatedAttempt(**{**table, "looks": tuple(table["looks"])})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        if not or_lost:
            raise
        return _LOST
