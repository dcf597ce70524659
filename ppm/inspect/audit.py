"""Audits again what is deployed, under the policy and with the suites that it was deployed by."""

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ppm.base import BaseModel, weights_digest
from ppm.environment.attempts import ledger_of
from ppm.environment.deployment import Deployment, Environment
from ppm.errors import ManifestError, ModelError
from ppm.home import self_tests
from ppm.install.current import audit_of, deployed, missing_attempts, policy_digest, policy_of, running_of
from ppm.install.earlier import replaced_packages
from ppm.install.fetch import stored_packages
from ppm.progress import Events, Progress
from ppm.project import PROJECT_FILE, Gates
from ppm.running import UNSAID, Running
from ppm.workspace import Workspace, base_of_environment

if TYPE_CHECKING:
    from ppm.audit.model import Audit
    from ppm.audit.report import Report
    from ppm.audit.run import Subject
    from ppm.evaluation.suites import LoadedSuite

__all__ = ["audit_deployed"]


def audit_deployed(
    workspace: Workspace,
    environment: Environment,
    *,
    fresh: bool = False,
    early: bool = False,
    asked: Running = UNSAID,
    events: Events = Events(),  # noqa: B008
) -> "Report":
    """Audit again what is deployed.

    The policy is the one that the deployment was tested under, and all suites of its audit are run; the audit's notes
    say where that can't be, and where the working directory's ppm.toml asks for something else. Results that are kept
    are used unless `fresh`. With `early` the first of the policy's looks that settles it is the last. Raises
    RequestError when nothing is deployed, or another dtype is `asked` for than it was tested in, ManifestError when a
    file of the policy's suites is gone.
    """
    from ppm.audit.report import about
    from ppm.audit.run import Subject, suites_of
    from ppm.evaluation.results import result_store
    from ppm.lab.prompts import as_tested
    from ppm.runtime.loading import LazyModel

    deployment = deployed(environment)
    running = running_of(deployment, asked)
    base = base_of_environment(environment)
    _check_weights(base, deployment)
    packages = stored_packages(deployment, environment)
    assert deployment.manifest is not None
    shipped = audit_of(deployment)
    policy, notes = _policy(workspace, deployment, base)
    subject = Subject(
        base,
        LazyModel(base, self_tests(environment.home), running, events.tell),
        packages,
        deployment.manifest.base.placement,
        None,
        policy,
        result_store(environment.home / "cache" / "results", base, running=running, fresh=fresh),
        replaced_packages(environment, packages, shipped),
    )
    then = {suite.digest for suite in shipped.suites.values()} if shipped is not None else set()
    suites = as_tested(suites_of(subject), then)
    notes += _changed(suites, shipped, deployment)
    notes += [f"{base.name} is accepted as derived from {o.model}: {o.note}" for o in deployment.lock.base.derived_from]
    for note in notes:
        events.tell(f"note: {note}")
    report = _tested(subject, deployment, suites, shipped, early=early, progress=events.progress)
    result = report.audit
    if shipped is not None:
        kept = {key: getattr(shipped, key) for key in ("attempts", "candidates", "continual")}
        result = replace(result, **kept)
    void = missing_attempts(environment, base.fingerprint, ledger_of(environment.home, base.fingerprint))
    result = replace(result, void=void)
    facts = about(base, packages, environment.label, deployment=_told(deployment))
    return replace(report, audit=replace(result, notes=(*notes, *result.notes)), about=facts)


def _told(deployment: Deployment) -> str:
    """A deployment, for people."""
    record = deployment.record
    return f"number {deployment.number}, put in force {record.created[:16].replace('T', ' ')} UTC by {record.user}"


def _tested(
    subject: "Subject",
    deployment: Deployment,
    suites: "Sequence[LoadedSuite]",
    shipped: "Audit | None",
    *,
    early: bool,
    progress: Progress,
) -> "Report":
    """The audit of what is deployed, on the suites as far as they were run."""
    from ppm.audit.gate import Spending
    from ppm.audit.run import audit

    looks = subject.policy.looks
    spending = Spending(subject.policy.alpha, len(looks) + 1, _attempts(suites, shipped))
    for share in (*(looks if early else ()), 1.0):
        report = audit(
            subject,
            deployment.bank,
            strategy=deployment.record.strategy or "",
            spending=spending,
            suites=[suite.head(share) for suite in suites],
            waivers=deployment.record.waivers,
            progress=progress,
        )
        if report.audit.verdict != "inconclusive":
            break
    return report


