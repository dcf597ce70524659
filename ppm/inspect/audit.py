"""Audits again what is deployed."""

from dataclasses import replace
from typing import TYPE_CHECKING

from ppm.base import weights_digest
from ppm.environment.deployment import Environment
from ppm.errors import ModelError
from ppm.install.current import audit_of, deployed
from ppm.install.fetch import stored_packages
from ppm.progress import Events
from ppm.project import Gates
from ppm.workspace import base_of_environment

if TYPE_CHECKING:
    from ppm.audit.report import Report

__all__ = [
    "audit_deployed",
]


def audit_deployed(
    environment: Environment,
    policy: Gates,
    *,
    fresh: bool = False,
    events: Events = Events(),  # noqa: B008
) -> "Report":
    """Audit again what is deployed, under a policy.

    Results that are kept are used unless `fresh`. Raises RequestError when nothing is deployed.
    """
    from ppm.audit.model import AuditWaiver
    from ppm.audit.report import Report
    from ppm.audit.run import Subject, audit, suites_of
    from ppm.evaluation.results import result_store
    from ppm.runtime.loading import LazyModel

    deployment = deployed(environment)
    base = base_of_environment(environment)
    recorded = deployment.record.weights_digest
    if recorded is not None and weights_digest(base.folder) != recorded:
        raise ModelError(
            f"the weights of {base.name} have changed since deployment {deployment.number}",
            hint="restore the model, or install the patches again for the new one",
        )
    packages = stored_packages(deployment, environment)
    manifest = deployment.manifest
    assert manifest is not None
    store = result_store(environment.home / "cache" / "results", base, fresh=fresh)
    subject = Subject(base, LazyModel(base), packages, manifest.base.placement, None, policy, store)
    suites = suites_of(subject)
    result, outcomes = audit(
        subject,
        deployment.bank,
        strategy=deployment.record.strategy or "",
        alpha=policy.alpha,
        suites=suites,
        waivers=[AuditWaiver(w.suite, w.reason, w.by, w.digest, w.at) for w in deployment.record.waivers],
        progress=events.progress,
    )
    shipped = audit_of(deployment)
    if shipped is not None:
        result = replace(result, attempts=shipped.attempts, continual=shipped.continual)
    return Report(result, outcomes, tuple(suites))
