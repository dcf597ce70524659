"""ppm.toml: what a project asks for, from where, and under which policy."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

from ppm import document
from ppm.base import is_known
from ppm.moment import Moment
from ppm.names import check_name, expand, is_folder, is_url
from ppm.requirement import Requirement

__all__ = [
    "PROJECT_FILE",
    "Gates",
    "Project",
    "keys_of",
    "preferred",
]

PROJECT_FILE = "ppm.toml"


def preferred(entry: str) -> tuple[str, str]:
    """The two patches of a priority such as `harm-refusal>helpfulness`: (preferred, other). Raises ValueError."""
    first, sign, second = (part.strip() for part in entry.partition(">"))
    if not sign:
        raise ValueError(f"{entry!r} is not a priority such as 'harm-refusal>helpfulness'")
    first, second = check_name(first), check_name(second)
    if first == second:
        raise ValueError(f"{entry!r} prefers {first} to itself")
    return first, second


def keys_of(owner: str | None, label: str) -> tuple[str, ...]:
    """What a policy may call a suite: as audits do, by its name alone, or by its patch and its name."""
    name = label.rpartition("/")[2]
    return (label, name) if owner is None else (label, name, f"{owner}/{name}")


@dataclass(frozen=True)
class Gates:
    """The deployer's policy: it overrides what packages declare.

    `preserve` is the least share of a patch's effect that a composition must keep. `suites` are TOML files of further
    suites against the base, as a base model's `ppm-base.toml`. `looks` are shares of the prompts after which a decision
    may be taken early; every look spends an equal part of alpha. Triggers work at a threshold that
    finds `trigger_recall` of a risk's ranking prompts, and fires on no more than `trigger_alarms` of the ordinary ones;
    a patch without such a threshold is refused. With `trigger` "always" they are left out: each patch is always on.
    With `groups` every suite's evidence is counted in groups, of suites that declare none too. `retired` are suites of
    replaced versions, as audits name them, that are not run any more. `priority` says of patches that want opposite
    things which one counts, as `preferred` reads it. `more_prompts` are files of further prompts for suites, which
    `keys_of` says the names of.
    """

    alpha: float = 0.05
    max_margin: float | None = None
    min_effect: float | None = None
    preserve: float | None = None
    min_prompts: int | None = None
    suites: tuple[str, ...] = ()
    looks: tuple[float, ...] = ()
    trigger_recall: float | None = None
    trigger_alarms: float | None = None
    trigger: Literal["always"] | None = None
    groups: bool | None = None
    retired: tuple[str, ...] = ()
    priority: tuple[str, ...] = ()
    more_prompts: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < self.alpha <= 0.5:
            raise ValueError(f"alpha must be above 0 and at most 0.5, not {self.alpha}")
        if self.max_margin is not None and not 0 < self.max_margin < 1:
            raise ValueError(f"max_margin must be above 0 and below 1, not {self.max_margin}")
        for key in ("min_effect", "preserve"):
            share = getattr(self, key)
            if share is not None and not 0 <= share <= 1:
                raise ValueError(f"{key} must be between 0 and 1, not {share}")
        if self.preserve == 1:
            raise ValueError("preserve must be below 1: no composition can be shown to keep all of an effect")
        if self.min_prompts is not None and self.min_prompts < 1:
            raise ValueError(f"min_prompts must be 1 or more, not {self.min_prompts}")
        if self.trigger_recall is not None and not 0 < self.trigger_recall <= 1:
            raise ValueError(f"trigger_recall must be above 0 and at most 1, not {self.trigger_recall}")
        if self.trigger_alarms is not None and not 0 <= self.trigger_alarms < 1:
            raise ValueError(f"trigger_alarms must be 0 or more and below 1, not {self.trigger_alarms}")
        if self.trigger == "always" and self.trigger_alarms is not None:
            raise ValueError('trigger = "always" leaves triggers out, so trigger_alarms says nothing; drop one of them')
        if any(not 0 < look < after for look, after in pairwise((*self.looks, 1.0))):
            raise ValueError(f"looks must be rising numbers above 0 and below 1, not {list(self.looks)}")
        said = [preferred(entry) for entry in self.priority]
        object.__setattr__(self, "priority", tuple(dict.fromkeys(">".join(pair) for pair in said)))
        twice = next((pair for pair in said if pair[::-1] in said), None)
        if twice is not None:
            raise ValueError(f"priority prefers both {twice[0]} to {twice[1]} and {twice[1]} to {twice[0]}")


@dataclass(frozen=True)
class Project:
    """One ppm.toml: the patches a project wants, on which base, from where, and under which policy.

    `constraints` limit versions without asking for patches, `overrides` take the place of what dependencies ask, and
    what came into its source after `exclude_newer` is left out; some names have another moment.
    """

    base: str | None = None
    patches: tuple[Requirement, ...] = ()
    strategy: str | None = None
    sources: tuple[str, ...] = ()
    constraints: tuple[Requirement, ...] = ()
    overrides: tuple[Requirement, ...] = ()
    exclude_newer: Moment | None = None
    exclude_newer_package: dict[str, Moment] = field(default_factory=dict)
    gates: Gates = field(default_factory=Gates)

    def __post_init__(self) -> None:
        for key in ("constraints", "overrides"):
            wrong = next((r.text for r in getattr(self, key) if r.is_file or r.address), None)
            if wrong is not None:
                raise ValueError(f"{key}: {wrong!r} is not a requirement such as 'toxicity>=1,<2'")
        remote = next((r.text for r in self.patches if r.address), None)
        if remote is not None:
            raise ValueError(f"patches: {remote[:80]!r} is a URL; download the package file, and give its path")
        overridden = [requirement.name for requirement in self.overrides]
        for name in overridden:
            if overridden.count(name) > 1:
                raise ValueError(
                    f"overrides: there are several for {name!r}; combine them into one, such as 'core>=1,<2'"
                )
        for key in ("base", "strategy"):
            if getattr(self, key) == "":
                raise ValueError(f"{key} must not be empty")
        if "" in self.sources:
            raise ValueError("sources are folders of package files, but one of them is empty")
        places = {"base": (self.base,), "strategy": (self.strategy,), "sources": self.sources}
        for key, texts in {**places, "gates.suites": self.gates.suites}.items():
            url = next((text for text in texts if text is not None and is_url(text)), None)
            if url is not None:
                raise ValueError(f"{key}: {url[:80]!r} is a URL, but URLs are not supported yet")

    @staticmethod
    def locate(start: Path) -> Path | None:
        """The nearest ppm.toml in `start` or a folder above it."""
        start = start.absolute()
        candidates = (folder / PROJECT_FILE for folder in (start, *start.parents))
        return next((path for path in candidates if path.is_file()), None)

    @staticmethod
    def read(path: Path) -> "Project":
        """A project from its file; folders that it names relative to that file come back absolute.

        Raises ManifestError.
        """
        return Project.of(document.read_file(path), path)

    @staticmethod
    def of(table: Mapping[str, object], path: Path) -> "Project":
        """A project from the data of the file at `path`. Raises ManifestError."""
        project = document.read_table(Project, table, str(path))
        folder = path.absolute().parent
        base = project.base
        # A base may be a hub name as well as a folder, and the two look alike.
        if base is not None and not is_known(base) and is_folder(folder / expand(base)):
            base = str(folder / expand(base))
        sources = tuple(str(folder / expand(source)) for source in project.sources)
        suites = tuple(str(folder / expand(suite)) for suite in project.gates.suites)
        more = {label: str(folder / expand(file)) for label, file in project.gates.more_prompts.items()}
        strategy = project.strategy
        if strategy is not None and ("/" in strategy or strategy.endswith(".toml")):
            strategy = str(folder / expand(strategy))
        return replace(
            project,
            base=base,
            strategy=strategy,
            sources=sources,
            gates=replace(project.gates, suites=suites, more_prompts=more),
        )

    @staticmethod
    def find(start: Path) -> "Project | None":
        """The project that the folder `start` belongs to. Raises ManifestError when its file is malformed."""
        path = Project.locate(start)
        return Project.read(path) if path else None
