"""Runs an audit: base, specialists, what is deployed and the composition, on all suites, then the gate."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ppm.audit.anchors import Anchor, SuiteKey, anchor_outcomes, lost_anchors
from ppm.audit.comparison import COMPOSITION, Comparison, verdict_of
from ppm.audit.conflicts import (
    Conflict,
    check_settled,
    giving_way,
    measured_conflicts,
    other_styles,
)
from ppm.audit.gate import Sides, Spending, compare, rate_of
from ppm.audit.model import Audit, AuditedSuite, Cell
from ppm.audit.report import Report
from ppm.audit.triggers import one_way, trigger_notes, trigger_rows
from ppm.bank import Bank
from ppm.base import BaseModel
from ppm.composition.operating import bank_under
from ppm.errors import ManifestError, RequestError, did_you_mean
from ppm.evaluation.controls import with_steady_judge
from ppm.evaluation.flips import flip_note
from ppm.evaluation.neutral import beginnings, default_utility
from ppm.evaluation.ordinary import over_refusal, takes_requests
from ppm.evaluation.results import Configuration, Outcome, Outcomes, ResultStore, kept_outcomes
from ppm.evaluation.second import Opinion, second_opinion
from ppm.evaluation.suites import (
    LoadedSuite,
    base_suites,
    check_distinct,
    package_suites,
    policy_suites,
    uncalibrated,
    with_more,
    without_repeats,
)
from ppm.evaluation.triggers import trigger_scores
from ppm.evaluation.wellformed import well_formed_share
from ppm.jsonl import Benign, Pair, check_leakage, normalised
from ppm.manifest import Placement, check_tested
from ppm.package import Package
from ppm.progress import Progress, silent
from ppm.project import Gates, keys_of
from ppm.verdict import Waiver

if TYPE_CHECKING:
    from ppm.runtime.loading import LazyModel, LoadedBase

__all__ = ["Deployed", "Subject", "audit", "check_meaning", "check_waivers", "suites_of", "trained_on"]

BASE = "base"
DEPLOYED = "deployed"


@dataclass(frozen=True)
class Deployed:
    """What runs before the install: its bank, and the packages whose suites it must still pass.

    `digest` is `sha256:` and the digest of its package file, if a new composition may go on from it, else empty.
    """

    bank: Bank
    packages: tuple[Package, ...]
    digest: str = ""


@dataclass(frozen=True)
class Subject:
    """Everything an audit is about, apart from the composed prefix.

    `replaced` are packages that are not composed any more and whose suites are run all the same. `anchors` are what
    suites hold the composition to besides what is deployed.
    """

    base: BaseModel
    lazy: "LazyModel"
    packages: tuple[Package, ...]
    placement: Placement
    deployed: Deployed | None = None
    policy: Gates = field(default_factory=Gates)
    store: ResultStore | None = None
    replaced: tuple[Package, ...] = ()
    anchors: Mapping[SuiteKey, Anchor] = field(default_factory=dict)

    @property
    def earlier(self) -> tuple[Package, ...]:
        """The packages whose suites have to be passed besides those of what is composed."""
        return (*(self.deployed.packages if self.deployed else ()), *self.replaced)

    @property
    def loaded(self) -> "LoadedBase":
        """The base model, loaded when first used. Raises ModelError."""
        return self.lazy.loaded


def suites_of(subject: Subject) -> list[LoadedSuite]:
    """The suites of all patches, old and new, by patch; then the base's utility suites and the deployer's.

    Those of replaced versions that the policy retires are left out. Raises ManifestError when a suite's prompt is also
    trained on by any of the patches, or occurs twice in the suite.
    """
    old = [p for p in subject.earlier if p not in subject.packages]
    packages = [*subject.packages, *old]
    for package in packages:
        check_tested(package.manifest, package.manifest.pin)
    new = {suite.digest for suite in package_suites(subject.packages)}
    # What a new version may have mended must not stand in its way: in an old one's suite a prompt counts once.
    found = [
        suite if suite.digest in new else without_repeats(suite)
        for suite in package_suites(packages)
        if suite.digest in new or suite.label not in subject.policy.retired
    ]
    utility = base_suites(subject.base.folder)
    own = [suite for path in subject.policy.suites for suite in policy_suites(Path(path))]
    trained = trained_on(packages)
    for suite in (*found, *utility, *own):
        _check_prompts(suite, trained)
    if not utility:
        ordinary = _ordinary(subject, trained)
        others = [Benign(prompt.prompt) for suite in ordinary for prompt in suite.prompts] or beginnings()
        utility = [*default_utility(subject.lazy, packages, others, subject.store), *ordinary]
    names = list(dict.fromkeys(package.manifest.name for package in packages))
    found.sort(key=lambda suite: names.index(suite.owner or ""))
    for kind, suites in (("base", utility), ("policy", own)):
        for suite in suites:
            taken = {other.label for other in found}
            label = f"{kind}/{suite.label}" if suite.label in taken else suite.label
            if label in taken:
                raise ManifestError(f"two suites are named {suite.label!r}", context=kind, hint="rename one of them")
            found.append(replace(suite, label=label))
    found = [with_steady_judge(suite) for suite in _with_more(found, subject, trained)]
    for suite in found:
        if suite.second is not None:
            suite.second.prepare()
    return [suite.counted_in_groups() for suite in found] if subject.policy.groups else found


def _check_prompts(suite: LoadedSuite, trained: Mapping[str, Sequence[Pair | Benign]]) -> None:
    sealed = bool(suite.suite.sealed)
    check_distinct(suite.label, suite.prompts, suite.owner or "", sealed=sealed)
    check_leakage(suite.label, suite.prompts, trained, sealed=sealed)


def _with_more(
    suites: Sequence[LoadedSuite], subject: Subject, trained: Mapping[str, Sequence[Pair | Benign]]
) -> list[LoadedSuite]:
    """The suites with what the policy brings to them, but for patches that are not there.

    Raises RequestError for what is no suite, ManifestError.
    """
    names = {suite.owner for suite in suites}
    more = {
        key: file
        for key, file in subject.policy.more_prompts.items()
        if "/" not in key or key.partition("/")[0].partition("==")[0] in (*names, "base", "policy")
    }
    known = dict.fromkeys(key for suite in suites for key in keys_of(suite.owner, suite.label))
    unknown = next((key for key in more if key not in known), None)
    if unknown is not None:
        hint = did_you_mean(unknown, known, f"suites are {', '.join(suite.label for suite in suites)}")
        raise RequestError(f"there is no suite {unknown!r} to bring more prompts to", hint=hint)
    found = with_more(suites, more)
    for before, suite in zip(suites, found, strict=True):
        if suite is not before:
            _check_prompts(suite, trained)
    return found


def _ordinary(subject: Subject, trained: Mapping[str, Sequence[Pair | Benign]]) -> list[LoadedSuite]:
    """For a base that chats, whether it still answers ordinary requests: those that no patch was trained on."""
    if not takes_requests(subject.base):
        return []
    suite = over_refusal({normalised(row.prompt) for rows in trained.values() for row in rows})
    return [suite] if suite is not None else []


def trained_on(packages: Sequence[Package]) -> dict[str, list[Pair | Benign]]:
    """The training data that patches carry, by patch."""
    return {package.manifest.pin: [*package.replay, *package.retention] for package in packages}


def check_waivers(waivers: Sequence[Waiver], suites: Sequence[LoadedSuite]) -> list[Waiver]:
    """The waivers with what they are for. Raises RequestError when one names no suite."""
    digests = {suite.label: suite.waiver_digest for suite in suites}
    for waiver in waivers:
        if waiver.suite not in digests:
            hint = did_you_mean(waiver.suite, digests, f"suites are {', '.join(digests)}")
            raise RequestError(f"there is no suite {waiver.suite!r} to accept", hint=hint)
    return [replace(waiver, digest=digests[waiver.suite]) for waiver in waivers]


def audit(
    subject: Subject,
    composition: Bank,
    *,
    strategy: str,
    spending: Spending,
    suites: Sequence[LoadedSuite],
    waivers: Sequence[Waiver] = (),
    progress: Progress = silent,
) -> Report:
    """The audit of a composed bank on the suites: one of the looks that `spending` is for."""
    spent = {suite.label: spending.of(suite) for suite in suites}
    configurations = _configurations(subject, composition)
    placement, store = subject.placement, subject.store
    outcomes = kept_outcomes(configurations, suites, placement=placement, store=store)
    runs = outcomes is None
    if outcomes is None:
        from ppm.evaluation.runner import evaluate

        outcomes = evaluate(subject.loaded, configurations, suites, placement=placement, store=store, progress=progress)
    compared = [composition, *([subject.deployed.bank] if subject.deployed is not None else [])]
    held = anchor_outcomes(subject.anchors, suites, subject.lazy, besides=compared, store=store, progress=progress)
    notes = flip_note(subject.lazy, configurations, suites, placement=placement, store=store, measure=runs)
    way = _giving_way(subject, suites, outcomes)
    comparisons = _comparisons(subject, suites, outcomes, held, spent, {waiver.digest for waiver in waivers}, way)
    said = {
        (c.name, s.label): second_opinion(s, outcomes[c.name, s.digest], store) for c in configurations for s in suites
    }
    matrix = {
        c.name: {s.label: _cell(s, outcomes[c.name, s.digest], spent[s.label], said[c.name, s.label]) for s in suites}
        for c in configurations
    }
    scores = trigger_scores(lambda: subject.loaded, configurations, suites, subject.store)
    result = Audit(
        base=subject.base.name,
        strategy=strategy,
        verdict=verdict_of(comparisons),
        alpha=spending.alpha,
        looks=spending.looks,
        prefix=f"sha256:{composition.digest}",
        configurations=tuple(c.name for c in configurations),
        matrix=matrix,
        comparisons=comparisons,
        waivers=tuple(waivers),
        notes=(
            *trigger_notes(subject.packages, composition, subject.policy),
            *one_way(configurations, suites, scores),
            *notes,
            *lost_anchors(subject.anchors, suites),
            *_notes_on(suites, subject, matrix[COMPOSITION], way),
        ),
        circular=_circular(suites, subject.packages),
        uncalibrated=uncalibrated(suites, subject.base.folder),
        suites={suite.label: _audited(suite, spending.attempts.get(suite.digest)) for suite in suites},
        triggers=trigger_rows(configurations, suites, scores, spent),
    )
    opinions = {s.label: found for s in suites if (found := said[COMPOSITION, s.label]) is not None}
    return Report(result, outcomes, tuple(suites), opinions=opinions)


def _configurations(subject: Subject, composition: Bank | None = None) -> list[Configuration]:
    """The base, each specialist in the order of the request, what is deployed, and the composition if there is one."""
    specialists = [Configuration(p.manifest.pin, bank_under(p, subject.policy)) for p in subject.packages]
    before = [Configuration(DEPLOYED, subject.deployed.bank)] if subject.deployed is not None else []
    if composition is None:
        return [Configuration(BASE), *specialists]
    return [Configuration(BASE), *specialists, *before, Configuration(COMPOSITION, composition)]


def _comparisons(
    subject: Subject,
    suites: Sequence[LoadedSuite],
    outcomes: Outcomes,
    anchors: Mapping[str, tuple[str, Outcome]],
    alphas: Mapping[str, float],
    waived: Collection[str],
    way: Mapping[str, str],
) -> tuple[Comparison, ...]:
    """What the rules say of each suite at its alpha; `waived` are the digests that waivers are for.

    `way` says which patch is preferred to some suites' own.
    """
    names = {p.manifest.name: p.manifest.pin for p in subject.packages}
    comparisons: list[Comparison] = []
    for suite in suites:
        specialist = names.get(suite.owner or "")
        sides = Sides(
            base=outcomes[BASE, suite.digest],
            composition=outcomes[COMPOSITION, suite.digest],
            specialist=(specialist, outcomes[specialist, suite.digest]) if specialist else None,
            deployed=(DEPLOYED, outcomes[DEPLOYED, suite.digest]) if subject.deployed else None,
            anchor=anchors.get(suite.label),
            preferred=(names[way[suite.label]], outcomes[names[way[suite.label]], suite.digest])
            if suite.label in way
            else None,
        )
        found = compare(suite, sides, alphas[suite.label], subject.policy)
        comparisons += [replace(c, waived=True) if suite.waiver_digest in waived else c for c in found]
    return tuple(comparisons)


def check_meaning(subject: Subject, suites: Sequence[LoadedSuite], progress: Progress = silent) -> None:
    """Raises ResolutionError where patches spoil each other's suites and the policy does not say which one counts.

    Base and patches answer the suites for that, and an audit takes these answers where they are kept.
    """
    configurations = _configurations(subject)
    kept = kept_outcomes(configurations, suites, placement=subject.placement, store=subject.store)
    if kept is None:
        from ppm.evaluation.runner import evaluate

        kept = evaluate(
            subject.loaded,
            configurations,
            suites,
            placement=subject.placement,
            store=subject.store,
            progress=progress,
        )
    check_settled(_conflicts(subject, suites, kept), subject.policy.priority)


def _conflicts(subject: Subject, suites: Sequence[LoadedSuite], outcomes: Outcomes) -> list[Conflict]:
    """What the patches, each alone, do to each other's suites."""
    base, patches = _alone(subject, suites, outcomes)
    return measured_conflicts(subject.packages, suites, base, patches, subject.policy)


