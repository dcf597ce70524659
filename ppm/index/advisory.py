"""An advisory in OSV's form (ossf.github.io/osv-schema): which versions of patches fail, and on which prompts.

The prompts are in `database_specific`, as a suite. Nothing of it is read before its publisher's signature is checked.
"""

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from ppm.document import read_table
from ppm.errors import IntegrityError, ManifestError
from ppm.jsonl import normalised, read_prompts
from ppm.names import check_line, check_name, check_version, cut
from ppm.suite import Decoding, Judge, Suite

__all__ = ["ECOSYSTEM", "PROMPTS_FILE", "Advisory", "FailingPrompts", "Listed", "check_id"]

ECOSYSTEM = "ppm"
PROMPTS_FILE = "suites/advisory.jsonl"
"""What the prompts of an advisory are called where a suite names a file."""
MAX_BYTES = 2**20
MAX_ANSWERS = 10_000
"""How many answers an advisory may ask for: its prompts times its samples."""
_MAX_LINE, _MAX_DETAILS, _MOST = 500, 20_000, 1000
_ID = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,98}[A-Za-z0-9])?")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z")
_SCHEMA = re.compile(r"1\.(\d{1,3})\.\d{1,3}")
_OLDEST = 6
_HINT = "the form is OSV's, with the failing prompts in database_specific; see docs/index.md"


def check_id(text: str) -> None:
    """Raises ValueError for what can't be the id of an advisory."""
    if not _ID.fullmatch(text) or ".." in text:
        shown = repr(text[:40])
        raise ValueError(f"id {shown} is not one: letters, digits, '-', '_' and '.', at most 100 of them")


def _check_moment(text: str, key: str) -> datetime:
    if not _MOMENT.fullmatch(text):
        raise ValueError(f"{key} must be a time in UTC such as 2026-11-28T12:00:00Z")
    return datetime.fromisoformat(text).astimezone(UTC)


def _check_text(text: str, key: str, most: int = _MAX_LINE) -> None:
    """Raises ValueError for text that is too long, or that could change how the lines around it are read."""
    if len(text) > most:
        raise ValueError(f"{key} has more than {most:,} characters")
    for line in text.split("\n") if most == _MAX_DETAILS else (text,):
        check_line(line.replace("\t", " "), key)


@dataclass(frozen=True)
class AffectedPackage:
    """The patch that an advisory is about."""

    name: str
    ecosystem: Literal["ppm"] = "ppm"
    purl: str | None = None

    def __post_init__(self) -> None:
        if check_name(self.name) != self.name:
            raise ValueError(f"name {self.name!r} is not in its normal form")
        _check_text(self.purl or "", "purl")


@dataclass(frozen=True)
class Affected:
    """Some versions of a patch, each of them named."""

    package: AffectedPackage
    versions: tuple[str, ...]

    def __post_init__(self) -> None:
        if not 0 < len(self.versions) <= _MOST:
            raise ValueError(f"versions must name from 1 to {_MOST} versions")
        for version in self.versions:
            if check_version(version) != version:
                raise ValueError(f"version {version!r} is not in its normal form")


@dataclass(frozen=True)
class FailingPrompts:
    """The suite of an advisory: prompts on which the affected versions fail more often than `limit`.

    Judge, decoding, samples and goal are as in a patch's suite; the prompts are tables as in a file of prompts.
    """

    judge: Judge
    limit: float
    prompts: tuple[dict[str, object], ...]
    decoding: Decoding = field(default_factory=Decoding)
    samples: int = 1
    goal: Literal["lower", "higher"] = "lower"

    def __post_init__(self) -> None:
        _check_text(self.judge.name, "judge")
        if self.suite.judge_files:
            raise ValueError("the judge of an advisory has its words in the advisory, and names no file")
        if not 0 <= self.limit < 1:
            raise ValueError("limit must be 0 or more, and below 1")
        if not self.prompts or len(self.prompts) * self.samples > MAX_ANSWERS:
            raise ValueError(f"prompts times samples must be between 1 and {MAX_ANSWERS:,}")
        try:
            found = read_prompts(self.file, "prompts")
        except ManifestError as error:
            raise ValueError(f"{error.context}: {error.message}") from error
        if len({normalised(prompt.prompt) for prompt in found}) < len(found):
            raise ValueError("a prompt occurs twice: each counts as separate evidence")

    @property
    def suite(self) -> Suite:
        """The same as a suite of a patch. Raises ValueError."""
        return Suite(
            "advisory",
            PROMPTS_FILE,
            self.judge,
            goal=self.goal,
            samples=self.samples,
            limit=self.limit,
            decoding=self.decoding,
        )

    @property
    def file(self) -> bytes:
        """The prompts as a file of prompts."""
        return ("\n".join(json.dumps(prompt) for prompt in self.prompts) + "\n").encode()


