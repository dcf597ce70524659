"""What an audit says, as plain data, and its JSON."""

import json
import math
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Literal

from ppm.audit.candidates import Candidate
from ppm.audit.comparison import COMPOSITION, Comparison, verdict_of
from ppm.document import read_table
from ppm.errors import IntegrityError, ManifestError
from ppm.evaluation.groups import ungrouped
from ppm.evaluation.measures.registry import figures_of
from ppm.names import check_digest
from ppm.verdict import Verdict, Waiver

__all__ = [
    "CIRCULAR",
    "EXPLAINED",
    "UNGROUPED",
    "Attempt",
    "Audit",
    "AuditedSuite",
    "Cell",
    "TriggerKind",
    "TriggerRow",
]

TriggerKind = Literal["recall", "wrong patch", "false alarms", "another risk"]
SCHEMA = 2
READABLE = (1, SCHEMA)
"""Before 2 a waived audit had the verdict of one that passed."""
MAX_AUDIT_BYTES = 4 * 2**20
_NOISE = 1e-9
CIRCULAR = "the judge also chose the training pairs, so a pass shows less than it seems to"
"""Why it matters that a suite is circular."""
UNGROUPED = "each prompt counts as evidence of its own, which is too much where prompts are alike"
"""Why it matters that a suite has no groups."""
COMPARED_WITH = {
    "non-inferiority": "its specialist",
    "utility": "the base",
    "upgrade": "what was deployed",
    "anchor": "its anchor",
}
"""What each rule of a margin holds a composition to."""
LOST_FORM = 0.02
"""From which loss against the base an audit says that answers are not well-formed."""
EXPLAINED = {
    "set aside": "it did worse than allowed on the ranking prompts, which cost no alpha, so it was not tested",
    "average accuracy": "the mean score (1 - failure rate) over all risks now",
    "backward transfer": "how scores on earlier risks changed since each risk was learned",
    "forward transfer": "how much better than the base a risk's score was before its own patch came",
    "forgetting": "how far scores on earlier risks are now below their best",
}
"""Words in reports that a reader may not know, each in a line."""


@dataclass(frozen=True)
class Cell:
    """One suite on one configuration: its figure, such as a failure rate, with one-sided bounds.

    `well_formed` is the share of well-formed answers, of suites on a risk whose measure writes answers. `corrected` is
    the figure with its bounds as it is without the errors of the suite's judge, where these are known. `second` is the
    figure by the suite's second judge, and `differ` the share of prompts on which the two judges differ.
    """

    value: float
    low: float
    high: float
    prompts: int
    well_formed: float | None = None
    corrected: tuple[float, ...] | None = None
    second: float | None = None
    differ: float | None = None


@dataclass(frozen=True)
class AuditedSuite:
    """What an audit keeps of a suite. `owner` is the patch it came with; None for the base's and the deployer's own.

    `groups` is how many groups its prompts count as, None where each counts by itself; `unlike` how many there are with
    those that are found. `attempt` counts the looks at its prompts on this base, this one included; None where nobody
    counted. `sensitivity` and `specificity` are its judge's, if measured; `second_judge` is another one. `held_to` is
    the digest of the composition (`sha256:...`) that was the suite's anchor before, and `anchor` of the one after it.
    """

    prompts: int
    metric: str
    digest: str = ""
    judge: str = ""
    judge_version: str = ""
    owner: str | None = None
    groups: int | None = None
    unlike: int | None = None
    attempt: int | None = None
    sensitivity: float | None = None
    specificity: float | None = None
    held_to: str | None = None
    anchor: str | None = None
    second_judge: str | None = None

    def __post_init__(self) -> None:
        check_digest(self.held_to, "held_to")
        check_digest(self.anchor, "anchor")

    @property
    def size(self) -> str:
        """How much evidence it is, in words."""
        return f"{self.prompts} prompts" if self.groups is None else f"{self.groups} groups of {self.prompts} prompts"

    @staticmethod
    def from_toml(value: object) -> object:
        """Reads no more than it knows: what an audit says of a suite has changed before."""
        known = {field.name for field in fields(AuditedSuite)}
        return {k: v for k, v in value.items() if k in known} if isinstance(value, dict) else value


@dataclass(frozen=True)
class TriggerRow:
    """On which share of a suite's prompts the trigger of a configuration fires, with one-sided bounds.

    `kind`: `recall` on prompts of its own risk, `wrong patch` where it meets others' blocks alone of these, `false
    alarms` on those of utility, `another risk` on another patch's.
    `curve` has the share for other thresholds; where several triggers stand together, there is no one `threshold`.
    """

    configuration: str
    suite: str
    kind: TriggerKind
    share: float
    low: float
    high: float
    prompts: int
    threshold: float | None = None
    curve: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shares = (self.low, self.share, self.high, *self.curve.values())
        if any(not -_NOISE <= share <= 1 + _NOISE for share in shares) or self.prompts < 0:
            raise ValueError(f"a trigger can't fire on {self.share:g} of {self.prompts} prompts")


