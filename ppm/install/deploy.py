"""The last step of an install: a tested composition is put in force, with the lock that names it and its audit."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ppm.audit.attestation import BOM_FILE, STATEMENT_FILE, bill_of_materials, test_result
from ppm.base import weights_digest
from ppm.environment.attempts import ledger_of
from ppm.environment.deployment import AUDIT_FILE, MANIFEST_FILE, POLICY_FILE, PREFIX_FILE, Deployment
from ppm.environment.trail import TRAIL_FILE, Check, Trail, in_force
from ppm.environment.transaction import Made, Writer, deploy
from ppm.errors import PpmError
from ppm.install.current import policy_digest, policy_file
from ppm.install.plan import Plan
from ppm.lock import LOCK_FILE, Lock, LockedComposition
from ppm.package import Package, read_package, sha256
from ppm.sources import SignedSource

if TYPE_CHECKING:
    from ppm.audit.model import Audit
    from ppm.install.choose import Choice

__all__ = ["deploy_again", "deploy_choice", "deploy_composition", "deploy_nothing", "locks_of"]


def locks_of(plan: Plan) -> tuple[Lock, ...]:
    """What counts attempts besides the ledger: the locks of what is deployed and of the project, on the plan's base."""
    deployed = plan.previous.lock if plan.previous is not None else None
    return tuple(lock for lock in (deployed, plan.project) if lock and lock.base.fingerprint == plan.base.fingerprint)


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
        policy_digest(plan.policy, plan.base),
        weights_digest(plan.base.folder),
        f"sha256:{choice.composition.bank.digest}",
        plan.policy.looks,
    )
    lock = Lock.of(plan.selection, made, _most(_counted(plan), choice.attempts))
    return deploy_composition(held, plan, lock, choice.composition, choice.audit)


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
    return deploy_composition(held, plan, Lock.of(plan.selection, made, _counted(plan)), composition, audit)


def _counted(plan: Plan) -> Mapping[str, int]:
    """How often prompts were looked at, as the locks say that a plan comes from."""
    return _most(*(lock.attempts for lock in locks_of(plan)))


def _most(*counts: Mapping[str, int]) -> dict[str, int]:
    return {digest: max(one.get(digest, 0) for one in counts) for one in counts for digest in one}


def deploy_composition(held: Writer, plan: Plan, lock: Lock, composition: Package, audit: "Audit") -> Deployment:
    """Put a composition that was tested under a plan's policy in force, with the lock that names it and its audit."""
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
            POLICY_FILE: policy_file(plan.policy),
            STATEMENT_FILE: test_result(lock, composition.manifest, audit),
            BOM_FILE: bill_of_materials(lock, composition.manifest, audit),
            TRAIL_FILE: _trail(plan).to_bytes(),
        },
        Made(
            base_model=plan.base.name,
            base_revision=plan.base.revision,
            fingerprint=plan.base.fingerprint,
            gates=made.gates,
            weights_digest=made.weights_digest,
            strategy=record.strategy,
            verdict=audit.verdict,
            waivers=audit.waivers,
            ledger=ledger_of(plan.environment.home, plan.base.fingerprint).mark,
        ),
    )


def deploy_nothing(held: Writer, plan: Plan) -> Deployment:
    """Put in force that no patch is. Raises EnvironmentStateError."""
    return deploy(
        held,
        {
            LOCK_FILE: Lock.of(plan.selection, None, _counted(plan)).render().encode(),
            TRAIL_FILE: _trail(plan).to_bytes(),
        },
        Made(plan.base.name, plan.base.fingerprint, "none", plan.base.revision),
    )


def _trail(plan: Plan) -> Trail:
    """How each selected file was checked now or for what was deployed before, and the advisories on them."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    known, before = in_force(plan.environment)
    checks = []
    for package in plan.selection.packages:
        signed = (s.signed(package.sha256) for s in plan.sources if isinstance(s, SignedSource))
        found = next((one for one in signed if one is not None), None)
        if found is not None:
            checks.append(Check(package.sha256, package.source, found.at, found))
        elif package.sha256 not in known:
            checks.append(Check(package.sha256, package.source, at))
        elif (earlier := before.check(package.sha256)) is not None:
            checks.append(earlier)
    noted = list(plan.advised.noted)
    if plan.advised.unread or not any(isinstance(source, SignedSource) for source in plan.sources):
        # Nobody said that they were withdrawn.
        now = {(one.id, one.name) for one in noted}
        still = {package.pin for package in plan.selection.packages if package.sha256 in known}
        noted += [one for one in before.advisories if one.pin in still and (one.id, one.name) not in now]
    return Trail(tuple(checks), tuple(noted), plan.advised.unread)
