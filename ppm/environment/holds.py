"""Patches that are held: no install, upgrade, uninstall, sync or rollback changes them until they are let go."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ppm import document
from ppm.disk import disk_errors
from ppm.environment import evidence
from ppm.environment.deployment import HOLDS_FILE, Environment
from ppm.environment.transaction import Writer, user_name
from ppm.errors import IntegrityError, ManifestError, PpmError, RequestError
from ppm.lock import Lock
from ppm.names import check_name

__all__ = ["COMMENT", "Hold", "mend_holds", "read_holds", "refuse_held", "write_holds"]

SCHEMA = 1
COMMENT = b"# "
"""What begins the first line of the file, which TOML need not know."""


@dataclass(frozen=True)
class Hold:
    """One held patch; `at` is a time in ISO 8601, UTC."""

    name: str
    by: str
    at: str
    reason: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", check_name(self.name))

    @staticmethod
    def now(name: str, reason: str) -> "Hold":
        """A hold by whoever runs this process."""
        return Hold(name, user_name(), datetime.now(UTC).isoformat(timespec="seconds"), reason)


@dataclass(frozen=True)
class _File:
    schema: int
    holds: tuple[Hold, ...] = ()


def read_holds(environment: Environment) -> tuple[Hold, ...]:
    """The held patches, by name.

    Raises IntegrityError when the file that says so was damaged or deleted, EnvironmentStateError when it can't be
    read.
    """
    path = environment.path / HOLDS_FILE
    found = evidence.read(path, comment=COMMENT)
    if found is None:
        return ()
    holds = _parsed(found.content, path)
    if found.entries not in (None, len(holds)):
        raise IntegrityError(
            f"has only {len(holds)} of its {found.entries} holds", context=str(path), hint=evidence.MEND
        )
    return holds


def _parsed(data: bytes, path: Path) -> tuple[Hold, ...]:
    try:
        table = document.parse(data, str(path))
        if table.get("schema") != SCHEMA:
            raise ManifestError("it was written by a different version of ppm")
        return tuple(sorted(document.read_table(_File, table, str(path)).holds, key=lambda hold: hold.name))
    except ManifestError as error:
        raise IntegrityError(f"is damaged: {error.message}", context=str(path), hint=evidence.MEND) from error


def mend_holds(writer: Writer) -> tuple[int, int] | None:
    """Make a damaged file of holds whole. How many are kept, and how many were lost; None when it is sound.

    Raises EnvironmentStateError.
    """
    path = writer.environment.path / HOLDS_FILE
    try:
        kept, had = read_holds(writer.environment), 0
        if evidence.witness_fault(path, comment=COMMENT) is None:
            return None
    except IntegrityError:
        left = evidence.salvage(path, comment=COMMENT)
        had = left.entries or 0
        try:
            kept = _parsed(left.content, path)
        except IntegrityError:
            kept = ()
    write_holds(writer, kept)
    return len(kept), max(0, had - len(kept))


def refuse_held(environment: Environment, lock: Lock, what: str) -> None:
    """Raises RequestError when `what`, which has this lock, would change or remove a patch that is held.

    Where what is in force can't be read, no version is known that a hold could keep, and nothing is refused.
    """
    try:
        current = environment.current()
        deployed = {p.name: p for p in current.lock.packages} if current else {}
    except PpmError:
        return
    locked = {p.name: p for p in lock.packages}
    for hold in read_holds(environment):
        now, then = deployed.get(hold.name), locked.get(hold.name)
        if now is not None and (then is None or then.version != now.version):
            raise RequestError(
                f"{hold.name} is held at {now.version}, but {what} has {then.version if then else 'no such patch'}",
                hint=f"let it change first: ppm unhold {hold.name}",
            )


def write_holds(writer: Writer, holds: tuple[Hold, ...]) -> None:
    """Hold these patches and no others. Raises RequestError when the file could not be read back, and DiskError."""
    path = writer.environment.path / HOLDS_FILE
    content = document.render(document.table_of(_File(SCHEMA, holds))).encode()
    if len(content) > document.MAX_DOCUMENT_BYTES:
        raise RequestError("the holds have too long reasons", context=str(path), hint="give a shorter --reason")
    with disk_errors("can't be written to", path):
        evidence.write(path, content, len(holds), comment=COMMENT)
