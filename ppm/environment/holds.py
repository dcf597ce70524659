"""Patches that are held: no install, upgrade, uninstall, sync or rollback changes them until they are let go."""

from dataclasses import dataclass
from datetime import UTC, datetime

from ppm import document
from ppm.disk import disk_errors, replace_file
from ppm.environment.deployment import HOLDS_FILE, Environment
from ppm.environment.transaction import Writer, user_name
from ppm.errors import EnvironmentStateError, ManifestError, PpmError, RequestError
from ppm.lock import Lock
from ppm.names import check_name

__all__ = ["Hold", "read_holds", "refuse_held", "write_holds"]

SCHEMA = 1


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
    """The held patches, by name. Raises EnvironmentStateError when the file that says so is damaged."""
    path = environment.path / HOLDS_FILE
    with disk_errors("can't be read", path):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return ()
    try:
        table = document.parse(data, str(path))
        if table.get("schema") != SCHEMA:
            raise ManifestError("is of another ppm")
        return tuple(sorted(document.read_table(_File, table, str(path)).holds, key=lambda hold: hold.name))
    except ManifestError as error:
        raise EnvironmentStateError(
            f"is damaged: {error.message}", context=str(path), hint="delete it, and hold the patches again"
        ) from error


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
                f"{hold.name} is held at {now.version}, and {what} has {then.version if then else 'no such patch'}",
                hint=f"let it change first: ppm unhold {hold.name}",
            )


def write_holds(writer: Writer, holds: tuple[Hold, ...]) -> None:
    """Hold these patches and no others. Raises EnvironmentStateError."""
    path = writer.environment.path / HOLDS_FILE
    with disk_errors("can't be written to", path):
        replace_file(path, document.render(document.to_table(_File(SCHEMA, holds))).encode())
