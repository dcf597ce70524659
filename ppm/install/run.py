"""The install itself: fetch, verify, compose, audit, deploy; and reading back what is deployed."""

import getpass
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppm.environment.deployments import AUDIT_FILE, MANIFEST_FILE, PREFIX_FILE, Deployment, Environment, Waiver
from ppm.environment.transaction import Writer, deploy, writer
from ppm.errors import GateFailed, GateInconclusive, ModelError, RequestError
from ppm.install.bases import environment_for, open_base
from ppm.install.events import Events
from ppm.install.plan import Plan, fetch, plan_install, stored_packages
from ppm.lock import LOCK_FILE, Gates, Lock, LockedBase, LockedComposition, LockedPackage, Project
from ppm.package import Package, read_package, sha256

if TYPE_CHECKING:
    from ppm.audit.model import Audit
    from ppm.audit.run import Subject
    from ppm.install.choice import Choice

__all__ = ["Events", "InstallResult", "apply_package", "audit_deployed", "compose_to", "install", "load_deployed"]


@dataclass(frozen=True)
class InstallResult:
    """What an install did: None of it changed when `deployment` is the plan's previous one."""

    plan: Plan
    packages: tuple[Package, ...]
    deployment: Deployment
    audit: "Audit | None"
    changed: bool


def install(
    make_plan: Any,
    environment: Environment,
    *,
    command: str,
    seed: int = 0,
    accept: Sequence[str] = (),
    reason: str = "",
    force: bool = False,
    events: Events = Events(),  # noqa: B008 - frozen, and does nothing
) -> InstallResult:
    """Plan, compose, audit and deploy while holding the environment; nothing in it changes before the last step.

    `make_plan` is called once the environment is held, so that the plan sees its latest state. `accept` names suites
    that are waived, with a `reason`. Raises GateFailed or GateInconclusive when the composition may not be deployed.
    """
    if accept and not reason.strip():
        raise RequestError("a waiver needs a reason", hint='add --reason "why this is acceptable"')
    with writer(environment, command=command) as held:
        plan: Plan = make_plan()
        if not force and not accept and _unchanged(plan):
            assert plan.previous is not None
            return InstallResult(plan, (), plan.previous, _audit_of(plan.previous), changed=False)
        packages = fetch(plan)
        if not packages:
            return InstallResult(plan, (), _deploy_nothing(held, plan), None, changed=True)
        choice, subject = _compose_and_audit(plan, packages, seed, accept, reason, events)
        _insist(choice, plan)
        return InstallResult(plan, packages, _deploy(held, plan, packages, choice, subject), choice.audit, changed=True)


def _unchanged(plan: Plan) -> bool:
    if plan.previous is None:
        return False
    lock = plan.previous.lock
    same = {p.sha256 for p in lock.packages} == {pin.candidate.sha256 for pin in plan.pins}
    return same and lock.strategy == plan.strategy and lock.requirements == plan.requirements


def _audit_of(deployment: Deployment) -> "Audit | None":
    from ppm.audit.model import Audit

    table = deployment.audit
    return Audit.from_table(table, f"deployment {deployment.number}") if table else None


def _compose_and_audit(
    plan: Plan, packages: tuple[Package, ...], seed: int, accept: Sequence[str], reason: str, events: Events
) -> "tuple[Choice, Subject]":
    from ppm.composition.steps import check_strategy
    from ppm.composition.strategy import read_strategy

    strategy = read_strategy(plan.strategy)
    check_strategy(strategy)
    from ppm.audit.model import AuditWaiver
    from ppm.composition.compose import check_together
    from ppm.install.choice import choose

    check_together(packages, plan.base)
    events.tell(f"Loading {plan.base.name}")
    subject = _subject(plan, packages)
    waivers = [AuditWaiver(suite, reason, _user()) for suite in accept]
    return choose(strategy, subject, seed=seed, waivers=waivers, events=events), subject


