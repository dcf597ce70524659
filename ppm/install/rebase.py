"""A patch for the next base: as it is, else distilled from the old base, else trained anew; the first that passes.

As it is, only the threshold of its trigger moves (`thresholds.py`).
What is distilled are the patched old base's own answers to the packaged replay prompts, as text (Kim and Rush 2016,
section 3.2), so the two bases need not share a tokenizer. Both ways of training are ordinary builds.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ppm.audit.comparison import COMPOSITION
from ppm.audit.gate import Spending
from ppm.audit.model import Audit
from ppm.audit.run import Subject, audit, suites_of
from ppm.bank import Bank
from ppm.base import BaseModel
from ppm.composition.operating import bank_under
from ppm.document import read_table
from ppm.environment.attempts import GatedAttempt, ledger_of
from ppm.errors import GateError, GateFailed, GateInconclusive, ManifestError, ModelError, PpmError, RequestError
from ppm.evaluation.generation import Completion, generate, noise_key
from ppm.evaluation.results import Configuration, result_store
from ppm.evaluation.runner import evaluate
from ppm.evaluation.suites import package_suites
from ppm.home import self_tests
from ppm.install.thresholds import on_next_base
from ppm.jsonl import Pair, dump, normalised
from ppm.manifest import check_tested
from ppm.package import SKETCH, Package
from ppm.progress import Events
from ppm.project import Gates
from ppm.running import UNSAID, Running
from ppm.runtime.answers import turn_for_answers
from ppm.runtime.derived import sketch_of
from ppm.runtime.dtypes import chosen
from ppm.runtime.loading import LazyModel, LoadedBase
from ppm.runtime.model import attach
from ppm.runtime.text import encoder_of
from ppm.suite import Decoding
from ppm.training.again import trained_again
from ppm.training.build import build
from ppm.training.defaults import embedding_scale
from ppm.training.teacher import whole_sentences
from ppm.training_table import Training

__all__ = ["WAYS", "Rebased", "Tried", "Way", "rebase"]

Way = Literal["as it is", "distilled", "retrained"]
WAYS: tuple[Way, ...] = ("as it is", "distilled", "retrained")
SAMPLES = 2
"""How many answers of the patched old base are learned of each replay prompt."""
PAIRS = "rebase-pairs.jsonl"


@dataclass(frozen=True)
class Tried:
    """One way that was tried: the package that it gives for the new base, and its audit there.

    `rates` are the failure rates of the patched new base on the patch's own suites, by suite.
    """

    way: Way
    package: Package
    audit: Audit
    rates: Mapping[str, float]


@dataclass(frozen=True)
class Rebased:
    """What came of each way, in the order in which they were tried, and why others were not.

    `before` are the failure rates of the patched old base, as far as they are known, by suite.
    """

    tried: tuple[Tried, ...]
    skipped: Mapping[Way, str]
    before: Mapping[str, float]

    @property
    def chosen(self) -> Tried:
        """The way that passed. Raises GateFailed or GateInconclusive, with the last audit, when none did."""
        found = next((one for one in self.tried if one.audit.verdict == "pass"), None)
        if found is not None:
            return found
        verdicts = {one.audit.verdict for one in self.tried}
        kind = GateFailed if "fail" in verdicts else GateInconclusive
        error: GateError = kind(
            f"no way passed on the new base ({', '.join(f'{one.way}: {one.audit.verdict}' for one in self.tried)}), "
            "so nothing was written",
            hint="build it from its source manifest with more pairs: ppm build MANIFEST --base NEW",
        )
        error.audit = self.tried[-1].audit
        raise error


@dataclass(frozen=True)
class _Move:
    """A patch on its way from one base to the next."""

    package: Package
    new: LazyModel
    old: LazyModel | None
    home: Path
    events: Events
    policy: Gates

    @property
    def onto(self) -> BaseModel:
        """The base that it goes to."""
        return self.new.base


def rebase(
    package: Package,
    onto: BaseModel,
    old: BaseModel | None,
    *,
    home: Path,
    ways: Sequence[Way] = WAYS,
    policy: Gates = Gates(),  # noqa: B008
    running: Running = UNSAID,
    events: Events = Events(),  # noqa: B008
) -> Rebased:
    """Try the ways in turn until one passes the package's suites on the base `onto`.

    `old` is the base that the patch was made for, if it is at hand: without it nothing is distilled. Each way is
    an attempt on the prompts of the gate under the policy, as an install is. Both bases are run as `running` says.
    Nothing is written but caches and the count of attempts below `home`. Raises RequestError when no way can be tried,
    ModelError, ManifestError, TrainingError, or IntegrityError when attempts were lost.
    """
    if package.manifest.composition is not None:
        raise RequestError(
            "is a composition", context=package.manifest.pin, hint="rebase its patches, and install those together"
        )
    check_tested(package.manifest, package.manifest.pin)
    if package.manifest.base.fingerprint == onto.fingerprint:
        raise RequestError(f"is already made for {onto.name}", context=package.manifest.pin)
    kept = self_tests(home)
    how = chosen(running, onto, kept=kept)
    before = LazyModel(old, kept, how) if old is not None else None
    move = _Move(package, LazyModel(onto, kept, how), before, home, events, policy)
    tried: tuple[Tried, ...] = ()
    skipped: dict[Way, str] = {}
    for way in ways:
        try:
            made = _MAKERS[way](move)
            bank = _under(made, policy)
        except (_NotPossible, ModelError) as error:
            if isinstance(error, ModelError) and way != "as it is":
                raise
            skipped[way] = error.message
            events.tell(f"{way}: not possible: {error.message}")
            continue
        result = _audited(move, made, bank, way)
        tried += (result,)
        events.tell(f"{way}: {result.audit.verdict}")
        if result.audit.verdict == "pass":
            break
    if not tried:
        raise RequestError(
            f"can't be moved to {onto.name}: " + "; ".join(f"{way}: {why}" for way, why in skipped.items()),
            context=package.manifest.pin,
            hint="build it from its source manifest: ppm build MANIFEST --base NEW",
        )
    return Rebased(tried, skipped, _before(move))


class _NotPossible(PpmError):
    """A way that this patch or these bases do not allow."""


def _under(package: Package, policy: Gates) -> Bank:
    """A patch as a policy has it run. Raises _NotPossible where it can't be as the policy asks."""
    try:
        return bank_under(package, policy)
    except RequestError as error:  # where it is taken as it is, what its trigger finds was measured on the old base
        raise _NotPossible(error.message) from error


