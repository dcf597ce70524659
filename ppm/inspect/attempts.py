"""What the attempts at the gate of a base have spent, and what the next one has."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ppm.audit.gate import alpha_of_attempt
from ppm.base import BaseModel
from ppm.environment.attempts import Asked, GatedAttempt, Ledger, ledger_of
from ppm.environment.deployment import Environment
from ppm.evaluation.statistics import fewest_units
from ppm.install.current import missing_attempts

__all__ = ["MARGINS", "Looked", "Spent", "spent"]

MARGINS = (0.05, 0.03)
"""For which margins it is said what the next attempt takes: the defaults for risks and for utility."""


@dataclass(frozen=True)
class Looked:
    """A set of prompts, under the name of its suite, and how often it was looked at.

    Where there are several under one name, as the lab draws new prompts after some attempts, `set` counts them from 1
    in the order in which they were first looked at.

    `spent` is the alpha of these attempts together, `next_alpha` that of the next, and `fewest` how many prompts or
    groups that takes for each of `MARGINS`, even where nothing fails.
    """

    suite: str
    set: int
    prompts: int
    attempts: int
    spent: float
    next_alpha: float
    fewest: dict[str, int]


@dataclass(frozen=True)
class Spent:
    """The attempts on a base, the first first, and the prompts that they looked at, the most looked at first.

    `brought` is how many attempts the lock of what is deployed counts on the prompts that were looked at most: here the
    next attempt goes on from them.
    """

    base: str
    alpha: float
    attempts: tuple[GatedAttempt, ...]
    suites: tuple[Looked, ...]
    brought: int = 0
    void: str = ""


def spent(home: Path, base: BaseModel, environment: Environment, alpha: float) -> Spent:
    """What is counted for a base, under a policy's alpha. Raises EnvironmentStateError, or IntegrityError."""
    ledger = ledger_of(home, base.fingerprint)
    numbers = Counter[str]()
    looked = []
    for one in ledger.asked():
        numbers[one.label] += 1
        looked.append(_looked(ledger, one, numbers[one.label], alpha))
    suites = sorted(looked, key=lambda row: (-row.attempts, row.suite, row.set))
    void = missing_attempts(environment, base.fingerprint, ledger)
    current = environment.current()
    brought = max(current.lock.attempts.values(), default=0) if current is not None else 0
    return Spent(base.name, alpha, tuple(ledger.attempts), tuple(suites), brought, void)


def _looked(ledger: Ledger, one: Asked, number: int, alpha: float) -> Looked:
    count = ledger.looks_at(one)
    together = sum(alpha_of_attempt(alpha, attempt) for attempt in range(1, count + 1))
    following = alpha_of_attempt(alpha, count + 1)
    fewest = {f"{margin:g}": fewest_units(margin, following) for margin in MARGINS}
    return Looked(one.label, number, len(one.prompts), count, together, following, fewest)