def _giving_way(subject: Subject, suites: Sequence[LoadedSuite], outcomes: Outcomes) -> dict[str, str]:
    """Which patch is preferred to the one that a suite came with, by the suite's label."""
    priority = subject.policy.priority
    return giving_way(_conflicts(subject, suites, outcomes), priority) if priority else {}


def _alone(
    subject: Subject, suites: Sequence[LoadedSuite], outcomes: Outcomes
) -> tuple[dict[str, Outcome], dict[tuple[str, str], Outcome]]:
    """The base's outcomes by the suites' labels, and the patches' by (name, label)."""
    base = {suite.label: outcomes[BASE, suite.digest] for suite in suites}
    names = [(package.manifest.name, package.manifest.pin) for package in subject.packages]
    return base, {(name, suite.label): outcomes[pin, suite.digest] for name, pin in names for suite in suites}


def _notes_on(
    suites: Sequence[LoadedSuite], subject: Subject, composed: Mapping[str, Cell], way: Mapping[str, str]
) -> Iterator[str]:
    """What has to be said of suites and of what their patches say of each other."""
    sealed = ", ".join(suite.label for suite in suites if suite.suite.sealed)
    if sealed:
        yield f"sealed: {sealed}; only their rates are shown"
    kept = [name for name in subject.policy.retired if name in {suite.label for suite in suites}]
    if kept:
        yield f"{', '.join(kept)} can't be retired: a patch that is composed has it"
    for suite in suites:
        if suite.changed:
            yield suite.changed
        if suite.second is not None and composed[suite.label].second is None:
            yield f"{suite.label}: its second judge could not be asked"
    for label, name in way.items():
        yield f"{label}: {name} is preferred to its own patch, so the composition is held to {name} there"
    yield from (f"{c.first} and {c.second}: {c.what}" for c in other_styles(subject.packages))


