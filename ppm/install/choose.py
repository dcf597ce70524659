"""Makes and gates candidates: the one that a strategy gives, or for an automatic choice the promising ones in turn.

Candidates are compared on replay and retention prompts, where looking is free. The prompts of the gate are
touched only by a candidate that is gated, and each attempt on the same prompts may spend less than the one before it,
at all of its planned looks together.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ppm.audit.anchors import anchored
from ppm.audit.candidates import PREFERENCES, Candidate
from ppm.audit.comparison import Comparison
from ppm.audit.gate import Spending, alpha_of_attempt
from ppm.audit.model import Attempt, Audit
from ppm.audit.report import Report
from ppm.audit.run import Subject, audit, check_meaning, check_waivers, suites_of
from ppm.composition.compose import compose, make_context
from ppm.composition.steps import Context, Parent
from ppm.composition.strategy import Strategy
from ppm.environment.attempts import ELSEWHERE, GatedAttempt, Ledger
from ppm.errors import ModelError, PpmError, TrainingError
from ppm.evaluation.runner import check_texts
from ppm.evaluation.suites import LoadedSuite
from ppm.install.ranking import Ranking, candidate_of, is_one_prefix, rank
from ppm.lab.prompts import draw_of, drawn_anew
from ppm.lock import Lock
from ppm.package import Package
from ppm.progress import Events
from ppm.verdict import Waiver

__all__ = ["Choice", "choose"]


@dataclass(frozen=True)
class Choice:
    """The candidate that passed, or else the nearest, with its audit.

    `attempts` says how often prompts have been looked at by now, by the digest of their set.
    """

    composition: Package
    report: Report
    attempts: Mapping[str, int] = field(default_factory=dict)

    @property
    def audit(self) -> Audit:
        """What the gate said."""
        return self.report.audit

    def with_about(self, facts: Mapping[str, str]) -> "Choice":
        """The same choice, with what its report is about."""
        return replace(self, report=replace(self.report, about=facts))

    def with_audit(self, audit: Audit) -> "Choice":
        """The same choice, with an audit that says more."""
        return replace(self, report=replace(self.report, audit=audit))


def choose(
    strategy: Strategy,
    subject: Subject,
    *,
    seed: int,
    waivers: Sequence[Waiver],
    ledger: Ledger,
    events: Events,
    locks: Sequence[Lock] = (),
) -> Choice:
    """Compose and gate. The result's audit says whether it may be deployed. Raises PpmError.

    `ledger` counts the attempts on the suites' prompts, those of earlier commands included, and takes over what `locks`
    count.
    """
    suites = suites_of(subject)
    for lock in locks:
        ledger.adopt(lock.attempts, [suite.asked for suite in suites], _composed(lock))
    waivers = check_waivers(waivers, suites)
    deployed, parent = subject.deployed, None
    if deployed is not None and deployed.bank and deployed.digest:
        parent = Parent(deployed.bank, deployed.digest)
    context = make_context(
        subject.packages,
        subject.loaded,
        seed=seed,
        progress=events.progress,
        parent=parent,
        policy=subject.policy,
        conditional=strategy.triggers,
    )
    if len(subject.packages) > 1:  # told before composing, which takes long: every specialist is tested too
        check_texts(subject.loaded, suites, max(s.bank.virtual_tokens for s in context.specialists))
        first = (*subject.policy.looks, 1.0)[0]
        check_meaning(subject, [suite.head(first) for suite in suites], events.progress)
    if len(subject.packages) > 1 and not context.retention:
        events.tell("  the patches have no retention prompts, so only the tests can show whether utility is kept")
    unranked = [s.name for s in context.specialists if not s.replay]
    if strategy.is_automatic and unranked:
        events.tell(f"  no replay pairs for ranking candidates: {', '.join(unranked)}")
    gate = _Gate(subject, tuple(suites), tuple(waivers), ledger, events, tuple(locks))
    if not strategy.is_automatic or len(subject.packages) == 1:
        if len(subject.packages) > 1:
            events.tell(f"Composing with {strategy.name}")
        composition = compose(subject.packages, strategy, context, base=subject.base)
        return gate.decide(composition, ())
    return _automatic(strategy, gate, context)


def _automatic(strategy: Strategy, gate: "_Gate", context: Context) -> Choice:
    events = gate.events
    found: Iterable[_Made | Attempt] = _candidates(strategy, gate, context)
    compared: tuple[Candidate, ...] = ()
    if strategy.prefer:
        found, compared = _best_first(found, strategy.prefer, gate)
    attempts: tuple[Attempt, ...] = ()
    set_aside: list[tuple[float, Package]] = []
    nearest: Choice | None = None
    for one in found:
        if isinstance(one, Attempt):
            attempts += (one,)
            continue
        name, ranking = one.name, one.ranking
        if ranking.score >= 1:
            attempts += (Attempt(name, None, "set aside", ranking.worst),)
            events.tell(f"  {name} is set aside before the gate, for the ranking prompts: {ranking.worst}")
            set_aside.append((ranking.score, one.composition))
            continue
        try:
            choice = gate.decide(one.composition, attempts)
        except ModelError as error:
            attempts += (Attempt(name, None, "error", error.message),)
            events.tell(f"  {name} can't be tested: {error.message}")
            continue
        choice = choice.with_audit(replace(choice.audit, candidates=compared))
        if choice.audit.may_deploy:
            notes = (*choice.audit.notes, _why(strategy, one))
            return choice.with_audit(replace(choice.audit, notes=notes))
        attempts = choice.audit.attempts
        if nearest is None or _distance(choice.audit) < _distance(nearest.audit):
            nearest = choice
        events.tell(f"  {name} did not pass: {attempts[-1].detail}")
    if nearest is not None:
        return nearest.with_audit(replace(nearest.audit, attempts=attempts))
    if not set_aside:
        raise TrainingError(
            "no candidate could be composed", hint="try a strategy that needs no training: --strategy concat"
        )
    events.tell("No candidate looks promising; testing the nearest one anyway")
    _, best = min(set_aside, key=lambda item: item[0])
    choice = gate.decide(best, attempts)
    return choice.with_audit(replace(choice.audit, candidates=compared))


@dataclass(frozen=True)
class _Made:
    """A candidate that could be composed, under the name that the strategy has for it."""

    name: str
    recipe: Strategy
    composition: Package
    ranking: Ranking


def _candidates(strategy: Strategy, gate: "_Gate", context: Context) -> Iterator[_Made | Attempt]:
    """The candidates in turn, each composed when it is asked for, or the attempt that came to nothing."""
    subject, events = gate.subject, gate.events
    for name in strategy.candidates:
        recipe = strategy.candidate(name)
        if not _can_be_made(recipe, context):
            if recipe.isolates:
                events.tell(f"  {name} is not tried: it would leave out the triggers that all patches ship")
            continue
        events.tell(f"Composing with {name}")
        own = replace(context, conditional=context.conditional and recipe.triggers)
        try:
            composition = compose(subject.packages, recipe, own, base=subject.base, chosen_by=strategy.name)
            ranking = rank(composition, subject, context, gate.suites)
        except PpmError as error:  # for example a prefix too long for the base; the next candidate may be shorter
            events.tell(f"  {name} could not be composed: {error.message}")
            yield Attempt(name, None, "error", error.message)
            continue
        yield _Made(name, recipe, composition, ranking)


def _best_first(
    found: Iterable[_Made | Attempt], prefer: str, gate: "_Gate"
) -> tuple[list[_Made | Attempt], tuple[Candidate, ...]]:
    """What came to nothing, then the candidates by a preference, with the figures of these.

    Of those that are equal the one that is made first comes first, which is cheaper.
    """
    everything = list(found)
    made = [
        (candidate_of(one.recipe, one.composition, one.ranking, gate.subject), one)
        for one in everything
        if isinstance(one, _Made)
    ]
    made.sort(key=lambda pair: PREFERENCES[prefer](pair[0]))
    if made:
        gate.events.tell(f"Candidates, by {prefer}: {', '.join(figures.strategy for figures, _ in made)}")
    failed = [one for one in everything if isinstance(one, Attempt)]
    return [*failed, *(one for _, one in made)], tuple(figures for figures, _ in made)


def _why(strategy: Strategy, one: _Made) -> str:
    """Why a candidate was taken, what it is, and what was not tried."""
    bank, names = one.composition.bank, strategy.candidates
    later = [] if strategy.prefer else [strategy.candidate(n).name for n in names[names.index(one.name) + 1 :]]
    kind = "one prefix" if is_one_prefix(bank) else "no single prefix, which exports want"
    made = f" was made in {one.recipe.cost}," if one.recipe.cost else ""
    left = f" Later candidates were not tried: {', '.join(later)}." if later else ""
    first = f"the best by {strategy.prefer}" if strategy.prefer else "the first candidate"
    return (
        f"{strategy.name} took {one.recipe.name}, {first} that the gate let through; on the ranking prompts "
        f"{one.ranking.words}. It has {bank.virtual_tokens} virtual tokens,{made} and is {kind}.{left}"
    )


def _can_be_made(recipe: Strategy, context: Context) -> bool:
    """Whether a candidate has one block to go on from, and may put patches behind triggers, if it does so.

    One that leaves out the triggers that all patches ship, as isolating their blocks does, is not tried.
    """
    going_on = context.parent is not None and len(context.parent.bank.blocks) == 1
    triggered = context.conditional and all(s.bank.router is not None for s in context.specialists)
    return (
        (going_on or not recipe.needs_parent)
        and (context.conditional or not recipe.routes)
        and not (recipe.isolates and triggered)
    )


def _composed(lock: Lock) -> GatedAttempt | None:
    """The attempt that a lock's composition was."""
    made = lock.composition
    if made is None or made.prefix is None:
        return None
    dtype = lock.dtype or "float32"
    return GatedAttempt(made.prefix.removeprefix("sha256:"), lock.strategy or "", 0, made.looks, ELSEWHERE, dtype=dtype)


