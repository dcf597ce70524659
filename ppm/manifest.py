"""patch.toml <-> Manifest: what a patch, or a composition of patches, says of itself."""

import hashlib
import json
import re
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from ppm import document
from ppm.errors import ManifestError

__all__ = [
    "DEFAULT_MARGIN",
    "LONGEST_NAME",
    "UTILITY_MARGIN",
    "Base",
    "Component",
    "CompositionRecord",
    "DataFile",
    "Decoding",
    "Judge",
    "Manifest",
    "Patch",
    "Placement",
    "PrefixShape",
    "Replay",
    "Retention",
    "Stage",
    "Suite",
    "Training",
    "base_tag",
    "canonical_digest",
    "check_name",
    "check_tested",
    "judge_files",
]

SCHEMA = 1
LONGEST_NAME = 100
MAX_VIRTUAL_TOKENS = 4096
DEFAULT_MARGIN = 0.05
UTILITY_MARGIN = 0.03
Placement = Literal["before-bos", "after-bos"]
_NAME = re.compile(rf"[A-Za-z0-9]([A-Za-z0-9._-]{{0,{LONGEST_NAME - 2}}}[A-Za-z0-9])?")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def base_tag(model: str, fingerprint: str) -> str:
    """A base tag: the model's short name and 12 hexadecimal digits of its fingerprint."""
    short = re.sub(r"[^A-Za-z0-9.]+", "-", PurePosixPath(model).name).strip("-.") or "model"
    return f"{short.lower()}-{fingerprint.removeprefix('sha256:')[:12]}"


def check_name(name: str) -> str:
    """The normalised name (PEP 503). Raises ValueError when it is not a name."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a name: letters, digits, '-', '_' and '.', at most {LONGEST_NAME} of them")
    return str(canonicalize_name(name))


def canonical_digest(value: Any) -> str:
    """`sha256:` and the digest of plain data, the same for any order of keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _check_version(text: str) -> str:
    try:
        return str(Version(text))
    except InvalidVersion as error:
        raise ValueError(f"{text!r} is not a PEP 440 version such as 1.2.0") from error


def _check_specifiers(table: dict[str, str], what: str) -> dict[str, str]:
    result = {}
    for name, specifier in table.items():
        normal = check_name(name)
        if normal in result:
            raise ValueError(f"{what} names {normal!r} twice")
        try:
            result[normal] = str(SpecifierSet("" if specifier == "*" else specifier)) or "*"
        except InvalidSpecifier as error:
            raise ValueError(
                f"{what}.{name}: {specifier!r} is not a PEP 440 specifier such as '>=1,<2' or '*'"
            ) from error
    return result


def _check_digest(value: str | None, key: str) -> None:
    if value is not None and not _DIGEST.fullmatch(value):
        raise ValueError(f"{key} must be 'sha256:' and 64 hexadecimal digits, not {value!r}")


def _check_path(value: str, key: str) -> None:
    path = PurePosixPath(value)
    if not value or "\\" in value or "\0" in value or path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{key} must be a path inside the patch's folder, not {value!r}")


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
    options: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def from_toml(value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, dict):
            name = {"name": value["name"]} if "name" in value else {}
            return {**name, "options": {k: v for k, v in value.items() if k != "name"}}
        return value

    def to_toml(self) -> Any:
        return {"name": self.name, **self.options} if self.options else self.name


@dataclass(frozen=True)
class Suite:
    """One regression test: prompts, a judge, a metric, decoding and a margin.

    `metric` is `rate` (share of completions the judge calls a failure, or a success for goal `higher`)
    or `perplexity`. `margin` is in units of the rate, or of the log perplexity ratio.
    """

    name: str
    prompts: str
    judge: Judge
    against: Literal["specialist", "base"] = "specialist"
    metric: Literal["rate", "perplexity"] = "rate"
    goal: Literal["lower", "higher"] = "lower"
    samples: int = 1
    margin: float | None = None
    min_effect: float | None = None
    limit: float | None = None
    decoding: Decoding = field(default_factory=Decoding)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", check_name(self.name))
        _check_path(self.prompts, "prompts")
        for key, path in judge_files(self.judge).items():
            _check_path(path, f"judge.{key}")
        if not 1 <= self.samples <= 1000:
            raise ValueError("samples must be between 1 and 1000")
        if self.margin is not None and not 0 < self.margin < 1:
            raise ValueError("margin must be above 0 and below 1")
        for key in ("min_effect", "limit"):
            value = getattr(self, key)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{key} must be between 0 and 1")
        if self.metric == "perplexity" and self.against == "specialist":
            raise ValueError('metric "perplexity" is for utility: set against = "base"')
        if self.against == "base" and self.min_effect is not None:
            raise ValueError("min_effect is for a patch's own risk; a suite against the base has none")
        if self.metric == "perplexity" and self.limit is not None:
            raise ValueError("limit is for rates; perplexity has none")

    @property
    def allowance(self) -> float:
        """The margin, or the default: 0.03 for utility, else 0.05."""
        if self.margin is not None:
            return self.margin
        return UTILITY_MARGIN if self.against == "base" else DEFAULT_MARGIN


