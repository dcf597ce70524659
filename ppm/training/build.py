"""`ppm build`: a source manifest and its data files -> a trained, tested package.

Collect pairs, initialise the prefix, SFT, DPO, run the suites at every stage, package. A finished stage is kept by the
digest of all that went into it, so a build that was killed goes on where it stopped. With `accelerate launch` the
processes share the training; only the first collects, tests and packages.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

from ppm.bank import Bank
from ppm.base import BaseModel, behaviour_digest, identify
from ppm.disk import disk_errors, make_folder, write_output
from ppm.document import to_table
from ppm.errors import ModelError, TrainingError
from ppm.evaluation.judges.registry import make_judge
from ppm.evaluation.results import Configuration, ResultStore, result_store
from ppm.evaluation.runner import evaluate
from ppm.evaluation.statistics import exact_upper
from ppm.evaluation.suites import UNCALIBRATED, LoadedSuite, load_suite, uncalibrated
from ppm.evaluation.wellformed import well_formed_share
from ppm.jsonl import Benign, dump
from ppm.manifest import Replay, Retention
from ppm.package import SKETCH, Package
from ppm.progress import Events, silent
from ppm.running import UNSAID, Running
from ppm.runtime.derived import sketch_of
from ppm.runtime.dtypes import chosen
from ppm.runtime.loading import load_base
from ppm.runtime.text import TextEncoder, encoder_of, encoder_of_folder, width_of
from ppm.training.advice import too_few, warnings_of
from ppm.training.answers import for_answers
from ppm.training.choice import choose, compare
from ppm.training.collect import collect
from ppm.training.context import BuildContext, BuildOptions
from ppm.training.defaults import settled
from ppm.training.kept import Kept, check_kept, keep
from ppm.training.learn import Trained, learn, ranking_prompts
from ppm.training.output import announced, check_output
from ppm.training.processes import first_alone, is_first, part, use_own_device
from ppm.training.rows import check_rows, readable
from ppm.training.source import SourcePatch, base_of, read_source
from ppm.training.stages import Stages
from ppm.training.teacher import check_teacher
from ppm.training.trigger import with_trigger

__all__ = ["build"]

REPLAY_PAIRS = 150
RETENTION_PROMPTS, RETENTION_BYTES = 200, 40_000
"""How many benign prompts a build puts into a package, and at most how many bytes of them."""
LOOK = 100
"""How many prompts of a suite the base is tried on before anything is trained."""


def build(
    path: Path,
    *,
    base: str | None = None,
    cache: Path | None = None,
    output: Path | None = None,
    options: BuildOptions = BuildOptions(),  # noqa: B008 - frozen
    running: Running = UNSAID,
    events: Events = Events(),  # noqa: B008 - frozen, and does nothing
) -> Package | None:
    """Train the patch of a source manifest and return its package; None in every process but the first.

    `base` overrides where the base model is loaded from; `cache` is a folder that keeps finished stages in `training`,
    and in `self-test` which models a prefix is exact on; `output` is where the package is to go, which is looked at
    first. `running` says how the base is run.
    Raises RequestError, ManifestError, ModelError, EndpointError, TrainingError or DiskError.
    """
    tell, progress = (events.tell, events.progress) if is_first() else (Events().tell, silent)
    if not is_first() and cache is None:
        raise TrainingError("several processes need a shared cache folder")
    use_own_device()
    with first_alone():
        source = read_source(path, fetch=True, tell=tell)
    found = base_of(source, base)
    encoder = encoder_of_folder(found)
    source = settled(source, found, width_of(found))
    manifest = source.manifest
    training = source.training if options.seed is None else replace(source.training, seed=options.seed)
    suites = [
        load_suite(suite, source.files, origin=str(source.folder), owner=manifest.name) for suite in manifest.suites
    ]
    if is_first():
        _check_ready(source, suites, encoder)
        for warning in _warnings(source, suites, found, encoder):
            tell(f"warning: {warning}")
        if output is not None:
            check_output(output, source, found, announced(source, training, found))
    behaviour = behaviour_digest(found)
    if options.prefix_of is not None:
        check_kept(options.prefix_of, source, found)
    tell(f"Loading the base model {found.name}")
    stages, kept = Stages(cache / "training" if cache else None), cache / "self-test" if cache else None
    running = chosen(running, found, kept=kept)
    loaded = load_base(found, kept=kept, running=running)
    context = BuildContext(source, training, found, loaded, stages, progress, tell, running)
    if is_first():
        _check_base_fails(context, suites)
    context, record = _with_pairs(context)
    made = _made(context, options)
    part()
    if not is_first():
        return None
    package = _finished(context, suites, made, record)
    _check_unchanged(found, behaviour)
    return package


def _made(context: BuildContext, options: BuildOptions) -> Trained | Kept:
    """What is trained on the pairs, which are there by now, or the prefix that is kept."""
    if options.keep_pairs is not None and is_first():
        with disk_errors("can't be written", options.keep_pairs):
            make_folder(options.keep_pairs.absolute().parent)
        write_output(options.keep_pairs, dump(context.source.pairs))
    if options.prefix_of is not None:
        return keep(options.prefix_of, context)
    return learn(context)


def _finished(
    context: BuildContext, suites: Sequence[LoadedSuite], made: Trained | Kept, record: dict[str, object]
) -> Package:
    """The package of the best stage, or of what was kept, behind its trigger, with what the suites say of each."""
    if isinstance(made, Kept):
        best, stages, compared = made.bank, [(made.stage, made.bank)], made.record
        ranking = ranking_prompts(context.source.ranking)
    else:
        stage, compared = _choice(context, suites, made)
        best, stages, ranking = made.bank(stage), list(made.banks), made.ranking
        compared["stages"] = {name: to_table(settings) for name, settings in made.stages.items()}
    bank, fitted = with_trigger(context, best)
    bank, seen = for_answers(
        context.loaded,
        bank,
        _risks(suites),
        ranking,
        placement=context.source.manifest.base.placement,
        store=_store(context),
        tell=context.tell,
    )
    banks = [*stages, *([("trigger", bank)] if bank.router else [])]
    context.tell(f"Running {len(suites)} suite{'s' if len(suites) != 1 else ''} on the base and at every stage")
    return _package(context, bank, {**record, **compared, **fitted, **seen, **_scores(context, suites, banks)})


def _warnings(
    source: SourcePatch, suites: Sequence[LoadedSuite], base: BaseModel, encoder: TextEncoder
) -> Iterator[str]:
    """What a build says before it begins, and does not end by."""
    doubtful = uncalibrated(suites, base.folder)
    if doubtful:
        yield f"{', '.join(doubtful)}: {UNCALIBRATED}"
    yield from warnings_of(source, chats=encoder.has_template)


def _with_pairs(context: BuildContext) -> tuple[BuildContext, dict[str, object]]:
    """The context with the pairs that are collected, where there are none yet, and what provenance records of them."""
    training = context.training
    if training.prompts is None:
        return context, {}
    with first_alone():
        collected, record = collect(context)
    context.tell(collected.counts.words())
    width, least = context.source.manifest.prefix.virtual_tokens, training.collect.least_pairs
    collected, left_out = readable(collected, encoder_of(context.loaded), width, least)
    if left_out:
        context.tell(left_out)
    return replace(context, source=replace(context.source, pairs=collected.pairs)), record


def _check_ready(source: SourcePatch, suites: Sequence[LoadedSuite], encoder: TextEncoder) -> None:
    """Raises PpmError for what could only fail later: texts that the base can't read, a judge or teacher that can't
    work here."""
    check_rows(source, encoder)
    for suite in suites:
        suite.scorer.prepare()
    teacher = source.training.teacher
    if source.training.prompts is not None and teacher is not None:
        check_teacher(teacher, source.folder)
        make_judge(source.filter_judge, source.files, str(source.folder)).prepare()


def _check_base_fails(context: BuildContext, suites: Sequence[LoadedSuite]) -> None:
    """Raises TrainingError when the base hardly fails a risk's suite, so that no patch could show its effect."""
    risks = [s for s in suites if s.suite.against == "specialist" and s.measure.is_rate]
    heads = [suite.head(LOOK / len(suite.prompts)) for suite in risks]
    placement = context.source.manifest.base.placement
    found = evaluate(
        context.loaded,
        [Configuration("base")],
        heads,
        placement=placement,
        store=_store(context),
        progress=context.progress,
    )
    for suite in heads:
        values = found["base", suite.digest].values
        failures, least = sum(values), suite.suite.min_effect or 0.0
        highest = exact_upper(failures, len(values), 0.025)
        if failures == 0 or highest <= least:
            raise TrainingError(
                f"the base fails {failures:g} of {len(values)} prompts of the suite {suite.label!r}, a rate of at most "
                f"{highest:.2f}, but a patch must lower it by more than {least:.2f}",
                context=context.source.manifest.pin,
                hint="use prompts that the base fails on, or another base; or check the judge and min_effect",
            )


