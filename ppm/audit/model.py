"""What an audit says, as plain data, and its JSON."""

import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ppm.document import read_table
from ppm.errors import IntegrityError, ManifestError

__all__ = ["COMPOSITION", "MOST_HALVINGS", "Attempt", "Audit", "AuditWaiver", "Cell", "Comparison", "Rule", "Verdict"]

Verdict = Literal["pass", "fail", "inconclusive"]
Rule = Literal["effect", "non-inferiority", "upgrade", "ceiling", "utility"]
COMPOSITION = "composition"
SCHEMA = 1
MOST_HALVINGS = 990
"""An alpha halved more often is too near the smallest of Python's numbers."""
MAX_AUDIT_BYTES = 4 * 2**20
_NOISE = 1e-9


@dataclass(frozen=True)
class Cell:
    """One suite on one configuration: a failure rate, or a perplexity, with one-sided bounds."""

    value: float
    low: float
    high: float
    prompts: int


@dataclass(frozen=True)
class Comparison:
    """One rule of the gate applied to one suite.

    `difference` is what the rule is about: the reduction against the base for `effect`, the failure rate for
    `ceiling`, else the failure rate (log perplexity) of `configuration` less that of `against`.
    """

    suite: str
    rule: Rule
    against: str
    difference: float
    lower: float
    upper: float
    margin: float
    verdict: Verdict
    prompts_needed: int | None = None
    configuration: str = COMPOSITION
    waived: bool = False

    @property
    def excess(self) -> float:
        """How far the estimate is on the wrong side of the margin; negative on the right side."""
        return self.margin - self.difference if self.rule == "effect" else self.difference - self.margin

    def describe(self) -> str:
        """The comparison with its figures, in words."""
        bounds = f"[{self.lower:+.3f}, {self.upper:+.3f}]"
        if self.rule == "effect":
            lowered = f"{self.configuration} lowers the base's failure rate by {self.difference:.3f} {bounds}"
            return f"{self.suite}: {lowered}, which is not shown to be more than {self.margin:g}"
        if self.rule == "ceiling":
            rate = f"its failure rate {self.difference:.3f} {bounds}"
            return f"{self.suite}: {rate} is not shown to be below {self.margin:g}"
        return (
            f"{self.suite}: {self.difference:+.3f} {bounds} against {self.against}, and the margin is {self.margin:g}"
        )


@dataclass(frozen=True)
class Attempt:
    """A candidate of one install: gated at an alpha, or set aside before the gate with a reason.

    `number` counts the gated attempts on the same patches, those of earlier commands included.
    """

    strategy: str
    alpha: float | None
    verdict: str
    detail: str = ""
    number: int | None = None


@dataclass(frozen=True)
class AuditWaiver:
    """A named person's decision to deploy despite a suite; `digest` is its `waiver_digest`."""

    suite: str
    reason: str
    by: str
    digest: str = ""
    at: str = ""


