"""The install itself: fetch, verify, compose, audit, deploy. Nothing changes before the last step."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ppm.base import weights_digest
from ppm.composition.strategy import read_strategy
from ppm.environment.attempts import open_ledger
from ppm.environment.deployment import (
    AUDIT_FILE,
    MANIFEST_FILE,
    POLICY_FILE,
    PREFIX_FILE,
    Deployment,
    Environment,
)
from ppm.environment.transaction import Writer, deploy, user_name, writer
from ppm.errors import GateError, GateFailed, GateInconclusive, IntegrityError, PpmError, RequestError
from ppm.install.current import audit_of, is_whole, policy_digest, policy_file, read_composition
from ppm.install.fetch import fetch, put_back, readable_packages
from ppm.install.plan import Plan
from ppm.lock import LOCK_FILE, Lock, LockedBase, LockedComposition, LockedPackage
from ppm.package import Package, read_package, sha256
from ppm.progress import Events
from ppm.sources import DEPLOYED_SOURCE
from ppm.verdict import Waiver

if TYPE_CHECKING:
    from ppm.audit.model import Audit
    from ppm.audit.report import Report
    from ppm.audit.run import Subject
    from ppm.install.choose import Choice

__all__ = ["InstallResult", "composes", "deploy_composition", "gates_digest", "install"]

NAMED_REASONS = 3
"""How many of the suites that did not pass an error's message names; the audit has them all."""

LOOK = "`--html FILE` shows the prompts that fail"
"""What to do first about a refusal."""

MANY_ATTEMPTS = 4
"""After so many attempts on the same patches another one has little alpha left, and is no advice."""


@dataclass(frozen=True)
class InstallResult:
    """What an install did. `packages` are those that it composed, and `report` is of their tests."""

    plan: Plan
    packages: tuple[Package, ...]
    deployment: Deployment
    audit: "Audit | None"
    changed: bool
    report: "Report | None" = None

    @property
    def composed(self) -> bool:
        """Whether anything was composed and tested; else what was in force before is."""
        return bool(self.packages)


def install(
    make_plan: Callable[[], Plan],
    environment: Environment,
    *,
    command: str,
    seed: int | None = None,
    accept: Sequence[str] = (),
    reason: str = "",
    force: bool = False,
    planned: Callable[[Plan], None] = lambda plan: None,
    events: Events = Events(),  # noqa: B008 - frozen, and does nothing
) -> InstallResult:
    """Plan, compose, audit and deploy while holding the environment; nothing in it changes before the last step.

    `make_plan` is called once the environment is held, so that the plan sees its latest state. `accept` names suites
    that are waived, with a `reason`. `planned` is told what is resolved.
    Raises GateFailed or GateInconclusive when the composition may not be deployed.
    """
    if accept and not reason.strip():
        raise RequestError("a waiver needs a reason", hint='add --reason "why this is acceptable"')
    with writer(environment, command=command, tell=events.tell) as held:
        plan = make_plan()
        planned(plan)
        if plan.lost and plan.previous is not None:
            back = put_back(plan.previous, environment, plan.sources)
            events.tell(f"Put back into the store: {', '.join(back) or 'nothing, for no source has it'}")
        if plan.previous is not None and not accept and not composes(plan, seed, force=force):
            whole = is_whole(plan.previous, environment.store)
            if whole and _is_deployed(plan):
                return InstallResult(plan, (), plan.previous, audit_of(plan.previous), changed=False)
            again = _deployed_again(held, plan)
            if again is not None:
                why = "What is asked for changed" if whole else f"Deployment {plan.previous.number} was damaged"
                events.tell(f"{why}: the composition stays as it is")
                return InstallResult(plan, (), again, audit_of(again), changed=True)
        packages = fetch(plan.pins, plan.sources, environment.store)
        for pin in plan.pins:
            events.detail(f"{pin.release.file_name}: SHA-256 {pin.release.sha256}, from {pin.release.source}")
        if not packages:
            return InstallResult(plan, (), _deploy_nothing(held, plan), None, changed=True)
        started = time.monotonic()
        choice = _compose_and_audit(plan, packages, seed or 0, accept, reason, events)
        events.detail(f"Composed and tested in {time.monotonic() - started:.0f} s")
        _insist(choice, plan)
        made = _deploy(held, plan, packages, choice)
        return InstallResult(plan, packages, made, choice.audit, changed=True, report=choice.report)