def _distance(audit: Audit) -> tuple[bool, float]:
    """How far an audit that did not pass is from it: one that failed is farther than one that is not settled."""
    return audit.verdict == "fail", audit.failed[0].excess


@dataclass(frozen=True)
class _Gate:
    """The gate of one install, with the ledger of its attempts."""

    subject: Subject
    suites: tuple[LoadedSuite, ...]
    waivers: tuple[Waiver, ...]
    ledger: Ledger
    events: Events
    locks: tuple[Lock, ...] = ()

    def decide(self, composition: Package, attempts: tuple[Attempt, ...]) -> Choice:
        """Audit a composition, at the planned looks or on all prompts; `attempts` are the candidates before it."""
        record = composition.manifest.composition
        assert record is not None
        policy = self.subject.policy
        looks, dtype = policy.looks, self.subject.lazy.running.dtype or "float32"
        gated = GatedAttempt(composition.bank.digest, record.strategy, record.seed, looks, dtype=dtype)
        own = drawn_anew(self.suites, draw_of(self.ledger.place(gated)))
        if any(suite.drawn_from for suite in own):
            self.events.tell(
                "  after three compositions the lab draws other prompts, so figures differ from earlier ones"
            )
        asked = {suite.digest: suite.asked for suite in own}
        numbers = self.ledger.begin(gated, list(asked.values()))
        for lock in self.locks:  # whoever locked this very composition may have tried more before it
            if (last := _composed(lock)) is not None and last.is_of(gated):
                numbers = {suite: max(n, lock.attempts.get(asked[suite].digest, 0)) for suite, n in numbers.items()}
        number = max(numbers.values())
        alpha = alpha_of_attempt(policy.alpha, number)
        if number > 1:
            self.events.tell(
                f"  attempt {number} on some of these prompts, so the evidence must be stronger (alpha {alpha:.2g})"
            )
        for share in (*looks, 1.0):
            suites = tuple(suite.head(share) for suite in own)
            prompts = sum(len(suite.prompts) for suite in suites)
            self.events.tell(f"Testing {record.strategy} for interference on {prompts:,} prompts")
            report = audit(
                self.subject,
                composition.bank,
                strategy=record.strategy,
                spending=Spending(policy.alpha, len(looks) + 1, numbers),
                suites=suites,
                waivers=self.waivers,
                progress=self.events.progress,
            )
            if report.audit.verdict != "inconclusive":
                break
        result = report.audit
        worst: dict[str, Comparison] = {}
        for comparison in result.failed:
            worst.setdefault(comparison.suite, comparison)
        detail = ", ".join(f"{suite} {c.rule} {c.difference:+.3f}" for suite, c in worst.items())
        attempt = Attempt(record.strategy, alpha, result.verdict, detail, number)
        self.ledger.end(gated, result.verdict)
        result = replace(result, attempts=(*attempts, attempt))
        deployed = self.subject.deployed.bank if self.subject.deployed is not None else None
        result = anchored(result, f"sha256:{composition.sha256}", self.subject.anchors, deployed)
        counts = {one.digest: numbers[digest] for digest, one in asked.items()}
        return Choice(composition, replace(report, audit=result), counts)