def _audited(suite: LoadedSuite, attempt: int | None) -> AuditedSuite:
    found = suite.counted_in_groups().groups or {}
    known = suite.suite.evidence if suite.errors is not None else None
    unlike = len({found[prompt.id] for prompt in suite.prompts})
    return AuditedSuite(
        prompts=len(suite.prompts),
        metric=suite.suite.metric,
        digest=suite.digest,
        judge=suite.suite.judge.name,
        judge_version=suite.judge_version,
        owner=suite.owner,
        groups=unlike if suite.groups is not None else None,
        unlike=unlike,
        attempt=attempt,
        sensitivity=known.sensitivity if known is not None else None,
        specificity=known.specificity if known is not None else None,
        second_judge=suite.suite.second_judge.name if suite.suite.second_judge is not None else None,
    )


def _cell(suite: LoadedSuite, outcome: Outcome, alpha: float, second: Opinion | None) -> Cell:
    interval = suite.measure.interval(suite.evidence(outcome.values), alpha)
    share = well_formed_share(outcome.completions) if suite.suite.against == "specialist" else None
    true = rate_of(suite, suite.evidence(outcome.values), alpha) if suite.errors is not None else None
    corrected = (true.value, true.low, true.high) if true is not None else None
    said = (second.figure, second.differ) if second is not None else (None, None)
    return Cell(interval.value, interval.low, interval.high, len(outcome.values), share, corrected, *said)


def _circular(suites: Sequence[LoadedSuite], packages: Sequence[Package]) -> tuple[str, ...]:
    """Suites whose judge also chose the pairs that their patch was trained on."""
    filters = {p.manifest.name: p.manifest.provenance.get("filter_judge") for p in packages}
    return tuple(s.label for s in suites if s.owner is not None and filters.get(s.owner) == s.suite.judge.name)
