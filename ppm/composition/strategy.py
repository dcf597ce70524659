"""Strategy files: recipes that compose several patches, as TOML that people review and hash."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ppm import document
from ppm.composition.registry import code_of, options_of
from ppm.errors import ManifestError, RequestError, did_you_mean
from ppm.names import canonical_digest, check_name, expand
from ppm.resources import strategies_folder

__all__ = ["AUTOMATIC", "StepCall", "Strategy", "builtin_strategies", "preferring", "read_strategy"]

AUTOMATIC = "auto"
"""The strategy that is taken where nobody says another; there is one of it for each preference, too."""


@dataclass(frozen=True)
class StepCall:
    """One step of a strategy: its name and its options."""

    use: str
    options: dict[str, object] = field(default_factory=dict)

    @staticmethod
    def from_toml(value: object) -> object:
        if isinstance(value, dict):
            return {"use": value.get("use"), "options": {k: v for k, v in value.items() if k != "use"}}
        return value

    def to_toml(self) -> object:
        return {"use": self.use, **self.options}


@dataclass(frozen=True)
class Strategy:
    """A recipe. `candidates` instead of steps makes it an automatic choice, which only an install can run.

    Without `triggers` what it makes is always on, for its patches' triggers are left out: so it can be exported. With
    `prefer` an automatic choice makes all candidates, and tries those that do best by it first.
    """

    schema: int
    name: str
    summary: str = ""
    cost: str = ""
    reference: str = ""
    steps: tuple[StepCall, ...] = ()
    candidates: tuple[str, ...] = ()
    triggers: bool = True
    prefer: Literal["latency", "loss", "tokens"] | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.schema != 1:
            raise ValueError("schema must be 1")
        if bool(self.steps) == bool(self.candidates):
            raise ValueError("a strategy has either a list of [[steps]] or a list of candidates")
        if self.prefer and not self.candidates:
            raise ValueError("prefer is for a strategy that has candidates")
        if self.name in self.candidates:
            raise ValueError(f"{self.name!r} can't be its own candidate")
        if self.routes and not self.triggers:
            raise ValueError("routing takes triggers, which triggers = false leaves out")

    @property
    def digest(self) -> str:
        """What the strategy does: its steps with all their options and code versions, or its candidates' digests.

        An option that is left out counts with its default. Raises RequestError or ManifestError for a candidate that
        does not exist, or chooses itself.
        """
        candidates = [[name, self.candidate(name).digest] for name in self.candidates]
        without = {} if self.triggers else {"triggers": False}
        order = {"prefer": self.prefer} if self.prefer else {}
        steps = [_done(call) for call in self.steps]
        return canonical_digest({"steps": steps, "candidates": candidates, **without, **order})

    def candidate(self, name: str) -> "Strategy":
        """One of the candidates. Raises RequestError or ManifestError when it does not exist or has no steps."""
        found = read_strategy(name)
        if found.is_automatic:
            raise ManifestError(
                f"the candidate {name!r} itself chooses between candidates",
                context=f"strategy {self.name}",
                hint="use strategies that have steps",
            )
        if found.routes and not self.triggers:
            raise ManifestError(
                f"the candidate {name!r} takes triggers, which triggers = false leaves out",
                context=f"strategy {self.name}",
                hint="leave it out of the candidates, or allow triggers",
            )
        return found

    @property
    def is_automatic(self) -> bool:
        return bool(self.candidates)

    @property
    def needs_parent(self) -> bool:
        """Whether the strategy goes on from a deployed composition."""
        return any(call.use == "resume" for call in self.steps)

    @property
    def routes(self) -> bool:
        """Whether the strategy puts patches behind triggers."""
        return any(call.use in ("route", "route-several") for call in self.steps)

    @property
    def isolates(self) -> bool:
        """Whether the strategy puts patches side by side, in front of every prompt."""
        return any(call.use == "isolate" for call in self.steps)


def _done(call: StepCall) -> list[object]:
    """A step as a digest has it: its name, its code and its options, as they were written where it can't be loaded."""
    schema = options_of(call.use)
    options = schema.filled(call.options) if schema is not None else call.options
    return [call.use, code_of(call.use), document.to_table(options)]


def builtin_strategies() -> dict[str, Path]:
    """The strategies that ship with ppm, by name."""
    return {path.stem: path for path in sorted(strategies_folder().glob("*.toml"))}


def preferring(name: str, objective: str) -> str:
    """The automatic strategy, or one of its kin, with another preference; without an `objective` any name as it is.

    Raises RequestError for a strategy that has no such kin.
    """
    if not objective or name == f"{AUTOMATIC}-{objective}":
        return name
    kin = {other for other in builtin_strategies() if other.startswith(f"{AUTOMATIC}-")}
    if name != AUTOMATIC and name not in kin:
        raise RequestError(
            f"--prefer {objective} orders the candidates of {AUTOMATIC}, but the strategy is {name}",
            hint=f"say --strategy {AUTOMATIC}, too, or leave --prefer {objective} out",
        )
    return f"{AUTOMATIC}-{objective}"


def read_strategy(name: str) -> Strategy:
    """A built-in strategy by name, or one from a TOML file by path.

    Raises RequestError when there is none, ManifestError when the file is malformed.
    """
    known = builtin_strategies()
    path = expand(name)
    if name not in known and not path.is_file():
        otherwise = f"use one of {', '.join(known)}, or the path of a TOML file"
        raise RequestError(f"there is no strategy {name!r}", hint=did_you_mean(name, known, otherwise))
    path = known.get(name, path)
    table = document.read_file(path)
    if isinstance(candidates := table.get("candidates"), list):  # a candidate's path is relative to the file
        beside = [path.parent / text if isinstance(text, str) else None for text in candidates]
        table["candidates"] = [
            str(found.absolute()) if found is not None and text not in known and found.is_file() else text
            for text, found in zip(candidates, beside, strict=True)
        ]
    steps = table.get("steps")
    for index, step in enumerate(steps if isinstance(steps, list) else ()):
        if not isinstance(step, dict) or not isinstance(step.get("use"), str):
            raise ManifestError(f"steps[{index}] must say which step to use", context=str(path), hint='use = "distil"')
    return document.read_table(Strategy, table, str(path))