def composes(plan: Plan, seed: int | None = None, *, force: bool = False) -> bool:
    """Whether the planned patches would be composed and tested: not where what is deployed was made of the same."""
    if plan.previous is None or not plan.pins:
        return bool(plan.pins)
    try:
        found = read_composition(plan.previous, plan.environment.store)
    except IntegrityError:
        return True
    lock, record = plan.previous.lock, found[0].composition if found else None
    return force or not (
        {p.sha256 for p in lock.packages} == {pin.release.sha256 for pin in plan.pins}
        and lock.strategy == plan.strategy
        and lock.strategy_digest == read_strategy(plan.strategy).digest
        and (seed is None or record is None or record.seed == seed)
        and plan.previous.record.gates == gates_digest(plan)
        and plan.previous.record.weights_digest == weights_digest(plan.base.folder)
    )


def _is_deployed(plan: Plan) -> bool:
    lock = plan.previous.lock if plan.previous else None
    return (
        lock is not None
        and (lock.requirements, lock.overrides) == (plan.requirements, plan.overrides)
        and {package.sha256 for package in lock.packages} == {pin.release.sha256 for pin in plan.pins}
    )


def _deployed_again(held: Writer, plan: Plan) -> Deployment | None:
    """A deployment of the same composition, from the store; None where that lacks something."""
    from ppm.audit.model import Audit

    made, store = plan.previous.lock.composition if plan.previous else None, plan.environment.store
    if made is None or not plan.pins:
        return None
    try:
        composition = read_package(store.get(made.sha256), origin=made.file or "", expected_sha256=made.sha256)
        audit = Audit.parse(store.get(made.audit), "the stored audit")
    except PpmError:
        return None
    return deploy_composition(held, plan, _lock(plan, composition=made), composition, audit)


def gates_digest(plan: Plan) -> str:
    """What the deployer's policy asks for, and what the suites that come with no patch hold."""
    return policy_digest(plan.project.gates, plan.base)


def _compose_and_audit(
    plan: Plan, packages: tuple[Package, ...], seed: int, accept: Sequence[str], reason: str, events: Events
) -> "Choice":
    from ppm.composition.recipe import check_strategy

    strategy = read_strategy(plan.strategy)
    check_strategy(strategy)
    from ppm.composition.compose import check_together
    from ppm.install.choose import choose

    check_together(packages, plan.base)
    events.tell(f"Loading {plan.base.name}")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    waivers = [Waiver(suite, reason, user_name(), at=now) for suite in dict.fromkeys(accept)]
    ledger = open_ledger(plan.environment, [package.sha256 for package in packages])
    choice = choose(strategy, _subject(plan, packages), seed=seed, waivers=waivers, ledger=ledger, events=events)
    return choice.with_audit(replace(choice.audit, continual=_continual(plan, choice.audit)))


def _continual(plan: Plan, latest: "Audit") -> dict[str, float] | None:
    """The continual-learning figures of the environment with one more deployment."""
    from ppm.audit.continual import continual, rows_of

    audits = []
    for number in plan.environment.numbers():
        with suppress(PpmError):  # a damaged deployment is left out, and `ppm history` names it
            before = audit_of(plan.environment.deployment(number))
            audits += [before] if before is not None else []
    return continual(rows_of([*audits, latest]))


def _subject(plan: Plan, packages: tuple[Package, ...]) -> "Subject":
    from ppm.audit.run import Deployed, Subject
    from ppm.evaluation.results import result_store
    from ppm.runtime.loading import LazyModel

    # A patch that another one replaces is not dropped: what takes its place must still pass its suites.
    planned = {
        name for p in packages for name in (p.manifest.name, *p.manifest.patch.provides, *p.manifest.patch.replaces)
    }
    deployed = None
    placement = packages[0].manifest.base.placement
    before = read_composition(plan.previous, plan.environment.store) if plan.previous is not None else None
    if plan.previous is not None and before is not None:
        manifest, bank = before
        if manifest.base.placement != placement:
            raise RequestError(
                f"what is deployed stands {manifest.base.placement}, and the new patches {placement}",
                hint="uninstall the old patches first: the two can't be compared",
            )
        stored, _ = readable_packages(plan.previous, plan.environment)
        old = tuple(p for p in stored if p.manifest.name in planned)
        deployed = Deployed(bank, old, plan.parent)
    return Subject(
        plan.base,
        LazyModel(plan.base),
        packages,
        placement,
        deployed,
        plan.project.gates,
        result_store(plan.environment.home / "cache" / "results", plan.base),
    )


