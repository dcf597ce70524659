"""What advisories were found to mean for what is deployed: the last verdicts, kept so that others need no model."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ppm.disk import disk_errors, make_folder, replace_file
from ppm.document import read_table, table_of
from ppm.environment.deployment import Deployment
from ppm.errors import IntegrityError, ManifestError
from ppm.locking import exclusive
from ppm.names import canonical_digest, check_line, check_name, check_sha256

__all__ = ["Judged", "Verdict", "affecting", "keep_verdicts", "kept_verdicts"]

SCHEMA = 1
_FILE = "advisories.json"
Verdict = Literal["affected", "not affected", "unknown"]


@dataclass(frozen=True)
class Judged:
    """One advisory on one deployed patch, and what was found for a composition.

    `rate` is how often the composition fails on the advisory's prompts, with its upper bound (95 %), `base_rate` how
    often the base does; all None where the verdict is unknown, and `reason` says why. `fixed` is a version that no
    advisory is about, where the source had one.
    """

    id: str
    advisory: str
    composition: str
    name: str
    version: str
    verdict: Verdict
    summary: str
    source: str
    at: str
    reason: str = ""
    rate: float | None = None
    upper: float | None = None
    base_rate: float | None = None
    limit: float | None = None
    prompts: int | None = None
    fixed: str | None = None

    def __post_init__(self) -> None:
        check_sha256(self.advisory, "advisory")
        check_sha256(self.composition, "composition")
        check_name(self.name)
        for key in ("id", "version", "summary", "source", "at", "reason"):
            check_line(getattr(self, key), key)
        measured = (self.rate, self.upper, self.base_rate, self.limit)
        if self.verdict == "unknown":
            return
        if self.prompts is None or any(value is None or not 0 <= value <= 1 for value in measured):
            raise ValueError("what was measured must be rates between 0 and 1, with a number of prompts")

    @property
    def pin(self) -> str:
        """The deployed patch."""
        return f"{self.name}=={self.version}"

    @property
    def next_step(self) -> str:
        """What to do about a patch that is affected."""
        if self.fixed is not None:
            return f"ppm install '{self.name}=={self.fixed}', which it is not about"
        return f"no version without it is known: ask its publisher, or `ppm uninstall {self.name}`"


@dataclass(frozen=True)
class _File:
    schema: Literal[1]
    digest: str
    verdicts: tuple[Judged, ...] = ()


def kept_verdicts(home: Path) -> tuple[Judged, ...]:
    """All verdicts that are kept. Raises IntegrityError when their file is damaged, DiskError."""
    path = home / _FILE
    if not path.is_file():
        return ()
    with disk_errors("can't be read", path):
        data = path.read_bytes()
    hint = "remove the file, and run `ppm advisories` again"
    try:
        found = read_table(_File, json.loads(data), str(path))
    except (ValueError, RecursionError, ManifestError) as error:
        raise IntegrityError("is not what ppm keeps of advisories", context=str(path), hint=hint) from error
    if found.digest != _digest(found.verdicts):
        raise IntegrityError("was truncated or edited", context=str(path), hint=hint)
    return found.verdicts


def keep_verdicts(home: Path, composition: str, verdicts: Sequence[Judged]) -> None:
    """Keep these as all verdicts on a composition, in place of earlier ones. Raises IntegrityError, DiskError."""
    path = home / _FILE
    with exclusive(home / f"{_FILE}.lock", str(path)), disk_errors("can't be written", path):
        found = (*(one for one in kept_verdicts(home) if one.composition != composition), *verdicts)
        table = {"schema": SCHEMA, "digest": _digest(found), "verdicts": [table_of(one) for one in found]}
        make_folder(home)
        replace_file(path, (json.dumps(table, indent=1, ensure_ascii=False) + "\n").encode())


def affecting(home: Path, deployment: Deployment) -> list[Judged]:
    """The kept verdicts by which a deployment is affected. Uses no network. Raises as `kept_verdicts` does."""
    made = deployment.lock.composition
    if made is None:
        return []
    return [one for one in kept_verdicts(home) if (one.composition, one.verdict) == (made.sha256, "affected")]


def _digest(verdicts: Sequence[Judged]) -> str:
    return canonical_digest([table_of(one) for one in verdicts])
