"""The last step of an install: a tested composition is put in force, with the lock that names it and its audit."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ppm.base import BaseModel, weights_digest
from ppm.document import to_table
from ppm.environment.deployment import AUDIT_FILE, MANIFEST_FILE, PREFIX_FILE, Deployment, Waiver
from ppm.environment.transaction import Writer, deploy
from ppm.errors import PpmError
from ppm.install.plan import Plan
from ppm.lock import LOCK_FILE, Lock, LockedComposition
from ppm.names import canonical_digest
from ppm.package import Package, read_package, sha256
from ppm.project import Gates

if TYPE_CHECKING:
    from ppm.audit.model import Audit
    from ppm.install.choose import Choice

__all__ = ["deploy_again", "deploy_choice", "deploy_composition", "deploy_nothing", "gates_digest"]


def gates_digest(policy: Gates, base: BaseModel) -> str:
    """What the deployer's policy asks for, and what the suites that come with no patch hold."""
    from ppm.evaluation.suites import base_suites, policy_suites

    own = [suite for path in policy.suites for suite in policy_suites(Path(path))]
    suites = (*base_suites(base.folder), *own)
    # Where the policy's suites lie is no part of it: the same project is in another folder on another machine.
    return canonical_digest([to_table(replace(policy, suites=())), [(s.digest, to_table(s.suite)) for s in suites]])


def deploy_choice(held: Writer, plan: Plan, packages: tuple[Package, ...], choice: "Choice") -> Deployment:
    """Store what was composed and tested, and put it in force. Raises EnvironmentStateError."""
    composition = choice.composition.to_bytes()
    audit_data = choice.audit.to_json()
    # The patches are there since they were fetched, which may be days ago: see `garbage`.
    for data in (*(package.data for package in packages), composition, audit_data):
        plan.environment.store.put(data)
    made = LockedComposition(
        sha256(composition),
        sha256(audit_data),
        choice.composition.file_name,
        gates_digest(plan.policy, plan.base),
        weights_digest(plan.base.folder),
    )
    return deploy_composition(held, plan.base, Lock.of(plan.selection, made), choice.composition, choice.audit)


def deploy_again(held: Writer, plan: Plan) -> Deployment | None:
    """A deployment of the composition that is deployed, from the store; None where that lacks something."""
    from ppm.audit.model import Audit

    made, store = plan.previous.lock.composition if plan.previous else None, plan.environment.store
    if made is None or not plan.selection.packages:
        return None
    try:
        composition = read_package(store.get(made.sha256), origin=made.file or "", expected_sha256=made.sha256)
        audit = Audit.parse(store.get(made.audit), "the stored audit")
    except PpmError:
        return None
    return deploy_composition(held, plan.base, Lock.of(plan.selection, made), composition, audit)


def deploy_composition(held: Writer, base: BaseModel, lock: Lock, composition: Package, audit: "Audit") -> Deployment:
    """Put a composition that was tested in force, with the lock that names it and its audit."""
    made, record = lock.composition, composition.manifest.composition
    assert made is not None
    assert record is not None
    return deploy(
        held,
        {
            LOCK_FILE: lock.render().encode(),
            MANIFEST_FILE: composition.manifest.render().encode(),
            PREFIX_FILE: composition.bank.to_bytes(),
            AUDIT_FILE: held.environment.store.get(made.audit),
        },
        base_model=base.name,
        base_revision=base.revision,
        fingerprint=base.fingerprint,
        gates=made.gates,
        weights_digest=made.weights_digest,
        strategy=record.strategy,
        verdict="waived" if any(c.waived and c.verdict != "pass" for c in audit.comparisons) else "pass",
        waivers=tuple(Waiver(w.suite, w.reason, w.by, w.at, w.digest) for w in audit.waivers),
    )


def deploy_nothing(held: Writer, plan: Plan) -> Deployment:
    """Put in force that no patch is. Raises EnvironmentStateError."""
    return deploy(
        held,
        {LOCK_FILE: Lock.of(plan.selection, None).render().encode()},
        base_model=plan.base.name,
        base_revision=plan.base.revision,
        fingerprint=plan.base.fingerprint,
        verdict="none",
    )
