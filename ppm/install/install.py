"""The install itself: fetch, verify, compose, audit, deploy. Nothing changes before the last step."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ppm.base import weights_digest
from ppm.composition.strategy import read_strategy
from ppm.environment.attempts import ledger_of
from ppm.environment.deployment import Deployment, Environment
from ppm.environment.trail import Acceptance
from ppm.environment.transaction import user_name, writer
from ppm.errors import GateError, GateFailed, GateInconclusive, IntegrityError, PpmError, RequestError
from ppm.home import self_tests
from ppm.install.advisories import look_up, settled, tell_of
from ppm.install.current import audit_of, is_whole, missing_attempts, policy_digest, read_composition
from ppm.install.deploy import deploy_again, deploy_choice, deploy_nothing, locks_of
from ppm.install.earlier import anchors_of, replaced_packages
from ppm.install.fetch import fetch, put_back, readable_packages
from ppm.install.plan import Plan
from ppm.machine import check_disk
from ppm.package import Package
from ppm.progress import Events
from ppm.verdict import Waiver

if TYPE_CHECKING:
    from ppm.audit.model import Audit
    from ppm.audit.report import Report
    from ppm.audit.run import Subject
    from ppm.install.choose import Choice

__all__ = ["InstallResult", "Terms", "composes", "install", "with_advisories", "with_consent"]

NAMED_REASONS = 3
"""How many of the suites that did not pass an error's message names; the audit has them all."""

ROOM = 16 * 2**20
"""How many bytes an attempt may take, with its audit and the answers that are kept, beside the patches' prefixes."""

MANY_ATTEMPTS = 4
"""After so many attempts on the same prompts another one has little alpha left, and is no advice."""

LOOK = "see what failed by running the same command with --html FILE; that does not count as another attempt"
"""What to do first about a refusal."""


@dataclass(frozen=True)
class Terms:
    """How a composition is made and gated.

    `accept` names suites that are waived, and `accept_advisories` advisories that are accepted, for a `reason`. With
    `force` it is made anew although nothing changed. Without `deploy` nothing follows the tests: only the attempt is
    counted.
    """

    seed: int | None = None
    accept: Sequence[str] = ()
    reason: str = ""
    force: bool = False
    deploy: bool = True
    accept_advisories: Sequence[str] = ()


@dataclass(frozen=True)
class InstallResult:
    """What an install did. `packages` are those that it composed, and `report` is of their tests.

    `deployment` is in force; None where nothing is, and nothing was to be deployed.
    """

    plan: Plan
    packages: tuple[Package, ...]
    deployment: Deployment | None
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
    terms: Terms = Terms(),
    *,
    command: str,
    timeout: float,
    planned: Callable[[Plan], None] = lambda plan: None,
    events: Events = Events(),  # noqa: B008 - frozen, and does nothing
) -> InstallResult:
    """Plan, compose, audit and deploy while holding the environment; nothing in it changes before the last step.

    `make_plan` is called once the environment is held, so that the plan sees its latest state; `planned` is told it.
    Advisories on what is not deployed yet have to be accepted first, by the terms or by whoever is asked. `timeout` is
    how many seconds another process may hold it. Raises GateFailed or GateInconclusive when the composition may not be
    deployed, RequestError when an advisory is not accepted.
    """
    if terms.accept and not terms.reason.strip():
        raise RequestError("a waiver needs a reason", hint='add --reason "why this is acceptable"')
    with writer(environment, command=command, timeout=timeout, tell=events.tell) as held:
        plan = with_advisories(make_plan())
        planned(plan)
        plan = with_consent(plan, terms, events)
        if plan.lost and plan.previous is not None:
            back = put_back(plan.previous, environment, plan.sources)
            events.tell(f"Put back into the store: {', '.join(back) or 'nothing (no source has the file)'}")
        if plan.previous is not None and not terms.accept and not composes(plan, terms):
            whole = is_whole(plan.previous, environment.store)
            if whole and (_is_deployed(plan) or not terms.deploy):
                return InstallResult(plan, (), plan.previous, audit_of(plan.previous), changed=False)
            again = deploy_again(held, plan) if terms.deploy else None
            if again is not None:
                why = "Your request changed" if whole else f"Deployment {plan.previous.number} was damaged"
                events.tell(f"{why}, but the composition stays the same")
                return InstallResult(plan, (), again, audit_of(again), changed=True)
        packages = _fetched(plan, events)
        if not packages:
            left = deploy_nothing(held, plan) if terms.deploy else plan.previous
            return InstallResult(plan, (), left, None, changed=terms.deploy)
        what = "a deployment" if terms.deploy else "a test"
        check_disk(
            plan.environment.home, ROOM + sum(len(package.data) for package in packages), f"{what} may take up to"
        )
        started = time.monotonic()
        before = _tested_on(plan)
        choice = _compose_and_audit(plan, packages, terms, events)
        if _tested_on(plan) != before:
            raise RequestError(
                "the policy's suites or the base's files were changed while they were tested",
                hint="run the same command again: answers that hold are kept",
            )
        events.detail(f"Composed and tested in {time.monotonic() - started:.0f} s")
        _insist(choice, plan)
        deployment = deploy_choice(held, plan, packages, choice) if terms.deploy else plan.previous
        return InstallResult(plan, packages, deployment, choice.audit, terms.deploy, choice.report)


