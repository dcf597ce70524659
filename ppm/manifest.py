"""patch.toml <-> Manifest: what a patch, or a composition of patches, says of itself."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from ppm import document
from ppm.bank_table import BankTable
from ppm.errors import ManifestError
from ppm.names import (
    base_tag,
    check_digest,
    check_line,
    check_name,
    check_path,
    check_seed,
    check_sha256,
    check_specifiers,
    check_version,
)
from ppm.suite import Suite, judge_files
from ppm.training_table import Training, check_commit

__all__ = [
    "Base",
    "Component",
    "CompositionRecord",
    "DataFile",
    "Manifest",
    "Patch",
    "Placement",
    "PrefixShape",
    "Replay",
    "Retention",
    "check_tested",
]

SCHEMA = 2
OLDEST = 1
"""What an older ppm reads: no `[bank]`, no evidence or groups of suites, and patches for one base alone."""
MAX_VIRTUAL_TOKENS = 4096
Placement = Literal["before-bos", "after-bos"]


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
        object.__setattr__(self, "version", check_version(self.version))
        object.__setattr__(self, "provides", tuple(check_name(name) for name in self.provides))
        object.__setattr__(self, "replaces", check_specifiers(self.replaces, "replaces"))


@dataclass(frozen=True)
class Base:
    """The `[base]` table: which model the patch is made for, and whether it `accepts` the same model in other forms."""

    model: str
    revision: str | None = None
    fingerprint: str | None = None
    placement: Placement = "before-bos"
    chat_template: str | None = None
    accepts: tuple[Literal["derived"], ...] = ()

    def __post_init__(self) -> None:
        check_line(self.model, "model")
        check_digest(self.fingerprint, "fingerprint")
        check_digest(self.chat_template, "chat_template")
        check_commit(self.revision)

    @property
    def tag(self) -> str:
        """The base tag; of a source manifest, which has no fingerprint yet, it ends in zeros."""
        return base_tag(self.model, self.fingerprint or "0" * 12)


@dataclass(frozen=True)
class PrefixShape:
    """The `[prefix]` table. `init` is `text` where there is an `init_text`, else `vocabulary`.

    0 virtual tokens are those that follow from the base; a package says how many it has.
    """

    virtual_tokens: int = 0
    init_text: str = ""
    init: Literal["text", "vocabulary", "random"] | None = None

    def __post_init__(self) -> None:
        if self.init == "text" and not self.init_text:
            raise ValueError('init = "text" needs an init_text')
        if not 0 <= self.virtual_tokens <= MAX_VIRTUAL_TOKENS:
            raise ValueError(f"virtual_tokens must be between 1 and {MAX_VIRTUAL_TOKENS}, or left out")


@dataclass(frozen=True)
class Replay:
    """Where the packaged sample of training pairs is."""

    pairs: str = "replay.jsonl"

    def __post_init__(self) -> None:
        check_path(self.pairs, "pairs")


@dataclass(frozen=True)
class Retention:
    """Where the packaged benign prompts are."""

    prompts: str = "retention.jsonl"

    def __post_init__(self) -> None:
        check_path(self.prompts, "prompts")


@dataclass(frozen=True)
class Component:
    """A patch that a composition was made from."""

    name: str
    version: str
    sha256: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", check_name(self.name))
        object.__setattr__(self, "version", check_version(self.version))
        check_sha256(self.sha256, "sha256")


@dataclass(frozen=True)
class CompositionRecord:
    """The `[composition]` table: how a composition was made."""

    strategy: str
    strategy_digest: str
    components: tuple[Component, ...]
    seed: int = 0
    chosen_by: str = ""
    parent: str | None = None

    def __post_init__(self) -> None:
        check_line(self.strategy, "strategy")
        check_seed(self.seed)


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
    prefix: PrefixShape = PrefixShape()
    dependencies: dict[str, str] = field(default_factory=dict)
    conflicts: dict[str, str] = field(default_factory=dict)
    suites: tuple[Suite, ...] = ()
    replay: Replay | None = None
    retention: Retention | None = None
    training: Training | None = None
    provenance: dict[str, object] = field(default_factory=dict)
    composition: CompositionRecord | None = None
    bank: BankTable | None = None

    def __post_init__(self) -> None:
        if self.bank is not None and self.schema < SCHEMA:
            raise ValueError(f"[bank] needs schema = {SCHEMA}")
        if self.base.accepts and self.schema < SCHEMA:
            raise ValueError(f"base.accepts needs schema = {SCHEMA}")
        object.__setattr__(self, "dependencies", check_specifiers(self.dependencies, "dependencies"))
        object.__setattr__(self, "conflicts", check_specifiers(self.conflicts, "conflicts"))
        for key in ("evidence", "group", "second_judge") if self.schema < SCHEMA else ():
            having = next((suite.name for suite in self.suites if getattr(suite, key) is not None), None)
            if having is not None:
                raise ValueError(f"the {key} of the suite {having!r} needs schema = {SCHEMA}")
        sealed = next((suite.name for suite in self.suites if suite.sealed), None)
        if sealed is not None:
            raise ValueError(f"the suite {sealed!r} can't be sealed in a package, which anybody can read")
        names = [suite.name for suite in self.suites]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two suites are named {name!r}")

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
        return document.read_document(Manifest, data, origin, schema=SCHEMA, oldest=OLDEST)

    @staticmethod
    def read(path: Path) -> "Manifest":
        """A manifest from a file. Raises ManifestError."""
        try:
            return Manifest.parse(path.read_bytes(), str(path))
        except OSError as error:
            raise ManifestError(
                f"can't be read: {error.strerror}",
                context=str(path),
                hint="name a patch.toml, or its folder",
            ) from error

    def render(self) -> str:
        """The manifest as TOML."""
        return document.render(document.table_of(self))

    def with_bank(self, bank: BankTable | None) -> "Manifest":
        """The manifest of a patch with this `[bank]` table, and of the schema that it takes."""
        schema = self.schema if bank is None else SCHEMA
        return replace(self, schema=schema, bank=bank)

    def counted_in_groups(self) -> "Manifest":
        """The manifest with what schema 2 means for its suites: a prompt's `group` is its group, unless one says else.

        Of schema 1, whose prompts may have a `group` that is for their judge, as it is.
        """
        if self.schema < SCHEMA:
            return self
        return replace(self, suites=tuple(replace(s, group=s.group or "group") for s in self.suites))

    def without_training(self) -> "Manifest":
        """The manifest as it is packaged."""
        return replace(self, training=None)

    def data_files(self) -> list[DataFile]:
        """Every data file that the manifest names, training data included."""
        files = [DataFile(suite.prompts, "prompts", f"suites.{suite.name}.prompts") for suite in self.suites]
        files += [
            DataFile(path, "text", f"suites.{suite.name}.{key}")
            for suite in self.suites
            for key, path in suite.judge_files.items()
        ]
        if self.replay:
            files.append(DataFile(self.replay.pairs, "pairs", "replay.pairs"))
        if self.retention:
            files.append(DataFile(self.retention.prompts, "benign", "retention.prompts"))
        if self.training:
            kinds: tuple[Literal["pairs", "prompts", "benign"], ...] = ("pairs", "prompts", "benign")
            for kind in kinds:
                path = getattr(self.training, kind)
                if path:
                    files.append(DataFile(path, kind, f"training.{kind}"))
            if self.training.ranking:
                files.append(DataFile(self.training.ranking, "pairs", "training.ranking"))
            if self.training.examples:
                files.append(DataFile(self.training.examples, "benign", "training.examples"))
            if self.training.collect.judge:
                found = judge_files(self.training.collect.judge).items()
                files += [DataFile(path, "text", f"training.collect.judge.{key}") for key, path in found]
        return files


def check_tested(manifest: Manifest, origin: str) -> None:
    """Raises ManifestError when no suite of a patch compares it with the specialist.

    Such a patch could do nothing and pass.
    """
    if not any(suite.against == "specialist" for suite in manifest.suites):
        raise ManifestError(
            "has no suite that tests the patch's own risk",
            context=origin,
            hint='add [[suites]] with against = "specialist"; untested patches are not deployed',
        )