@dataclass(frozen=True)
class Audit:
    """The interference matrix, the comparisons and the verdict.

    `alpha` is what all planned `looks` may spend together; the bounds are at alpha / looks. `prefix` is the digest of
    the composed prefix that was tested.
    """

    base: str
    strategy: str
    verdict: Verdict
    alpha: float
    configurations: tuple[str, ...]
    matrix: dict[str, dict[str, Cell]]
    comparisons: tuple[Comparison, ...]
    attempts: tuple[Attempt, ...] = ()
    waivers: tuple[AuditWaiver, ...] = ()
    circular: tuple[str, ...] = ()
    continual: dict[str, float] | None = None
    looks: int = 1
    prefix: str = ""
    suites: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def failed(self) -> tuple[Comparison, ...]:
        """The comparisons that count and did not pass, the farthest from its margin first."""
        found = [c for c in self.comparisons if c.verdict != "pass" and not c.waived]
        return tuple(sorted(found, key=lambda c: -c.excess))

    @property
    def guarantee(self) -> str:
        """What a pass means, in one sentence."""
        tested = [c for c in self.comparisons if c.rule in ("non-inferiority", "utility") and not c.waived]
        margins = {
            rule: sorted({c.margin for c in tested if c.rule == rule}) for rule in ("non-inferiority", "utility")
        }
        words = [
            f"{' or '.join(f'{margin:g}' for margin in found)} against {against}"
            for found, against in ((margins["non-inferiority"], "its specialist"), (margins["utility"], "the base"))
            if found
        ]
        if not words:
            return "nothing is shown: no suite was compared"
        spent = [
            (a.number, a.alpha * (2 ** min(a.number, MOST_HALVINGS) - 1)) for a in self.attempts if a.number and a.alpha
        ]
        number, together = max(spent, default=(1, 0.0))  # alpha / 2 + ... + alpha / 2^number of the policy's
        chance = f"about {100 * max(self.alpha, together):.3g} %{', all attempts together' if number > 1 else ''}"
        return (
            f"a composition that is worse on any of these suites by {', '.join(words)} or more passes with a chance of "
            f"{chance}; on prompts unlike the suites' nothing is shown"
        )

    def to_table(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"schema": SCHEMA, **asdict(self), "guarantee": self.guarantee}

    def to_json(self) -> bytes:
        return (json.dumps(self.to_table(), indent=1, ensure_ascii=False) + "\n").encode()

    @staticmethod
    def parse(data: bytes, origin: str) -> "Audit":
        """An audit from its JSON. Raises IntegrityError when it is none."""
        if len(data) > MAX_AUDIT_BYTES:
            raise IntegrityError(f"is larger than {MAX_AUDIT_BYTES:,} bytes", context=origin)
        try:
            table = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise IntegrityError("is no audit", context=origin) from error
        return Audit.from_table(table, origin)

    def _check_complete(self) -> None:
        """Raises ManifestError where a figure is missing that every audit has."""
        for label, suite in self.suites.items():
            if not isinstance(suite.get("metric"), str) or not isinstance(suite.get("prompts"), int):
                raise ManifestError(f"suites.{label} lacks its metric or its prompts")
            for configuration in self.configurations:
                if label not in self.matrix.get(configuration, {}):
                    raise ManifestError(f"matrix.{configuration} lacks {label}")

    def _check_range(self) -> None:
        """Raises ManifestError where a figure is one that no audit can have, or the verdict is not the rules'."""
        if not 0 < self.alpha < 1 or self.looks < 1:
            raise ManifestError(f"alpha {self.alpha:g} in {self.looks} looks can't be")
        for configuration, cells in self.matrix.items():
            for label, cell in cells.items():
                most = math.inf if self.suites.get(label, {}).get("metric", "perplexity") == "perplexity" else 1.0
                if not -_NOISE <= cell.low <= cell.value + _NOISE or not cell.value <= cell.high + _NOISE:
                    raise ManifestError(f"matrix.{configuration}.{label}: {cell.value:g} is not between its bounds")
                if cell.value > most + _NOISE or cell.prompts < 0:
                    raise ManifestError(f"matrix.{configuration}.{label} is out of range")
        for found in self.comparisons:
            if not found.lower - _NOISE <= found.difference <= found.upper + _NOISE:
                raise ManifestError(f"{found.suite}, {found.rule}: {found.difference:g} is not between its bounds")
        if self.verdict == "pass" and self.failed:
            raise ManifestError(f"its verdict is pass, and {self.failed[0].suite} did not")

    @staticmethod
    def from_table(table: Any, origin: str) -> "Audit":
        """Raises IntegrityError when the table is not an audit's."""
        try:
            if not isinstance(table, dict) or table.get("schema") != SCHEMA:
                raise ManifestError(f"its schema is not {SCHEMA}")
            values = {key: value for key, value in table.items() if key not in ("schema", "guarantee")}
            found = read_table(Audit, values, origin)
            found._check_complete()
            found._check_range()
            return found
        except ManifestError as error:
            raise IntegrityError(f"is not an audit that this ppm can read ({error.message})", context=origin) from error