def _subject(plan: Plan, packages: tuple[Package, ...]) -> "Subject":
    from ppm.audit.run import Deployed, Subject
    from ppm.prefix.loading import load_base
    from ppm.prefix.tensors import from_bytes

    model, tokenizer = load_base(plan.base)
    planned = {package.manifest.name for package in packages}
    deployed = None
    if plan.previous is not None and plan.previous.prefix is not None:
        old = tuple(p for p in stored_packages(plan.previous, plan.environment) if p.manifest.name in planned)
        deployed = Deployed(from_bytes(plan.previous.prefix).to(model.device), old)
    return Subject(
        plan.base,
        model,
        tokenizer,
        packages,
        packages[0].manifest.base.placement,
        deployed,
        plan.project.gates,
        _result_store(plan.environment, plan.base.folder, model),
    )


def _result_store(environment: Environment, folder: Path, model: Any) -> Any:
    from ppm.base import weights_digest
    from ppm.evaluation.runner import ResultStore

    return ResultStore(environment.home / "cache" / "results", f"{weights_digest(folder)}:{model.dtype}")


def _insist(choice: "Choice", plan: Plan) -> None:
    audit = choice.audit
    if audit.verdict == "pass":
        return
    broken = "; ".join(dict.fromkeys(describe(comparison) for comparison in audit.failed))
    kept = f"deployment {plan.previous.number} is still current" if plan.previous else "nothing was deployed"
    message = f"{audit.strategy} did not pass its tests: {broken}; {kept}"
    if audit.verdict == "fail":
        error: GateFailed | GateInconclusive = GateFailed(message, hint=_gate_hint(plan))
    else:
        needed = max((c.prompts_needed or 0 for c in audit.failed), default=0)
        more = f"about {needed:,} prompts in the suite would settle it" if needed else "more prompts would settle it"
        error = GateInconclusive(message, hint=f"{more}; a waiver is --accept SUITE --reason TEXT")
    error.audit = audit  # type: ignore[union-attr]
    raise error


def _gate_hint(plan: Plan) -> str:
    if plan.strategy != "auto" and len(plan.pins) > 1:
        return "let ppm choose with --strategy auto; `ppm strategies` lists the others"
    return "install fewer patches together, or record a waiver with --accept SUITE --reason TEXT"


def describe(comparison: Any) -> str:
    """One comparison of the gate, with its figures, in words."""
    c = comparison
    bounds = f"[{c.lower:+.3f}, {c.upper:+.3f}]"
    if c.rule == "effect":
        lowered = f"{c.configuration} lowers the base's failure rate by {c.difference:.3f} {bounds}"
        return f"{c.suite}: {lowered}, which is not more than {c.margin:g}"
    if c.rule == "ceiling":
        return f"{c.suite}: its failure rate {c.difference:.3f} {bounds} is not below {c.margin:g}"
    return f"{c.suite}: {c.difference:+.3f} {bounds} against {c.against}, and the margin is {c.margin:g}"


def _deploy(
    held: Writer, plan: Plan, packages: tuple[Package, ...], choice: "Choice", subject: "Subject"
) -> Deployment:
    composition = choice.composition.to_bytes()
    plan.environment.store.put(composition)
    audit_data = choice.audit.to_json()
    record = choice.composition.manifest.composition
    assert record is not None
    lock = _lock(
        plan,
        packages,
        strategy_digest=record.strategy_digest,
        composition=LockedComposition(sha256(composition), sha256(audit_data)),
    )
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return deploy(
        held,
        {
            LOCK_FILE: lock.render().encode(),
            MANIFEST_FILE: choice.composition.manifest.render().encode(),
            PREFIX_FILE: choice.composition.prefix,
            AUDIT_FILE: audit_data,
        },
        base_model=plan.base.name,
        base_revision=plan.base.revision,
        fingerprint=plan.base.fingerprint,
        weights_digest=subject.store.weights.rpartition(":")[0] if subject.store else None,
        strategy=record.strategy,
        verdict="waived" if choice.audit.waivers else "pass",
        waivers=tuple(Waiver(w.suite, w.reason, w.by, now) for w in choice.audit.waivers),
    )


def _deploy_nothing(held: Writer, plan: Plan) -> Deployment:
    return deploy(
        held,
        {LOCK_FILE: _lock(plan, (), strategy_digest=None, composition=None).render().encode()},
        base_model=plan.base.name,
        base_revision=plan.base.revision,
        fingerprint=plan.base.fingerprint,
        verdict="none",
    )


