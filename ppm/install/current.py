"""What is in force: read from its own files, or from the store where those are damaged."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ppm import document
from ppm.bank import Bank
from ppm.base import BaseModel
from ppm.environment.attempts import Ledger
from ppm.environment.deployment import POLICY_FILE, Deployment, Environment
from ppm.environment.store import Store
from ppm.errors import EnvironmentStateError, IntegrityError, ManifestError, PpmError, RequestError
from ppm.manifest import Manifest
from ppm.names import canonical_digest
from ppm.package import read_package, sha256
from ppm.project import Gates
from ppm.running import AUTO, Running

if TYPE_CHECKING:
    from ppm.audit.model import Audit

__all__ = [
    "audit_of",
    "deployed",
    "is_whole",
    "missing_attempts",
    "policy_digest",
    "policy_file",
    "policy_of",
    "read_composition",
    "running_of",
]


POLICY_SCHEMA = 1


def audit_of(deployment: Deployment) -> "Audit | None":
    """The audit that a deployment passed."""
    from ppm.audit.model import Audit

    table = deployment.audit
    return Audit.from_table(table, f"deployment {deployment.number}") if table else None


def policy_of(deployment: Deployment) -> Gates | None:
    """The policy that a deployment was tested under; None where an older ppm kept its digest alone.

    Raises IntegrityError when it was changed since.
    """
    data = deployment.read(POLICY_FILE)
    if data is None:
        return None
    origin = str(deployment.path / POLICY_FILE)
    try:
        table = document.parse(data, origin)
        if table.get("schema") != POLICY_SCHEMA:
            raise ManifestError(f"its schema is not {POLICY_SCHEMA}")
        return document.read_table(Gates, table.get("gates", {}), origin)
    except ManifestError as error:
        raise IntegrityError(
            f"is not a policy that this version of ppm can read ({error.message})", context=origin
        ) from error


def missing_attempts(environment: Environment, fingerprint: str, ledger: Ledger) -> str:
    """Why attempts that were counted for a base may be missing from its ledger, or "".

    Each deployment has noted where the ledger was, so one that was removed or begun anew is noticed.
    """
    for number in environment.numbers():
        try:
            record = environment.deployment(number).record
        except PpmError:  # `verify` says what is wrong with it
            continue
        if record.fingerprint == fingerprint and record.ledger and not ledger.goes_on_from(record.ledger):
            return (
                f"the count of attempts lacks some that deployment {number} was tested after, so prompts may have been "
                "looked at more often than is known"
            )
    return ""


def policy_file(policy: Gates) -> bytes:
    """A policy as `policy_of` reads it."""
    return document.render({"schema": POLICY_SCHEMA, "gates": document.to_table(policy)}).encode()


def policy_digest(policy: Gates, base: BaseModel) -> str:
    """What a policy asks for, and what the suites hold that come with no patch."""
    from ppm.evaluation.suites import base_suites, more_of, policy_suites

    own = [suite for path in policy.suites for suite in policy_suites(Path(path))]
    suites = (*base_suites(base.folder), *own)
    # Where the policy's suites lie is no part of it: the same project is in another folder on another machine. Nor is
    # what is retired: a composition that passed such a suite is no worse for it.
    brought = {label: sha256(more_of(label, Path(file))) for label, file in policy.more_prompts.items()}
    asked = replace(policy, suites=(), retired=(), more_prompts=brought, priority=tuple(sorted(policy.priority)))
    controls = [s.controls.digest for s in suites if s.controls is not None]
    said = [document.to_table(asked), [(s.digest, document.to_table(s.suite)) for s in suites]]
    return canonical_digest([*said, controls] if controls else said)


def is_whole(deployment: Deployment, store: Store) -> bool:
    """Whether each of its files, and all that the store has to have for it but the patches, is as it was deployed."""
    made = deployment.lock.composition
    try:
        deployment.files()
        for digest in (made.sha256, made.audit) if made is not None else ():
            store.get(digest)
    except (IntegrityError, EnvironmentStateError):
        return False
    return True


def read_composition(deployment: Deployment, store: Store) -> tuple[Manifest, Bank] | None:
    """The manifest and the prefix in force, from the store where its own files are damaged; None without patches.

    Raises IntegrityError when neither is whole.
    """
    try:
        manifest, bank = deployment.manifest, deployment.bank
    except IntegrityError:
        made = deployment.lock.composition
        if made is None or not store.has(made.sha256):
            raise
        package = read_package(store.get(made.sha256), origin=made.file or "", expected_sha256=made.sha256)
        return package.manifest, package.bank
    return None if manifest is None or not bank else (manifest, bank)


def deployed(environment: Environment) -> Deployment:
    """What is deployed. Raises RequestError when no patch is."""
    deployment = environment.current()
    if deployment is None or not deployment.bank:
        raise RequestError(
            f"no patch is deployed for {environment.label}", hint="start with `ppm install PATCH --base MODEL`"
        )
    return deployment


def running_of(deployment: Deployment, asked: Running) -> Running:
    """How a deployment is run: in the dtype that it was tested in, on the devices and in the memory that are asked for.

    Raises RequestError where another dtype is asked for by its name.
    """
    tested = deployment.lock.running(asked)
    if asked.dtype not in (None, AUTO, tested.dtype):
        raise RequestError(
            f"deployment {deployment.number} was tested in {tested.dtype}, not in {asked.dtype}",
            hint=f"leave --dtype out, or test and deploy it in {asked.dtype}: ppm install --dtype {asked.dtype}",
        )
    return tested
