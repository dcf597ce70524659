"""The trail of a deployment: how each of its package files was checked, and which advisories were in force on them.

It lies beside the audit, and its digest is in the record. Deployments of an older ppm have none.
"""

import json
from dataclasses import dataclass
from typing import Literal

from ppm.document import read_table, table_of
from ppm.environment.deployment import Deployment, Environment
from ppm.errors import IntegrityError, ManifestError, PpmError
from ppm.index.advisory import check_id
from ppm.names import check_line, check_name, check_sha256, check_version
from ppm.sources import Signed

__all__ = ["TRAIL_FILE", "Acceptance", "Check", "Noted", "Trail", "in_force", "trail_of"]

TRAIL_FILE = "trail.json"


@dataclass(frozen=True)
class Check:
    """How a package file was checked when it was taken: by its publisher's signature, else by its SHA-256 alone.

    `source` is where it was chosen from, and `at` when it was checked, in ISO 8601.
    """

    sha256: str
    source: str
    at: str
    signed: Signed | None = None

    def __post_init__(self) -> None:
        check_sha256(self.sha256, "sha256")


@dataclass(frozen=True)
class Acceptance:
    """A named person's decision to deploy a patch despite an advisory; `at` is a time in ISO 8601."""

    by: str
    at: str
    reason: str = ""


@dataclass(frozen=True)
class Noted:
    """An advisory that was in force on a patch when it was deployed.

    `advisory` is the SHA-256 of its signed envelope. Nobody is asked to accept one on a patch that is deployed already.
    """

    id: str
    advisory: str
    name: str
    version: str
    summary: str
    accepted: Acceptance | None = None

    def __post_init__(self) -> None:
        check_id(self.id)
        check_sha256(self.advisory, "advisory")
        check_name(self.name)
        check_version(self.version)
        check_line(self.summary, "summary")

    @property
    def pin(self) -> str:
        """The patch."""
        return f"{self.name}=={self.version}"


@dataclass(frozen=True)
class Trail:
    """What a deployment's files were checked by, as far as that was recorded, and the advisories on them.

    `unread` says why advisories could not be looked up, a line for each source.
    """

    checks: tuple[Check, ...] = ()
    advisories: tuple[Noted, ...] = ()
    unread: tuple[str, ...] = ()
    schema: Literal[1] = 1

    def check(self, sha256: str) -> Check | None:
        """How a file was checked; None where that was not recorded."""
        return next((check for check in self.checks if check.sha256 == sha256), None)

    def advisories_on(self, name: str) -> tuple[Noted, ...]:
        """Those that were in force on a patch."""
        return tuple(noted for noted in self.advisories if noted.name == name)

    def to_bytes(self) -> bytes:
        """As JSON."""
        return (json.dumps(table_of(self), indent=1, ensure_ascii=False) + "\n").encode()


def trail_of(deployment: Deployment) -> Trail | None:
    """The trail of a deployment; None where an older ppm kept none. Raises IntegrityError when it was changed since."""
    data = deployment.read(TRAIL_FILE)
    if data is None:
        return None
    origin = str(deployment.path / TRAIL_FILE)
    try:
        return read_table(Trail, json.loads(data), origin)
    except (ValueError, RecursionError, ManifestError) as error:
        raise IntegrityError("is not a trail that this version of ppm can read", context=origin) from error


def in_force(environment: Environment) -> tuple[frozenset[str], Trail]:
    """The SHA-256 of each package file in force, and the trail of these; empty as far as they can't be read."""
    files: frozenset[str] = frozenset()
    try:
        deployment = environment.current()
        if deployment is not None:
            files = deployment.lock.files
            return files, trail_of(deployment) or Trail()
    except PpmError:  # which `ppm verify` names
        pass
    return files, Trail()
