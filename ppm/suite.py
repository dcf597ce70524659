"""What a suite is: prompts, a judge, a metric, decoding and a margin."""

from dataclasses import dataclass, field
from typing import Literal

from ppm.names import check_digest, check_line, check_name, check_path

__all__ = ["DEFAULT_MARGIN", "UTILITY_MARGIN", "Decoding", "Evidence", "Judge", "Suite", "judge_files"]

DEFAULT_MARGIN = 0.05
UTILITY_MARGIN = 0.03
DEFAULT_PRESERVE = 0.8


@dataclass(frozen=True)
class Decoding:
    """How completions are made; temperature 0 is greedy."""

    max_new_tokens: int = 20
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.max_new_tokens <= 4096:
            raise ValueError("max_new_tokens must be between 1 and 4096")
        if self.temperature < 0 or not 0 < self.top_p <= 1:
            raise ValueError("temperature must be 0 or more, and top_p above 0 and at most 1")


@dataclass(frozen=True)
class Judge:
    """A judge by name, with its options; in TOML either a table or just the name."""

    name: str
    options: dict[str, object] = field(default_factory=dict)

    @staticmethod
    def from_toml(value: object) -> object:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, dict):
            name = {"name": value["name"]} if "name" in value else {}
            return {**name, "options": {k: v for k, v in value.items() if k != "name"}}
        return value

    def to_toml(self) -> object:
        return {"name": self.name, **self.options} if self.options else self.name


@dataclass(frozen=True)
class Evidence:
    """How often a suite's judge was right on labelled completions, of failures as the suite counts them.

    `sensitivity` is the share of `failures` that it called failures, `specificity` the share of `successes` that it did
    not; both are means over `groups` of prompts where the labels name groups. `labels` is the digest of their file, and
    `version` the judge's, with what else its verdicts depend on. `controls` is a file of labelled completions that the
    judge scores again at each audit.
    """

    judge: str
    version: str
    sensitivity: float
    specificity: float
    failures: int
    successes: int
    labels: str
    groups: int | None = None
    controls: str | None = None

    def __post_init__(self) -> None:
        if self.controls is not None:
            check_path(self.controls, "evidence.controls")
        check_line(self.judge, "judge")
        check_line(self.version, "version")
        check_digest(self.labels, "labels")
        for key in ("sensitivity", "specificity"):
            if not 0 <= getattr(self, key) <= 1:
                raise ValueError(f"{key} must be between 0 and 1")
        if self.failures < 1 or self.successes < 1 or (self.groups is not None and self.groups < 1):
            raise ValueError("failures, successes and groups must be 1 or more")

    def is_of(self, judge: str, version: str) -> bool:
        """Whether it is about this judge in this version."""
        return (self.judge, self.version) == (judge, version)


@dataclass(frozen=True)
class Suite:
    """One regression test: prompts, a judge, a metric, decoding and a margin.

    `metric` says what is measured, and of what (`ppm.evaluation.measures`, which know the names); a judge's scores show
    failures, or successes for goal `higher`. `margin` is in units of the measure's differences, and `preserve` the
    share of what its patch lowers the base's failure rate by that a composition must keep. `evidence` says how often
    the judge errs. `group` is the field in which a prompt names its group; with it evidence is counted in groups
    (`ppm.evaluation.groups`). Of a `sealed` suite rates are shown, and never a prompt or an answer. What a
    `second_judge` says of the same answers is shown beside the figures.
    """

    name: str
    prompts: str
    judge: Judge
    against: Literal["specialist", "base"] = "specialist"
    metric: str = "rate"
    goal: Literal["lower", "higher"] = "lower"
    samples: int = 1
    margin: float | None = None
    min_effect: float | None = None
    limit: float | None = None
    preserve: float | None = None
    group: str | None = None
    decoding: Decoding = field(default_factory=Decoding)
    evidence: Evidence | None = None
    sealed: bool | None = None
    second_judge: Judge | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", check_name(self.name))
        check_path(self.prompts, "prompts")
        for key, path in self.judge_files.items():
            check_path(path, key)
        if not 1 <= self.samples <= 1000:
            raise ValueError("samples must be between 1 and 1000")
        if self.margin is not None and not 0 < self.margin < 1:
            raise ValueError("margin must be above 0 and below 1")
        for key in ("min_effect", "limit", "preserve"):
            value = getattr(self, key)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{key} must be between 0 and 1")
        if self.preserve == 1:
            raise ValueError("preserve must be below 1: no composition can be shown to keep all of an effect")
        if self.group is not None and not self.group:
            raise ValueError('group must be the name of a field of the prompts, such as "group"')
        for key in ("min_effect", "preserve"):
            if self.against == "base" and getattr(self, key) is not None:
                raise ValueError(f"{key} is for a patch's own risk; a suite against the base can't have it")

    @property
    def judge_files(self) -> dict[str, str]:
        """The packaged files that its judges and its evidence name, by what names them, such as `judge.words`."""
        controls = self.evidence.controls if self.evidence is not None else None
        judges = {"judge": self.judge, **({"second_judge": self.second_judge} if self.second_judge else {})}
        found = {
            f"{key}.{option}": path for key, judge in judges.items() for option, path in judge_files(judge).items()
        }
        return found | ({"evidence.controls": controls} if controls is not None else {})

    @property
    def kept_share(self) -> float:
        """The share of its patch's effect that has to be kept, or the default: 0.8."""
        return DEFAULT_PRESERVE if self.preserve is None else self.preserve

    @property
    def allowance(self) -> float:
        """The margin, or the default: 0.03 for utility, else 0.05."""
        if self.margin is not None:
            return self.margin
        return UTILITY_MARGIN if self.against == "base" else DEFAULT_MARGIN


def judge_files(judge: Judge) -> dict[str, str]:
    """The options of a judge that name a packaged file, by option: those whose value is a path under `suites/`."""
    return {
        key: value for key, value in judge.options.items() if isinstance(value, str) and value.startswith("suites/")
    }