@dataclass(frozen=True)
class Patch:
    """The `[patch]` table."""

    name: str
    version: str
    risks: tuple[str, ...] = ()
    summary: str = ""
    license: str = ""
    authors: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()
    replaces: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", check_name(self.name))
        object.__setattr__(self, "version", _check_version(self.version))
        object.__setattr__(self, "provides", tuple(check_name(name) for name in self.provides))
        object.__setattr__(self, "replaces", _check_specifiers(self.replaces, "replaces"))


@dataclass(frozen=True)
class Base:
    """The `[base]` table: which model the patch is made for."""

    model: str
    revision: str | None = None
    fingerprint: str | None = None
    placement: Placement = "before-bos"
    chat_template: str | None = None

    def __post_init__(self) -> None:
        _check_digest(self.fingerprint, "fingerprint")
        _check_digest(self.chat_template, "chat_template")
        if self.revision is not None and not re.fullmatch(r"[0-9a-f]{40}", self.revision):
            raise ValueError(f"revision must be a full commit (40 hexadecimal digits), not {self.revision!r}")

    @property
    def tag(self) -> str:
        """The base tag; of a source manifest, which has no fingerprint yet, it ends in zeros."""
        return base_tag(self.model, self.fingerprint or "0" * 12)


@dataclass(frozen=True)
class PrefixShape:
    """The `[prefix]` table."""

    virtual_tokens: int
    init_text: str = ""

    def __post_init__(self) -> None:
        if not 1 <= self.virtual_tokens <= MAX_VIRTUAL_TOKENS:
            raise ValueError(f"virtual_tokens must be between 1 and {MAX_VIRTUAL_TOKENS}")


@dataclass(frozen=True)
class Replay:
    """Where the packaged sample of training pairs is."""

    pairs: str = "replay.jsonl"

    def __post_init__(self) -> None:
        _check_path(self.pairs, "pairs")


@dataclass(frozen=True)
class Retention:
    """Where the packaged benign prompts are."""

    prompts: str = "retention.jsonl"

    def __post_init__(self) -> None:
        _check_path(self.prompts, "prompts")


@dataclass(frozen=True)
class Stage:
    """One stage of training. `beta` and `sft_weight` are DPO's.

    `sft_weight` times the loss of the chosen answers keeps DPO from making both answers unlikely, which costs a small
    model its fluency (Pang et al. 2024, arXiv 2404.19733, eq. 1).
    """

    steps: int
    learning_rate: float
    batch_size: int = 16
    beta: float = 0.1
    sft_weight: float = 1.0

    def __post_init__(self) -> None:
        if self.sft_weight < 0:
            raise ValueError("sft_weight must be 0 or more")
        if self.steps < 0 or self.batch_size < 1 or self.learning_rate <= 0 or self.beta <= 0:
            raise ValueError("steps must be 0 or more, and batch_size, learning_rate and beta above 0")


@dataclass(frozen=True)
class Training:
    """The `[training]` table of a source manifest; it is not packaged."""

    pairs: str | None = None
    prompts: str | None = None
    teacher: str | None = None
    benign: str | None = None
    sft: Stage = Stage(steps=150, learning_rate=2e-2)
    dpo: Stage = Stage(steps=60, learning_rate=5e-3, batch_size=12)
    retention_weight: float = 3.0
    seed: int = 0

    def __post_init__(self) -> None:
        for key in ("pairs", "prompts", "benign"):
            value = getattr(self, key)
            if value is not None:
                _check_path(value, key)
        if (self.pairs is None) == (self.prompts is None):
            raise ValueError("give either pairs, or prompts and a teacher")
        if self.prompts is not None and self.teacher is None:
            raise ValueError("prompts need a teacher to answer them")


