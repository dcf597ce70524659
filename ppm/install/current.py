"""What is in force: read from its own files, or from the store where those are damaged."""

from typing import TYPE_CHECKING

from ppm.bank import Bank
from ppm.environment.deployment import Deployment, Environment
from ppm.environment.store import Store
from ppm.errors import EnvironmentStateError, IntegrityError, RequestError
from ppm.manifest import Manifest
from ppm.package import read_package

if TYPE_CHECKING:
    from ppm.audit.model import Audit

__all__ = [
    "audit_of",
    "deployed",
    "is_whole",
    "read_composition",
]


def audit_of(deployment: Deployment) -> "Audit | None":
    """The audit that a deployment passed."""
    from ppm.audit.model import Audit

    table = deployment.audit
    return Audit.from_table(table, f"deployment {deployment.number}") if table else None


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