def _check_weights(base: BaseModel, deployment: Deployment) -> None:
    """Raises ModelError when the base's weights are not those that a deployment was tested on."""
    recorded = deployment.record.weights_digest
    if recorded is not None and weights_digest(base.folder) != recorded:
        raise ModelError(
            f"the weights of {base.name} have changed since deployment {deployment.number}",
            hint="restore the model, or reinstall the patches for the new one",
        )


def _attempts(suites: "Sequence[LoadedSuite]", shipped: "Audit | None") -> dict[str, int]:
    """Which attempt the deployed one was, by suite; the first for a suite that was not tested then.

    An older ppm counted attempts on patches: then each suite has had as many.
    """
    if shipped is None:
        return {}
    known = {suite.digest: suite.attempt for suite in shipped.suites.values() if suite.attempt is not None}
    older = 1 if known else max((attempt.number or 1 for attempt in shipped.attempts), default=1)
    return {suite.digest: known.get(suite.digest, older) for suite in suites}


def _policy(workspace: Workspace, deployment: Deployment, base: BaseModel) -> tuple[Gates, list[str]]:
    """The policy that a deployment was tested under, and what has to be said of it."""
    path = workspace.project_file
    here = workspace.project.gates if path is not None else None
    policy = policy_of(deployment)
    if policy is None:
        used = here or Gates()
        if deployment.record.gates in (None, policy_digest(used, base)):
            return used, []
        whose = f"the policy of {path}" if path is not None else "ppm's own policy"
        note = (
            f"deployment {deployment.number} was tested under a different policy, which an older ppm did not record: "
            f"this audit uses {whose}"
        )
        return used, [note]
    brought = policy.more_prompts.items()
    policy = replace(
        policy,
        suites=tuple(_found(suite, here.suites if here else (), deployment, "suites") for suite in policy.suites),
        more_prompts={
            label: _found(file, here.more_prompts.values() if here else (), deployment, "more_prompts")
            for label, file in brought
        },
    )
    if here is None or _resolved(here) == _resolved(policy):
        return policy, []
    return policy, [
        f"the policy of {path} differs from the one that deployment {deployment.number} was tested under, which this "
        f"audit uses ({_differences(policy, here)})"
    ]


def _resolved(policy: Gates) -> Gates:
    """The policy with the files of its suites by their one name, whatever links lead to them.

    Priorities and more prompts may have been given on the command line.
    """
    suites = tuple(str(Path(suite).resolve()) for suite in policy.suites)
    return replace(policy, suites=suites, priority=(), more_prompts={})


def _found(file: str, here: Iterable[str], deployment: Deployment, key: str) -> str:
    """Where a file of a policy is: where it was, or where the working directory's policy names one alike."""
    if Path(file).is_file():
        return file
    alike = [path for path in here if Path(path).name == Path(file).name]
    if len(alike) == 1 and Path(alike[0]).is_file():
        return alike[0]
    raise ManifestError(
        f"no longer exists, but deployment {deployment.number} was tested with it",
        context=file,
        hint=f"put the file back, or name it under [gates] {key} in the {PROJECT_FILE} of the working directory; "
        "`ppm install` under a policy without it makes a deployment that is not tested with it",
    )


def _differences(theirs: Gates, ours: Gates) -> str:
    found = []
    for key in (field.name for field in fields(Gates)):
        old, new = getattr(theirs, key), getattr(ours, key)
        if old != new:
            found.append(f"{key}: {_shown(key, old)} there, {_shown(key, new)} here")
    return "; ".join(found)


def _shown(key: str, value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(Path(v).name if key == "suites" else f"{v}" for v in value) or "none"
    return "none" if value is None else f"{value}"


def _changed(suites: "Sequence[LoadedSuite]", shipped: "Audit | None", deployment: Deployment) -> list[str]:
    """Which suites of the deployed audit are run in another form, or not at all."""
    from ppm.evaluation.neutral import BENIGN_ANSWERS

    if shipped is None:
        return []
    digests = {suite.label: suite.digest for suite in suites}
    # A patch's suite has another label where a replaced version with one of the same name is gone.
    owned = {(suite.owner, suite.digest) for suite in suites if suite.owner is not None}
    notes, tested_with = [], f"deployment {deployment.number}"
    for label, tested in shipped.suites.items():
        if digests.get(label) == tested.digest or (tested.owner, tested.digest) in owned:
            continue
        if label == BENIGN_ANSWERS and label in digests:
            notes.append(f"{label}: some prompts, or the base's own answers to them, differ from {tested_with}'s")
        elif label in digests:
            notes.append(f"the suite {label} has changed since {tested_with}")
        else:
            gone = f"the package of {tested.owner} from that time no longer exists"
            if tested.owner is None:
                gone = "neither the base nor the policy declares it, and this version of ppm has none of that name"
            notes.append(f"the suite {label} can't be run again: {gone}")
    return notes