@dataclass(frozen=True)
class Attempt:
    """A candidate of one install: gated at an alpha, or set aside before the gate with a reason.

    `number` counts the attempts on the prompts that were looked at most, those of earlier commands included, and
    `alpha` is what it could spend on these.
    """

    strategy: str
    alpha: float | None
    verdict: str
    detail: str = ""
    number: int | None = None


@dataclass(frozen=True)
class Audit:
    """The interference matrix, the comparisons and the verdict.

    Configurations are in the order in which the patches were asked for, and suites are ordered by their owner, then
    those of the base and of the deployer. `alpha` is the policy's: what all attempts on the same prompts may spend
    together, at all `looks`; each comparison has its own. `prefix` is the digest of the composed prefix that was
    tested. `notes` are what else has to be known, such as suites that could not be run again. `void` says why attempts
    that were counted before may be missing, which voids the guarantee. `candidates` are what an automatic choice
    compared, the first to be gated first, where it made all of them.
    """

    base: str
    strategy: str
    verdict: Verdict
    alpha: float
    configurations: tuple[str, ...]
    matrix: dict[str, dict[str, Cell]]
    comparisons: tuple[Comparison, ...]
    attempts: tuple[Attempt, ...] = ()
    waivers: tuple[Waiver, ...] = ()
    circular: tuple[str, ...] = ()
    uncalibrated: tuple[str, ...] = ()
    continual: dict[str, float] | None = None
    looks: int = 1
    prefix: str = ""
    suites: dict[str, AuditedSuite] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    triggers: tuple[TriggerRow, ...] = ()
    void: str = ""
    candidates: tuple[Candidate, ...] = ()

    @property
    def may_deploy(self) -> bool:
        """Whether what was tested may be deployed: it passed, or what did not was waived."""
        return self.verdict in ("pass", "waived")

    @property
    def attempt(self) -> int:
        """Which attempt it was, from 1, on the prompts that were looked at most."""
        return max((suite.attempt or 1 for suite in self.suites.values()), default=1)

    @property
    def shown_triggers(self) -> tuple[TriggerRow, ...]:
        """What triggers do, for people: without rows of wrong patches where there are no such prompts."""
        return tuple(row for row in self.triggers if row.kind != "wrong patch" or row.share > 0)

    @property
    def composed(self) -> dict[str, float]:
        """The composition's figure on each suite."""
        cells = self.matrix.get(COMPOSITION, {})
        return {label: cells[label].value for label in self.suites if label in cells}

    @property
    def utility(self) -> tuple[str, ...]:
        """The suites that measure what the base can do: their figures are losses of utility."""
        held = {c.suite for c in self.comparisons if c.rule == "utility"}
        return tuple(label for label in self.suites if label in held)

    def is_own(self, configuration: str, suite: str) -> bool:
        """Whether a configuration is the specialist of the patch that a suite came with."""
        owner = self.suites[suite].owner
        return owner is not None and configuration.partition("==")[0] == owner

    @property
    def explained(self) -> dict[str, str]:
        """What the words mean that occur in this audit and that a reader may not know."""
        words = {attempt.verdict for attempt in self.attempts}
        words |= {name.replace("_", " ") for name in self.continual or ()}
        return {word: meaning for word, meaning in EXPLAINED.items() if word in words}

    @property
    def ungrouped(self) -> dict[str, str]:
        """The suites of rates whose prompts each count as evidence of their own, with how many of them are unlike."""
        return {
            label: label if suite.unlike is None else f"{label} ({ungrouped(suite.prompts, suite.unlike)})"
            for label, suite in self.suites.items()
            if suite.groups is None and self._is_rate(label)
        }

    @property
    def corrections(self) -> dict[str, dict[str, tuple[float, ...]]]:
        """By suite and configuration, figures with their bounds without the errors of the suite's judge.

        Of the suites for which these are known: the gate compares such figures there.
        """
        found: dict[str, dict[str, tuple[float, ...]]] = {}
        for configuration in self.configurations:
            for label, cell in self.matrix[configuration].items():
                if cell.corrected is not None:
                    found.setdefault(label, {})[configuration] = cell.corrected
        return found

    @property
    def opinions(self) -> dict[str, dict[str, Cell]]:
        """By suite and configuration, the cells of the suites that have a second judge."""
        found: dict[str, dict[str, Cell]] = {}
        for configuration in self.configurations:
            for label, cell in self.matrix[configuration].items():
                if cell.second is not None:
                    found.setdefault(label, {})[configuration] = cell
        return found

    @property
    def malformed(self) -> dict[str, tuple[float, float]]:
        """The risk suites on which fewer of the composition's answers are well-formed than of the base's: both shares.

        A judge of a risk calls an answer safe that says nothing, over and over.
        """
        found = {}
        for label, cell in self.matrix.get(COMPOSITION, {}).items():
            other = self.matrix.get("base", {}).get(label)
            base = other.well_formed if other is not None else None
            if cell.well_formed is not None and base is not None and cell.well_formed <= base - LOST_FORM:
                found[label] = (cell.well_formed, base)
        return found

    @property
    def failed(self) -> tuple[Comparison, ...]:
        """The comparisons that count and did not pass, the farthest from its margin first."""
        found = [c for c in self.comparisons if c.verdict != "pass" and not c.waived]
        return tuple(sorted(found, key=lambda c: -c.excess))

    @property
    def guarantee(self) -> str:
        """What a pass means, in one sentence."""
        tested = [c for c in self.comparisons if c.rule in COMPARED_WITH and not c.waived]
        margins = {rule: sorted({c.margin for c in tested if c.rule == rule}) for rule in COMPARED_WITH}
        words = [
            f"{against} (by at least {' or '.join(f'{margin:g}' for margin in margins[rule])})"
            for rule, against in COMPARED_WITH.items()
            if margins[rule]
        ]
        if not words:
            return "nothing is shown, because no suite was compared"
        if self.void:
            return f"nothing is shown, because {self.void}"
        others = " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))
        several = ", all attempts on its prompts together" if self.attempt > 1 else ""
        chance = f"about {100 * self.alpha:.3g} %{several}"
        unmeasured = [label for label in self.uncalibrated if label in {c.suite for c in tested}]
        if unmeasured:
            chance += f" (not claimed of {', '.join(unmeasured)}: nobody measured how often their judges err)"
        shown = ", if nobody mended just what failed in earlier attempts" if self.attempt > 1 else ""
        independent = "; prompts of suites without groups are taken for independent" if self.ungrouped else ""
        return (
            f"a composition that is worse on any of these suites than {others} passes with a chance of "
            f"{chance}{shown}; on prompts unlike the suites' nothing is shown{independent}"
        )

    def to_table(self) -> dict[str, object]:
        """Plain data for JSON."""
        table = {"schema": SCHEMA, **asdict(self), "guarantee": self.guarantee}
        for key in ("triggers", "void", "candidates"):  # which an older ppm does not know
            if not table[key]:
                del table[key]
        return table

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
            raise IntegrityError("is not an audit", context=origin) from error
        return Audit.from_table(table, origin)

    def _check_complete(self) -> None:
        """Raises ManifestError where a figure is missing that every audit has, or the verdict does not follow."""
        for label in self.suites:
            for configuration in self.configurations:
                if label not in self.matrix.get(configuration, {}):
                    raise ManifestError(f"matrix.{configuration} lacks {label}")
        if self.verdict == "none":
            raise ManifestError("the verdict is 'none'")
        if self.may_deploy and self.verdict != verdict_of(self.comparisons):
            raise ManifestError(f"the verdict is {self.verdict!r}, but its comparisons say otherwise")

    def _is_rate(self, label: str) -> bool:
        return label in self.suites and figures_of(self.suites[label].metric, label).is_rate

    def _check_range(self) -> None:
        """Raises ManifestError where a figure is one that no audit can have, or the verdict is not the rules'."""
        if not 0 < self.alpha < 1 or self.looks < 1:
            raise ManifestError(f"alpha {self.alpha:g} in {self.looks} looks is impossible")
        for configuration, cells in self.matrix.items():
            for label, cell in cells.items():
                most = math.inf if not self._is_rate(label) else 1.0
                if not -_NOISE <= cell.low <= cell.value + _NOISE or not cell.value <= cell.high + _NOISE:
                    raise ManifestError(f"matrix.{configuration}.{label}: {cell.value:g} is not between its bounds")
                suite = self.suites.get(label)
                if cell.corrected is not None and (
                    len(cell.corrected) != 3 or suite is None or None in (suite.sensitivity, suite.specificity)
                ):
                    raise ManifestError(
                        f"matrix.{configuration}.{label}: what is corrected, and for what, is incomplete"
                    )
                if cell.value > most + _NOISE or cell.prompts < 0:
                    raise ManifestError(f"matrix.{configuration}.{label} is out of range")
        for found in self.comparisons:
            if not found.lower - _NOISE <= found.difference <= found.upper + _NOISE:
                raise ManifestError(f"{found.suite}, {found.rule}: {found.difference:g} is not between its bounds")
            if found.change is not None and not math.isfinite(found.change):
                raise ManifestError(f"{found.suite}, {found.rule}: the change {found.change:g} is impossible")

    @staticmethod
    def from_table(table: object, origin: str) -> "Audit":
        """Raises IntegrityError when the table is not an audit's."""
        try:
            if not isinstance(table, dict) or table.get("schema") not in READABLE:
                raise ManifestError(f"its schema is not one of {', '.join(map(str, READABLE))}")
            values = {key: value for key, value in table.items() if key not in ("schema", "guarantee")}
            found = read_table(Audit, values, origin)
            if table["schema"] == 1 and found.verdict == "pass" and verdict_of(found.comparisons) == "waived":
                found = replace(found, verdict="waived")
            found._check_complete()
            found._check_range()
            return found
        except ManifestError as error:
            raise IntegrityError(
                f"is not an audit that this version of ppm can read ({error.message})", context=origin
            ) from error