def with_advisories(plan: Plan) -> Plan:
    """A plan with the advisories in force on what it selects. Raises IntegrityError."""
    return replace(plan, advised=look_up(plan.selection, plan.sources, plan.environment))


def with_consent(plan: Plan, terms: Terms, events: Events) -> Plan:
    """The same once its advisories are accepted as far as they have to be; of all of them the user is told.

    Raises RequestError where one is not accepted, and something would be deployed.
    """
    if not terms.deploy:
        tell_of(plan.advised, events)
        return plan
    acceptance = Acceptance(user_name(), datetime.now(UTC).isoformat(timespec="seconds"), terms.reason)
    return replace(plan, advised=settled(plan.advised, terms.accept_advisories, acceptance, events))


def _fetched(plan: Plan, events: Events) -> tuple[Package, ...]:
    """The selected packages in the order of the composition, verified and stored."""
    packages = plan.packages or fetch(plan.pins, plan.sources, plan.environment.store)
    for package, locked in ((p, s) for p in packages for s in plan.selection.packages if s.sha256 == p.sha256):
        events.detail(f"{package.file_name}: SHA-256 {package.sha256}, from {locked.source}")
    by_name = {package.manifest.name: package for package in packages}
    return tuple(by_name[name] for name in plan.order)


def composes(plan: Plan, terms: Terms = Terms()) -> bool:
    """Whether the selected patches would be composed and tested: not where what is deployed was made of the same."""
    if plan.previous is None or not plan.selection.packages:
        return bool(plan.selection.packages)
    try:
        found = read_composition(plan.previous, plan.environment.store)
    except IntegrityError:
        return True
    lock, record = plan.previous.lock, found[0].composition if found else None
    return terms.force or not (
        lock.files == plan.selection.files
        and lock.strategy == plan.selection.strategy
        and lock.strategy_digest == plan.selection.strategy_digest
        and lock.dtype == plan.selection.dtype
        and (terms.seed is None or record is None or record.seed == terms.seed)
        and (plan.previous.record.gates, plan.previous.record.weights_digest) == _tested_on(plan)
    )


def _tested_on(plan: Plan) -> tuple[str, str]:
    """The digests of the policy and of the base's weights, as their files are now."""
    return policy_digest(plan.policy, plan.base), weights_digest(plan.base.folder)


def _is_deployed(plan: Plan) -> bool:
    lock, wanted = plan.previous.lock if plan.previous else None, plan.selection
    return (
        lock is not None
        and (lock.requirements, lock.overrides) == (wanted.requirements, wanted.overrides)
        and lock.files == wanted.files
    )


def _compose_and_audit(plan: Plan, packages: tuple[Package, ...], terms: Terms, events: Events) -> "Choice":
    from ppm.composition.recipe import check_strategy

    strategy = read_strategy(plan.strategy)
    check_strategy(strategy)
    from ppm.audit.conflicts import check_settled, other_styles, stated_conflicts
    from ppm.audit.report import about
    from ppm.composition.compose import check_together
    from ppm.install.choose import choose

    check_together(packages, plan.base)
    check_settled(stated_conflicts(packages), plan.policy.priority)
    for conflict in other_styles(packages):
        events.tell(f"note: {conflict.text}")
    events.tell(f"Loading {plan.base.name}")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    waivers = [Waiver(suite, terms.reason, user_name(), at=now) for suite in dict.fromkeys(terms.accept)]
    ledger = ledger_of(plan.environment.home, plan.base.fingerprint, [package.sha256 for package in packages])
    void = missing_attempts(plan.environment, plan.base.fingerprint, ledger)
    subject = _subject(plan, packages, events.tell)
    choice = choose(
        strategy,
        subject,
        seed=terms.seed or 0,
        waivers=waivers,
        ledger=ledger,
        events=events,
        locks=locks_of(plan),
    )
    choice = choice.with_about(about(plan.base, packages, plan.environment.label))
    return choice.with_audit(replace(choice.audit, continual=_continual(plan, choice.audit), void=void))


