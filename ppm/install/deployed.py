"""Using what is deployed: audit it again, load it, and put a package in front of a loaded model."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppm.base import weights_digest
from ppm.environment.deployments import Deployment, Environment
from ppm.environment.store import Store
from ppm.errors import EnvironmentStateError, IntegrityError, ModelError, RequestError
from ppm.install.bases import base_of_environment, find_target
from ppm.install.events import Events
from ppm.install.packages import stored_packages
from ppm.lock import Project
from ppm.manifest import Manifest
from ppm.package import read_package

if TYPE_CHECKING:
    from ppm.audit.model import Audit

__all__ = ["apply_package", "audit_deployed", "audit_of", "deployed", "is_whole", "load_deployed", "read_composition"]


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


def read_composition(deployment: Deployment, store: Store) -> tuple[Manifest, bytes] | None:
    """The manifest and the prefix in force, from the store where its own files are damaged; None without patches.

    Raises IntegrityError when neither is whole.
    """
    try:
        manifest, prefix = deployment.manifest, deployment.prefix
    except IntegrityError:
        made = deployment.lock.composition
        if made is None or not store.has(made.sha256):
            raise
        package = read_package(store.get(made.sha256), origin=made.file or "", expected_sha256=made.sha256)
        return package.manifest, package.prefix
    return None if manifest is None or prefix is None else (manifest, prefix)


def audit_deployed(
    environment: Environment,
    *,
    fresh: bool = False,
    events: Events = Events(),  # noqa: B008
) -> "tuple[Audit, dict[tuple[str, str], Any], tuple[Any, ...]]":
    """Audit again what is deployed: (audit, outcomes by configuration and suite digest, suites).

    Results that are kept are used unless `fresh`. Raises RequestError when nothing is deployed.
    """
    from ppm.audit.model import AuditWaiver
    from ppm.audit.run import Subject, audit, suites_of
    from ppm.evaluation.results import result_store
    from ppm.prefix.loading import LazyModel

    deployment = deployed(environment)
    base = base_of_environment(environment)
    recorded = deployment.record.weights_digest
    if recorded is not None and weights_digest(base.folder) != recorded:
        raise ModelError(
            f"the weights of {base.name} have changed since deployment {deployment.number}",
            hint="restore the model, or install the patches again for the new one",
        )
    packages = stored_packages(deployment, environment)
    manifest, prefix = deployment.manifest, deployment.prefix
    assert manifest is not None
    assert prefix is not None
    store = result_store(environment.home / "cache" / "results", base, fresh=fresh)
    policy = (Project.find(Path.cwd()) or Project()).gates
    subject = Subject(base, LazyModel(base), packages, manifest.base.placement, None, policy, store)
    suites = suites_of(subject)
    result, outcomes = audit(
        subject,
        prefix,
        strategy=deployment.record.strategy or "",
        alpha=policy.alpha,
        suites=suites,
        waivers=[AuditWaiver(w.suite, w.reason, w.by, w.digest, w.at) for w in deployment.record.waivers],
        progress=events.audit_progress,
    )
    shipped = audit_of(deployment)
    if shipped is not None:
        result = replace(result, attempts=shipped.attempts, continual=shipped.continual)
    return result, outcomes, tuple(suites)


def deployed(environment: Environment) -> Deployment:
    """What is deployed. Raises RequestError when no patch is."""
    deployment = environment.current()
    if deployment is None or deployment.prefix is None:
        raise RequestError(
            f"no patch is deployed for {environment.label}", hint="start with `ppm install PATCH --base MODEL`"
        )
    return deployment


def load_deployed(base: str | None, *, env: str | None = None) -> tuple[Any, Any]:
    """The base model with its deployed prefix, and its tokenizer; see `ppm.load`."""
    found, environment = find_target(base, env)
    deployment = deployed(environment)
    if found.fingerprint != deployment.record.fingerprint:
        raise ModelError(
            f"{found.name} is not the model that deployment {deployment.number} was made for",
            hint="restore the model, or install the patches again for the new one",
        )
    from ppm.prefix.loading import load_base
    from ppm.prefix.model import attach
    from ppm.prefix.tensors import from_bytes

    model, tokenizer = load_base(found)
    manifest, prefix = deployment.manifest, deployment.prefix
    assert manifest is not None
    assert prefix is not None
    return attach(model, [from_bytes(prefix)], placement=manifest.base.placement), tokenizer


def apply_package(model: Any, path: Path) -> Any:
    """A loaded model with a package's prefix; see `ppm.apply`."""
    from ppm.base import check_compatible, identify
    from ppm.prefix.model import attach
    from ppm.prefix.tensors import of_package

    package = read_package(path)
    folder = Path(str(getattr(model, "name_or_path", "") or ""))
    if folder.name and folder.is_dir():
        check_compatible(package.manifest, identify(folder))
    return attach(model, [of_package(package, model)], placement=package.manifest.base.placement)