@dataclass(frozen=True)
class Component:
    """A patch that a composition was made from."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True)
class CompositionRecord:
    """The `[composition]` table: how a composition was made."""

    strategy: str
    strategy_digest: str
    components: tuple[Component, ...]
    seed: int = 0
    chosen_by: str = ""
    parent: str | None = None


@dataclass(frozen=True)
class DataFile:
    """A data file that a manifest names: its path and what its lines are."""

    path: str
    kind: Literal["prompts", "pairs", "benign", "text"]
    key: str


@dataclass(frozen=True)
class Manifest:
    """One patch.toml. Names and versions are normalised; paths are relative to the manifest."""

    schema: int
    patch: Patch
    base: Base
    prefix: PrefixShape
    dependencies: dict[str, str] = field(default_factory=dict)
    conflicts: dict[str, str] = field(default_factory=dict)
    suites: tuple[Suite, ...] = ()
    replay: Replay | None = None
    retention: Retention | None = None
    training: Training | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    composition: CompositionRecord | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "dependencies", _check_specifiers(self.dependencies, "dependencies"))
        object.__setattr__(self, "conflicts", _check_specifiers(self.conflicts, "conflicts"))
        names = [suite.name for suite in self.suites]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two suites are called {name!r}")

    @property
    def name(self) -> str:
        return self.patch.name

    @property
    def version(self) -> str:
        return self.patch.version

    @property
    def pin(self) -> str:
        """`name==version`."""
        return f"{self.name}=={self.version}"

    @staticmethod
    def parse(data: bytes | str, origin: str) -> "Manifest":
        """A manifest from TOML. Raises ManifestError."""
        table = document.parse(data, origin)
        schema = table.get("schema")
        if schema != SCHEMA:
            raise ManifestError(
                f"schema {schema!r} is not known" if "schema" in table else "schema is missing",
                context=origin,
                hint=f"this ppm reads schema = {SCHEMA}; a newer one needs a newer ppm",
            )
        return document.read_table(Manifest, table, origin)

    @staticmethod
    def read(path: Path) -> "Manifest":
        """A manifest from a file. Raises ManifestError."""
        try:
            return Manifest.parse(path.read_bytes(), str(path))
        except OSError as error:
            raise ManifestError(
                f"can't be read: {error.strerror}", context=str(path), hint="give the path of a patch.toml"
            ) from error

    def render(self) -> str:
        """The manifest as TOML."""
        return document.render(document.to_table(self))

    def without_training(self) -> "Manifest":
        """The manifest as it is packaged."""
        return replace(self, training=None)

    def data_files(self) -> list[DataFile]:
        """Every data file that the manifest names, training data included."""
        files = [DataFile(suite.prompts, "prompts", f"suites.{suite.name}.prompts") for suite in self.suites]
        files += [
            DataFile(path, "text", f"suites.{suite.name}.judge.{key}")
            for suite in self.suites
            for key, path in judge_files(suite.judge).items()
        ]
        if self.replay:
            files.append(DataFile(self.replay.pairs, "pairs", "replay.pairs"))
        if self.retention:
            files.append(DataFile(self.retention.prompts, "benign", "retention.prompts"))
        if self.training:
            named = (("pairs", "pairs"), ("prompts", "prompts"), ("benign", "benign"))
            for key, kind in named:
                path = getattr(self.training, key)
                if path:
                    files.append(DataFile(path, kind, f"training.{key}"))  # type: ignore[arg-type]
        return files


def check_tested(manifest: Manifest, origin: str) -> None:
    """Raises ManifestError when no suite of a patch compares a failure rate with the specialist's.

    Such a patch could do nothing and pass.
    """
    if not any(suite.against == "specialist" and suite.metric == "rate" for suite in manifest.suites):
        raise ManifestError(
            "has no suite that tests its own risk",
            context=origin,
            hint='add [[suites]] with against = "specialist" and metric = "rate"; what is not tested is not deployed',
        )


def judge_files(judge: Judge) -> dict[str, str]:
    """The options of a judge that name a packaged file, by option: those whose value is a path under `suites/`."""
    return {
        key: value for key, value in judge.options.items() if isinstance(value, str) and value.startswith("suites/")
    }
