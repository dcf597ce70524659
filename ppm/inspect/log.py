"""What was in force at a moment, and on what evidence, as plain data; its files are verified first."""

from datetime import UTC, datetime
from typing import TypedDict

from ppm.audit.attestation import BOM_FILE, STATEMENT_FILE, passed_and_waived
from ppm.environment.deployment import AUDIT_FILE, Deployment, Environment
from ppm.environment.trail import TRAIL_FILE, Trail, trail_of
from ppm.errors import IntegrityError, PpmError, RequestError
from ppm.inspect.trail import Advised, advised
from ppm.install.current import audit_of

__all__ = ["Then", "in_force_at"]


class Patch(TypedDict):
    """A patch that was in force: its pin, and the file that it came from."""

    patch: str
    file: str
    sha256: str
    source: str


class Waived(TypedDict):
    """A suite that was let through, why, by whom and when."""

    suite: str
    reason: str
    by: str
    at: str


class Then(TypedDict):
    """A deployment as it was in force from `since` to `until`, which is None for what is in force now.

    `evidence` has the files that tell more, with their SHA-256, and `passed` the suites that passed.
    """

    number: int
    since: str
    until: str | None
    user: str
    command: str
    ppm: str
    base: str
    fingerprint: str
    weights: str | None
    dtype: str
    patches: list[Patch]
    composition: str | None
    strategy: str | None
    verdict: str
    alpha: float | None
    passed: list[str]
    waivers: list[Waived]
    advisories: list[Advised]
    evidence: dict[str, str]
    folder: str


def in_force_at(environment: Environment, at: datetime) -> Then:
    """What was in force at a moment. A moment in the future is answered with what is in force now.

    Raises RequestError where nothing that is still kept was in force then, IntegrityError where a file was changed.
    """
    times, damaged = _times(environment)
    before = [number for number, created in times.items() if created <= at]
    if not before:
        first = min(times.values(), default=None)
        told = "nothing is deployed" if first is None else f"the oldest deployment that is kept is of {_shown(first)}"
        raise RequestError(f"nothing is known of {_shown(at)}", hint=told)
    number = before[-1]
    following = next((other for other in times if other > number), None)
    unsure = [other for other in damaged if other > number and (following is None or other < following)]
    if unsure:
        raise IntegrityError(
            f"can't tell what was in force on {_shown(at)}: deployment {unsure[0]} is damaged ({damaged[unsure[0]]})",
            hint="`ppm verify --all` names all damage",
        )
    return _then(environment.deployment(number), times[following] if following else None)


def _times(environment: Environment) -> tuple[dict[int, datetime], dict[int, str]]:
    """When each deployment was made, by rising numbers; and of those that can't be read, why."""
    found, damaged = {}, {}
    for number in environment.numbers():
        try:
            at = datetime.fromisoformat(environment.deployment(number).record.created)
        except (PpmError, ValueError) as error:
            damaged[number] = error.message if isinstance(error, PpmError) else "it does not say when it was made"
        else:
            found[number] = at if at.tzinfo else at.replace(tzinfo=UTC)
    return found, damaged


def _shown(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _then(deployment: Deployment, until: datetime | None) -> Then:
    record, lock = deployment.record, deployment.lock
    deployment.files()  # all of them are verified
    audit = audit_of(deployment)
    trail = trail_of(deployment) or Trail()
    evidence = (STATEMENT_FILE, BOM_FILE, AUDIT_FILE, TRAIL_FILE)
    return {
        "number": deployment.number,
        "since": record.created,
        "until": until.isoformat() if until else None,
        "user": record.user,
        "command": record.command,
        "ppm": record.ppm_version,
        "base": record.base_model,
        "fingerprint": record.fingerprint,
        "weights": record.weights_digest,
        "dtype": lock.dtype or "float32",
        "patches": [{"patch": p.pin, "file": p.file, "sha256": p.sha256, "source": p.source} for p in lock.packages],
        "composition": lock.composition.sha256 if lock.composition else None,
        "strategy": record.strategy,
        "verdict": record.verdict,
        "alpha": audit.alpha if audit else None,
        "passed": list(passed_and_waived(audit)[0]) if audit else [],
        "waivers": [{"suite": w.suite, "reason": w.reason, "by": w.by, "at": w.at} for w in record.waivers],
        "advisories": advised(trail.advisories),
        "evidence": {name: record.files[name].removeprefix("sha256:") for name in evidence if name in record.files},
        "folder": str(deployment.path),
    }