def _check_unchanged(base: BaseModel, behaviour: str) -> None:
    """Raises ModelError when the base's files are not those that the build began with."""
    now = identify(base.folder, name=base.name, revision=base.revision)
    if now.fingerprint != base.fingerprint or behaviour_digest(now) != behaviour:
        raise ModelError(
            "changed while the patch was being built for it, so nothing was packaged",
            context=base.name,
            hint="run the command again to build for the model as it is now",
        )


def _store(context: BuildContext) -> ResultStore | None:
    folder = context.stages.folder
    return result_store(folder / "results", context.base, running=context.running) if folder else None


def _scores(
    context: BuildContext, suites: Sequence[LoadedSuite], banks: Sequence[tuple[str, Bank]]
) -> dict[str, object]:
    """What provenance says of each suite on the base and after each stage: the mean metric, and for those on a risk the
    share of well-formed answers. Warns of suites that are too small for what the patch achieves."""
    configurations = [
        Configuration("base"),
        *(Configuration(name, bank) for name, bank in banks),
    ]
    outcomes = evaluate(
        context.loaded,
        configurations,
        suites,
        placement=context.source.manifest.base.placement,
        store=_store(context),
        progress=context.progress,
    )
    found: dict[str, dict[str, object]] = {"scores": {}, "well_formed": {}}
    for suite in suites:
        by_stage = {c.name: outcomes[c.name, suite.digest] for c in configurations}
        found["scores"][suite.label] = {name: round(outcome.mean, 4) for name, outcome in by_stage.items()}
        shares = {name: well_formed_share(outcome.completions) for name, outcome in by_stage.items()}
        known = {name: round(share, 4) for name, share in shares.items() if share is not None}
        if suite.suite.against == "specialist" and known:
            found["well_formed"][suite.label] = known
        before, after = (suite.evidence(by_stage[c.name].values) for c in (configurations[0], configurations[-1]))
        for warning in too_few(suite, before, after):
            context.tell(f"warning: {warning}")
    return dict(found)