def _insist(choice: "Choice", plan: Plan) -> None:
    audit = choice.audit
    if audit.may_deploy:
        return
    kept = f"deployment {plan.previous.number} is still current" if plan.previous else "nothing was deployed"
    message = f"{audit.strategy} did not pass its tests: {_broken(audit)}; {kept}"
    number = max(attempt.number or 0 for attempt in audit.attempts)
    if number > 1:
        message += f" (attempt {number} on these patches: each may spend half the alpha of the one before)"
    if audit.verdict == "fail":
        error: GateError = GateFailed(message, hint=f"{LOOK}; {_gate_hint(plan, number)}")
    else:
        needed = [c.prompts_needed for c in audit.failed]
        settle = "would settle it" if None not in needed else "may settle it"
        more = (
            f"about {max(n or 0 for n in needed):,} prompts in the suite {settle}"
            if any(needed)
            else "more prompts may settle it"
        )
        error = GateInconclusive(message, hint=f"{more}; {LOOK}")
    error.audit, error.report = audit, choice.report
    raise error


def _broken(audit: "Audit") -> str:
    """Which suites did not pass, and by which rules: the figures are in the audit, which is shown beside the error."""
    rules: dict[tuple[str, str], dict[str, None]] = {}
    for comparison in audit.failed:
        rules.setdefault((comparison.suite, comparison.verdict), {})[comparison.rule] = None
    words = [
        f"{suite} {'failed' if verdict == 'fail' else 'is inconclusive'} ({', '.join(found)})"
        for (suite, verdict), found in rules.items()
    ]
    unnamed = len(words) - NAMED_REASONS
    return "; ".join(words[:NAMED_REASONS]) + (f"; and {unnamed} more" if unnamed > 0 else "")


def _gate_hint(plan: Plan, number: int) -> str:
    if len(plan.pins) < 2:
        return "another version of the patch may pass"
    if plan.strategy != "auto" and number < MANY_ATTEMPTS:
        return "`--strategy auto` lets ppm choose how they are composed"
    return "fewer patches together may pass"


def _deploy(held: Writer, plan: Plan, packages: tuple[Package, ...], choice: "Choice") -> Deployment:
    composition = choice.composition.to_bytes()
    audit_data = choice.audit.to_json()
    # The patches are there since they were fetched, which may be days ago: see `garbage`.
    for data in (*(package.data for package in packages), composition, audit_data):
        plan.environment.store.put(data)
    lock = _lock(
        plan,
        composition=LockedComposition(
            sha256(composition),
            sha256(audit_data),
            choice.composition.file_name,
            gates_digest(plan),
            weights_digest(plan.base.folder),
        ),
    )
    return deploy_composition(held, plan, lock, choice.composition, choice.audit)


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
            POLICY_FILE: policy_file(plan.project.gates),
        },
        base_model=plan.base.name,
        base_revision=plan.base.revision,
        fingerprint=plan.base.fingerprint,
        gates=made.gates,
        weights_digest=made.weights_digest,
        strategy=record.strategy,
        verdict=audit.verdict,
        waivers=audit.waivers,
    )


def _deploy_nothing(held: Writer, plan: Plan) -> Deployment:
    return deploy(
        held,
        {LOCK_FILE: _lock(plan, composition=None).render().encode()},
        base_model=plan.base.name,
        base_revision=plan.base.revision,
        fingerprint=plan.base.fingerprint,
        verdict="none",
    )


def _lock(plan: Plan, *, composition: LockedComposition | None) -> Lock:
    before = {p.sha256: p.source for p in plan.previous.lock.packages} if plan.previous else {}

    locked = tuple(
        LockedPackage(
            pin.release.name,
            str(pin.release.version),
            pin.release.file_name,
            pin.release.sha256,
            before.get(pin.release.sha256, "") if pin.release.source == DEPLOYED_SOURCE else pin.release.source,
            requested=pin.requested,
            dependencies=tuple(p.release.name for p in plan.pins if pin.release.name in p.required_by),
        )
        for pin in plan.pins
    )
    base = LockedBase(plan.base.name, plan.base.fingerprint, plan.base.revision)
    digest = read_strategy(plan.strategy).digest
    return Lock(1, base, plan.requirements, plan.strategy, digest, locked, composition, plan.overrides)