def _as_it_is(move: _Move) -> Package:
    width, found = move.new.loaded.hidden_size, move.package.bank.blocks[0].shape[1]
    if width != found:
        raise _NotPossible(f"the prefix is {found} wide, and the embeddings of {move.onto.name} are {width} wide")
    new, placement = move.new.loaded, move.package.manifest.base.placement
    attach(new.model, [move.package.bank], placement=placement, kept=new.kept)  # raises where its trigger can't read
    package = _for_base(move, move.package, "as it is")
    if move.old is None:
        return package
    moved = on_next_base(package, move.old.loaded, new)
    if moved is not package:
        was, now = (one.bank.router.triggers[0].threshold for one in (package, moved) if one.bank.router is not None)
        where = f"as far above ordinary prompts as on {move.old.base.name}"
        move.events.tell(f"as it is: its trigger's threshold is {now:.3f} instead of {was:.3f}, {where}")
    return moved


def _distilled(move: _Move) -> Package:
    if move.old is None:
        raise _NotPossible(f"the base it was made for, {move.package.manifest.base.model}, is not on this machine")
    pairs = _replay(move)
    move.events.tell(f"Asking {move.old.base.name} with the patch for {SAMPLES * len(pairs)} answers")
    old, bank = move.old.loaded, move.package.bank.where_picked  # these are prompts of its risk, found or not
    model = attach(old.model, [bank], placement=move.package.manifest.base.placement, kept=old.kept)
    encoder, decoding = encoder_of(old), _decoding(move, old)
    wanted = [
        Completion(0, encoder.prompt(pair.prompt, "a replay pair"), decoding, noise_key("rebase", str(i), sample, 0))
        for i, pair in enumerate(pairs)
        for sample in range(SAMPLES)
    ]
    made = generate(
        model, old.tokenizer, wanted, progress=move.events.progress, memory=old.memory, readings=old.readings
    )
    texts = [
        whole_sentences(text) if len(ids) == decoding.max_new_tokens else text
        for ids, text in zip(
            made, old.tokenizer.batch_decode([list(ids) for ids in made], skip_special_tokens=True), strict=True
        )
    ]
    learned: dict[tuple[str, str], Pair] = {}
    for index, text in enumerate(texts):
        pair = pairs[index // SAMPLES]
        if text.strip() and text.strip() != pair.rejected.strip():
            learned.setdefault((normalised(pair.prompt), text.strip()), Pair(pair.prompt, text.strip(), pair.rejected))
    if not learned:
        raise _NotPossible("the patched old base answers none of the replay prompts as it should")
    return _built(move, list(learned.values()), "distilled")


def _retrained(move: _Move) -> Package:
    return _built(move, _replay(move), "retrained")


def _replay(move: _Move) -> Sequence[Pair]:
    if not move.package.replay:
        raise _NotPossible("the package has no replay pairs")
    return move.package.replay


def _decoding(move: _Move, old: LoadedBase) -> Decoding:
    """How the old base answers: with the temperature of the patch's first suite, and room for its longest answer."""
    own = next(suite for suite in move.package.manifest.suites if suite.against == "specialist")
    longest = max(len(old.tokenizer(pair.chosen, add_special_tokens=False).input_ids) for pair in move.package.replay)
    return replace(own.decoding, max_new_tokens=min(max(own.decoding.max_new_tokens, 2 * longest), 4096))


def _built(move: _Move, pairs: Sequence[Pair], way: Way) -> Package:
    """The patch trained on the new base from some pairs, by an ordinary build."""
    manifest = move.package.manifest
    benign = manifest.retention.prompts if manifest.retention else None
    source = replace(
        manifest,
        base=replace(manifest.base, model=str(move.onto.folder), revision=None, fingerprint=None, chat_template=None),
        training=_training(move, benign),
        provenance={},
    )
    with tempfile.TemporaryDirectory(prefix="ppm-rebase-") as name:
        folder = Path(name)
        files = {**move.package.files, PAIRS: dump(pairs), "patch.toml": source.render().encode()}
        for path, data in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        built = build(
            folder,
            cache=move.home / "cache",
            running=move.new.running,
            events=move.events,
        )
    assert built is not None  # there is one process
    return _for_base(move, built, way)


def _training(move: _Move, benign: str | None) -> Training:
    """How the patch was trained, as far as that goes for the new base and for the data that its package holds."""
    told = move.package.manifest.provenance.get("training")
    try:
        training = read_table(Training, told or {"pairs": PAIRS}, move.package.manifest.pin, "provenance.training")
    except ManifestError as error:  # of a ppm that knew other settings
        move.events.tell(f"warning: its settings can't be read ({error.message}), so they follow from the base")
        training = Training(pairs=PAIRS)
    old, scale = move.old, None
    if old is not None and any(stage.learning_rate for stage in (training.sft, training.dpo)):
        scale = embedding_scale(move.new.loaded) / embedding_scale(old.loaded)
    answers = turn_for_answers(move.new.loaded, move.package.manifest.base.placement) is not None
    if training.seen_by == "answers" and not answers:
        move.events.tell(f"{move.onto.name} can't have a patch that answers alone see, so all of a text will see it")
    return trained_again(training, PAIRS, benign, rates=scale, answers=answers)


def _for_base(move: _Move, package: Package, way: Way) -> Package:
    """The package as one for the new base, with how it came to be."""
    onto, before = move.onto, move.package.manifest
    rebased = {
        "way": way,
        "from": {
            "base": before.base.model,
            "fingerprint": before.base.fingerprint or "",
            "package": move.package.sha256,
        },
    }
    measured = ("scores", "trigger") if way == "as it is" else ()  # on the old base
    provenance = {key: value for key, value in package.manifest.provenance.items() if key not in measured}
    base = replace(
        package.manifest.base,
        model=onto.name,
        revision=onto.revision,
        fingerprint=onto.fingerprint,
        chat_template=onto.parts["chat_template"] if before.base.chat_template else None,
    )
    manifest = replace(
        package.manifest, base=base, provenance={**provenance, "base_parts": onto.parts, "rebased": rebased}
    )
    files = dict(package.files)
    if SKETCH in files:
        files[SKETCH] = sketch_of(onto).to_bytes()
    return Package(manifest, package.bank, files)


_MAKERS: dict[Way, Callable[[_Move], Package]] = {
    "as it is": _as_it_is,
    "distilled": _distilled,
    "retrained": _retrained,
}


def _audited(move: _Move, package: Package, bank: Bank, way: Way) -> Tried:
    subject = Subject(
        move.onto,
        move.new,
        (package,),
        package.manifest.base.placement,
        policy=move.policy,
        store=result_store(move.home / "cache" / "results", move.onto, running=move.new.running),
    )
    suites = suites_of(subject)
    ledger = ledger_of(move.home, move.onto.fingerprint)
    gated = GatedAttempt(bank.digest, way, 0, dtype=move.new.running.dtype or "float32")
    spending = Spending(move.policy.alpha, attempts=ledger.begin(gated, [suite.asked for suite in suites]))
    found = audit(subject, bank, strategy=way, spending=spending, suites=suites, progress=move.events.progress).audit
    ledger.end(gated, found.verdict)
    own = [label for label, suite in found.suites.items() if suite.owner is not None]
    return Tried(way, package, found, {label: found.matrix[COMPOSITION][label].value for label in own})


def _before(move: _Move) -> dict[str, float]:
    """The failure rates on the old base: measured where it is at hand, else those that the package was built with."""
    if move.old is not None:
        try:
            bank = bank_under(move.package, move.policy)
        except RequestError:
            bank = move.package.bank
        suites = package_suites([move.package])
        outcomes = evaluate(
            move.old.loaded,
            [Configuration("before", bank)],
            suites,
            placement=move.package.manifest.base.placement,
            store=result_store(move.home / "cache" / "results", move.old.base, running=move.old.running),
            progress=move.events.progress,
        )
        return {suite.label: outcomes["before", suite.digest].mean for suite in suites}
    scores = move.package.manifest.provenance.get("scores")
    stages = scores.items() if isinstance(scores, dict) else ()
    last = {label: [*rates.values()][-1] for label, rates in stages if isinstance(rates, dict) and rates}
    return {label: float(rate) for label, rate in last.items() if isinstance(rate, int | float)}