def _lock(
    plan: Plan, packages: tuple[Package, ...], *, strategy_digest: str | None, composition: LockedComposition | None
) -> Lock:
    locked = tuple(
        LockedPackage(
            pin.candidate.name,
            str(pin.candidate.version),
            pin.candidate.file_name,
            pin.candidate.sha256,
            pin.candidate.source,
            requested=pin.requested,
            dependencies=tuple(p.candidate.name for p in plan.pins if pin.candidate.name in p.required_by),
        )
        for pin in plan.pins
    )
    base = LockedBase(plan.base.name, plan.base.fingerprint, plan.base.revision)
    return Lock(1, base, plan.requirements, plan.strategy, strategy_digest, locked, composition)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def compose_to(
    patches: Sequence[str],
    base: Any,
    strategy: str,
    folder: Path,
    *,
    find_links: Sequence[Path] = (),
    seed: int = 0,
    events: Events = Events(),  # noqa: B008
) -> tuple[Package, Path]:
    """Resolve and compose without testing or deploying: the package and where it was written. Raises PpmError."""
    from ppm.composition.compose import check_together, compose, make_context
    from ppm.composition.steps import check_strategy
    from ppm.composition.strategy import read_strategy
    from ppm.package import write_package
    from ppm.prefix.loading import load_base

    recipe = read_strategy(strategy)
    if recipe.is_automatic:
        raise RequestError(
            f"{recipe.name!r} chooses between candidates by gating them, which only `ppm install` does",
            hint=f"name one of its candidates: {', '.join(recipe.candidates)}",
        )
    check_strategy(recipe)
    plan = plan_install(patches, base, find_links=find_links, strategy=strategy, deployed=False)
    packages = fetch(plan)
    check_together(packages, base)
    model, tokenizer = load_base(base)
    context = make_context(packages, model, tokenizer, seed=seed, progress=events.training_progress)
    package = compose(packages, recipe, context)
    return package, write_package(package, folder)


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
    from ppm.prefix.loading import load_base
    from ppm.prefix.tensors import from_bytes

    deployment = _patched(environment)
    base = open_base(_base_name(deployment))
    _check_still(base.fingerprint, deployment)
    model, tokenizer = load_base(base)
    packages = stored_packages(deployment, environment)
    manifest, prefix = deployment.manifest, deployment.prefix
    assert manifest is not None
    assert prefix is not None
    store = None if fresh else _result_store(environment, base.folder, model)
    policy: Gates = (Project.find(Path.cwd()) or Project()).gates
    subject = Subject(base, model, tokenizer, packages, manifest.base.placement, None, policy, store)
    suites = suites_of(subject)
    result, outcomes = audit(
        subject,
        from_bytes(prefix).to(model.device),
        strategy=deployment.record.strategy or "",
        alpha=policy.alpha,
        suites=suites,
        waivers=[AuditWaiver(w.suite, w.reason, w.by) for w in deployment.record.waivers],
        progress=events.audit_progress,
    )
    return result, outcomes, tuple(suites)


def _base_name(deployment: Deployment) -> str:
    record = deployment.record
    return f"{record.base_model}@{record.base_revision}" if record.base_revision else record.base_model


def _patched(environment: Environment) -> Deployment:
    deployment = environment.current()
    if deployment is None or deployment.prefix is None:
        raise RequestError(
            f"no patch is deployed for {environment.label}", hint="start with `ppm install PATCH --base MODEL`"
        )
    return deployment


def _check_still(fingerprint: str, deployment: Deployment) -> None:
    if fingerprint != deployment.record.fingerprint:
        raise ModelError(
            f"{deployment.record.base_model} is not the model that deployment {deployment.number} was made for",
            hint="restore the model, or install the patches again for the new one",
        )


def load_deployed(base: str, *, env: str | None = None, unpatched: bool = False) -> tuple[Any, Any]:
    """The base model with its deployed prefix, and its tokenizer; see `ppm.load`."""
    from ppm.prefix.loading import load_base

    found = open_base(base)
    if unpatched:
        return load_base(found)
    deployment = _patched(environment_for(found, env))
    _check_still(found.fingerprint, deployment)
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
        check_compatible(replace(package.manifest), identify(folder))
    return attach(model, [of_package(package, model)], placement=package.manifest.base.placement)