@dataclass(frozen=True)
class _Specific:
    suite: FailingPrompts | None = None


@dataclass(frozen=True)
class Advisory:
    """What its publisher says of some versions of its patches. Those that are `withdrawn` say nothing any more."""

    schema_version: str
    id: str
    modified: str
    published: str
    summary: str
    affected: tuple[Affected, ...]
    details: str = ""
    withdrawn: str | None = None
    aliases: tuple[str, ...] = ()
    related: tuple[str, ...] = ()
    severity: tuple[dict[str, str], ...] = ()
    references: tuple[dict[str, str], ...] = ()
    credits: tuple[dict[str, object], ...] = ()
    database_specific: _Specific = field(default_factory=_Specific)

    def __post_init__(self) -> None:
        minor = _SCHEMA.fullmatch(self.schema_version)
        if minor is None or int(minor[1]) < _OLDEST:
            raise ValueError(f"schema_version must be 1.{_OLDEST}.0 or a later one of OSV 1")
        check_id(self.id)
        if _check_moment(self.published, "published") > _check_moment(self.modified, "modified"):
            raise ValueError("modified must not be before published")
        if self.withdrawn is not None:
            _check_moment(self.withdrawn, "withdrawn")
        if not self.summary:
            raise ValueError("summary must say what fails")
        _check_text(self.summary, "summary")
        _check_text(self.details, "details", _MAX_DETAILS)
        if not 0 < len(self.affected) <= _MOST:
            raise ValueError(f"affected must name from 1 to {_MOST} patches")
        if len(self.names) < len(self.affected):
            raise ValueError("affected names a patch twice")
        for key in ("aliases", "related"):
            for other in getattr(self, key):
                check_id(other)
        for key in ("severity", "references"):
            for row in getattr(self, key):
                for text in (*row, *row.values()):
                    _check_text(text, key)

    @staticmethod
    def parse(data: bytes, origin: str) -> "Advisory":
        """An advisory from OSV's JSON. Raises IntegrityError for anything else."""
        if len(data) > MAX_BYTES:
            raise IntegrityError(f"has more than {MAX_BYTES:,} bytes", context=origin, hint=_HINT)
        try:
            return read_table(Advisory, json.loads(data, parse_constant=_refuse), origin)
        except (ValueError, RecursionError) as error:
            raise IntegrityError("is not JSON", context=origin, hint=_HINT) from error
        except ManifestError as error:
            raise IntegrityError(cut(error.message), context=origin, hint=error.hint or _HINT) from error

    @property
    def names(self) -> frozenset[str]:
        """The patches that it is about."""
        return frozenset(one.package.name for one in self.affected)

    @property
    def suite(self) -> FailingPrompts | None:
        """The prompts that fail; None where they are withheld."""
        return self.database_specific.suite

    @property
    def changed(self) -> datetime:
        """When it was last modified."""
        return _check_moment(self.modified, "modified")

    def is_about(self, name: str, version: str) -> bool:
        """Whether it says that this version of a patch fails."""
        return self.withdrawn is None and version in self.versions(name)

    def versions(self, name: str) -> tuple[str, ...]:
        """The versions of a patch that it is about."""
        return next((one.versions for one in self.affected if one.package.name == name), ())


def _refuse(word: str) -> object:
    raise ValueError(f"{word} is no number")


@dataclass(frozen=True)
class Listed:
    """An advisory as an index has it; `sha256` is of its signed envelope, `source` where it is from."""

    advisory: Advisory
    sha256: str
    source: str