def _choice(context: BuildContext, suites: Sequence[LoadedSuite], trained: Trained) -> tuple[str, dict[str, object]]:
    """The stage that ships, and what provenance records of the comparison."""
    risks = _risks(suites)
    last = trained.banks[-1][0]
    if not trained.ranking or not risks:
        context.tell(f"No pairs are held out, so stages were not compared, and {last} ships")
        return last, {"shipped": last}
    context.tell(f"Comparing stages on {len(trained.ranking)} ranking prompts")
    figures = compare(
        context.loaded,
        trained.banks,
        risks,
        trained.ranking,
        trained.benign,
        placement=context.source.manifest.base.placement,
        store=_store(context),
    )
    stages = {name: found for name, found in figures.items() if name != "base"}
    choice = choose(stages, len(trained.ranking))
    for warning in choice.warnings:
        context.tell(f"warning: {warning}")
    context.tell(choice.reason)
    record = {name: found.record() for name, found in figures.items()}
    return choice.stage, {"shipped": choice.stage, "shipped_because": choice.reason, "compared": record}


def _risks(suites: Sequence[LoadedSuite]) -> list[LoadedSuite]:
    """The suites by whose judges answers to ranking prompts can be told."""
    return [s for s in suites if s.suite.against == "specialist" and s.measure.is_rate and not s.needs_expected]


def _within(rows: Sequence[Benign], room: int) -> list[Benign]:
    """The first rows, as many as fit into so many bytes; one at least."""
    sizes = accumulate(len(dump([row])) for row in rows)
    return [row for i, (row, size) in enumerate(zip(rows, sizes, strict=True)) if i == 0 or size <= room]


def _package(context: BuildContext, bank: Bank, record: dict[str, object]) -> Package:
    source, training, base = context.source, context.training, context.base
    manifest = source.manifest
    rng = random.Random(f"{manifest.pin}:{training.seed}")
    replay_path = manifest.replay.pairs if manifest.replay else "replay.jsonl"
    retention_path = manifest.retention.prompts if manifest.retention else "retention.jsonl"
    packaged = {file.path for file in manifest.without_training().data_files()}
    files = {path: data for path, data in source.files.items() if path in packaged}
    if replay_path not in files:
        files[replay_path] = dump(rng.sample(source.pairs, min(REPLAY_PAIRS, len(source.pairs))))
    retention = Retention(retention_path) if retention_path in files or source.benign else None
    if retention is not None and retention_path not in files:
        sample = rng.sample(source.benign, min(RETENTION_PROMPTS, len(source.benign)))
        files[retention_path] = dump(_within(sample, RETENTION_BYTES))
    provenance = {
        **manifest.provenance,
        **record,
        **announced(source, training, base),
        **context.dtype,
    }
    built = replace(
        manifest.without_training(),
        base=replace(
            manifest.base,
            fingerprint=base.fingerprint,
            revision=base.revision or manifest.base.revision,
            chat_template=base.parts["chat_template"] if source.has_chats else None,
        ),
        replay=Replay(replay_path),
        retention=retention,
        provenance=provenance,
    )
    if "derived" in manifest.base.accepts:
        files[SKETCH] = sketch_of(base).to_bytes()
    return Package(built.with_bank(bank.table), bank, files)