def _continual(plan: Plan, latest: "Audit") -> dict[str, float] | None:
    """The continual-learning figures of the environment with one more deployment."""
    from ppm.audit.continual import continual, rows_of

    audits = []
    for number in plan.environment.numbers():
        with suppress(PpmError):  # a damaged deployment is left out, and `ppm history` names it
            before = audit_of(plan.environment.deployment(number))
            audits += [before] if before is not None else []
    return continual(rows_of([*audits, latest]))


def _subject(plan: Plan, packages: tuple[Package, ...], tell: Callable[[str], None]) -> "Subject":
    from ppm.audit.run import Deployed, Subject
    from ppm.evaluation.results import result_store
    from ppm.runtime.loading import LazyModel

    # A patch that another one replaces is not dropped: what takes its place must still pass its suites.
    planned = {
        name for p in packages for name in (p.manifest.name, *p.manifest.patch.provides, *p.manifest.patch.replaces)
    }
    older: tuple[Package, ...] = ()
    deployed, running = None, plan.selection.running(plan.limits)
    placement = packages[0].manifest.base.placement
    before = read_composition(plan.previous, plan.environment.store) if plan.previous is not None else None
    if plan.previous is not None and before is not None:
        manifest, bank = before
        if manifest.base.placement != placement:
            raise RequestError(
                f"the deployed prefix is placed {manifest.base.placement}, the new patches {placement}",
                hint="uninstall the old patches first: the two placements can't be compared",
            )
        stored, _ = readable_packages(plan.previous, plan.environment)
        further = replaced_packages(plan.environment, stored, audit_of(plan.previous))
        old, older = (tuple(p for p in some if p.manifest.name in planned) for some in (stored, further))
        deployed = Deployed(bank, old, plan.parent)
    return Subject(
        plan.base,
        LazyModel(plan.base, self_tests(plan.environment.home), running, tell),
        packages,
        placement,
        deployed,
        plan.policy,
        result_store(
            plan.environment.home / "cache" / "results", plan.base, running=plan.selection.running(plan.limits)
        ),
        older,
        anchors_of(plan.environment),
    )


def _insist(choice: "Choice", plan: Plan) -> None:
    """Raises GateFailed or GateInconclusive unless the tests let it be deployed."""
    from ppm.audit.triggers import alarm_hint

    audit = choice.audit
    if audit.may_deploy:
        return
    kept = f"deployment {plan.previous.number} is still current" if plan.previous else "nothing was deployed"
    message = f"{audit.strategy} did not pass its tests: {_broken(audit)}; {kept}"
    number = max(attempt.number or 0 for attempt in audit.attempts)
    if number > 1:
        message += f" (attempt {number} on some of these prompts, and each has less alpha; see `ppm attempts`)"
    if audit.verdict == "fail":
        hints = LOOK, alarm_hint(audit, plan.policy), _gate_hint(plan, number)
        error: GateError = GateFailed(message, hint="; ".join(filter(None, hints)))
    else:
        needed = [c.prompts_needed for c in audit.failed]
        settle = "would settle it" if None not in needed else "may settle it"
        units = "groups" if all(c.groups is not None for c in audit.failed) else "prompts"
        more = (
            f"about {max(n or 0 for n in needed):,} {units} in the suite {settle}"
            if any(needed)
            else "more prompts may settle it"
        )
        error = GateInconclusive(message, hint=f"{more} (bring them with --more-prompts SUITE=FILE); {LOOK}")
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
    if len(plan.order) < 2:
        return "another version of the patch may pass"
    if not read_strategy(plan.strategy).is_automatic and number < MANY_ATTEMPTS:
        return "`--strategy auto` lets ppm choose how to compose them"
    return "fewer patches together may pass"
