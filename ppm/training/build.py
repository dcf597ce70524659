"""`ppm build`: a source manifest and its data files -> a trained, tested package.

Collect pairs, initialise the prefix, SFT, DPO, run the suites at every stage, package. A finished stage is kept by the
digest of all that went into it, so a build that was killed goes on where it stopped. With `accelerate launch` the
processes share the training; only the first collects, tests and packages.
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ppm.bank import Bank
from ppm.base import BaseModel, behaviour_digest, identify
from ppm.disk import disk_errors, make_folder, write_output
from ppm.document import to_table
from ppm.errors import ModelError, TrainingError
from ppm.evaluation.benign import benign_texts
from ppm.evaluation.judges.registry import make_judge
from ppm.evaluation.neutral import is_held_back
from ppm.evaluation.results import RESULTS_VERSION, Configuration, ResultStore, result_store
from ppm.evaluation.runner import evaluate
from ppm.evaluation.statistics import exact_upper
from ppm.evaluation.suites import UNCALIBRATED, LoadedSuite, load_suite, uncalibrated
from ppm.jsonl import Pair, dump, normalised, place_of
from ppm.manifest import Replay, Retention
from ppm.names import canonical_digest
from ppm.package import SKETCH, Package, sha256
from ppm.progress import Events, silent
from ppm.running import UNSAID, Running
from ppm.runtime.derived import sketch_of
from ppm.runtime.dtypes import chosen
from ppm.runtime.loading import load_base
from ppm.runtime.tensors import bank_of, initial_prefix, prefix_of
from ppm.runtime.text import TEXT_VERSION, encoder_of, encoder_of_folder
from ppm.training.collect import collect
from ppm.training.context import BuildContext
from ppm.training.output import announced, check_output, versions
from ppm.training.processes import first_alone, is_first, part, use_own_device
from ppm.training.rows import check_rows, readable
from ppm.training.source import SourcePatch, base_of, read_source
from ppm.training.stages import Stages
from ppm.training.teacher import check_teacher
from ppm.training.trainers import STAGES, STAGES_VERSION, Setup, dpo_rows, sft_rows
from ppm.training.trigger import with_trigger

__all__ = ["build"]

REPLAY_PAIRS = 200
RETENTION_PROMPTS = 200
BENIGN_LIMIT = 400
LOOK = 100
"""How many prompts of a suite the base is tried on before anything is trained."""


def build(
    path: Path,
    *,
    base: str | None = None,
    cache: Path | None = None,
    output: Path | None = None,
    seed: int | None = None,
    keep_pairs: Path | None = None,
    running: Running = UNSAID,
    events: Events = Events(),  # noqa: B008 - frozen, and does nothing
) -> Package | None:
    """Train the patch of a source manifest and return its package; None in every process but the first.

    `base` overrides where the base model is loaded from; `cache` is a folder that keeps finished stages in `training`,
    and in `self-test` which models a prefix is exact on; `output` is where the package is to go, which is looked at
    first, and `keep_pairs` a file that the pairs are written to. `running` says how the base is run.
    Raises RequestError, ManifestError, ModelError, EndpointError, TrainingError or DiskError.
    """
    tell, progress = (events.tell, events.progress) if is_first() else (Events().tell, silent)
    if not is_first() and cache is None:
        raise TrainingError("several processes need a shared cache folder")
    use_own_device()
    with first_alone():
        source = read_source(path, fetch=True, tell=tell)
    manifest = source.manifest
    training = source.training if seed is None else replace(source.training, seed=seed)
    found = base_of(source, base)
    suites = [
        load_suite(suite, source.files, origin=str(source.folder), owner=manifest.name) for suite in manifest.suites
    ]
    if is_first():
        _check_ready(source, suites, found)
        if output is not None:
            check_output(output, source, found, announced(source, training, found))
    doubtful = uncalibrated(suites, found.folder)
    if doubtful:
        tell(f"warning: {', '.join(doubtful)}: {UNCALIBRATED}")
    behaviour = behaviour_digest(found)
    tell(f"Loading the base model {found.name}")
    stages, kept = Stages(cache / "training" if cache else None), cache / "self-test" if cache else None
    running = chosen(running, found, kept=kept) if running.dtype else replace(running, dtype="float32")
    loaded = load_base(found, kept=kept, running=running)
    context = BuildContext(source, training, found, loaded, stages, progress, tell, running)
    if is_first():
        _check_base_fails(context, suites)
    context, record = _with_pairs(context)
    if keep_pairs is not None and is_first():
        with disk_errors("can't be written", keep_pairs):
            make_folder(keep_pairs.absolute().parent)
        write_output(keep_pairs, dump(context.source.pairs))
    banks = _train(context)
    part()
    if not is_first():
        return None
    bank, fitted = with_trigger(context, banks[-1][1])
    banks += [("trigger", bank)] if bank.router else []
    tell(f"Running {len(suites)} suite{'s' if len(suites) != 1 else ''} on the base and at every stage")
    scores = _scores(context, suites, banks)
    _check_unchanged(found, behaviour)
    return _package(context, bank, scores, record | fitted)


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


def _check_ready(source: SourcePatch, suites: Sequence[LoadedSuite], base: BaseModel) -> None:
    """Raises PpmError for what could only fail later: texts that the base can't read, a judge or teacher that can't
    work here."""
    check_rows(source, encoder_of_folder(base))
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


def _split(pairs: Sequence[Pair], share: float) -> tuple[list[Pair], list[Pair]]:
    """(trained on, held out), by the prompt, so that equal prompts stay together."""
    held = [place_of(f"held out: {normalised(pair.prompt)}") < share for pair in pairs]
    return (
        [pair for pair, out in zip(pairs, held, strict=True) if not out],
        [pair for pair, out in zip(pairs, held, strict=True) if out],
    )


def _train(context: BuildContext) -> list[tuple[str, Bank]]:
    """(stage, bank) after initialisation, SFT and DPO."""
    source, training, manifest = context.source, context.training, context.source.manifest
    pairs, held = _split(source.pairs, training.held_out)
    if not pairs or (training.held_out > 0 and not held):
        what = "to train on" if held else "to hold out"
        raise TrainingError(f"no pairs are left {what}", hint="give more pairs, or change held_out")
    context.tell(
        f"Training on {len(pairs)} pairs and {len(source.benign)} benign prompts"
        + (f"; {len(held)} pairs are held out" if held else "")
    )
    prefix = initial_prefix(context.loaded, manifest.prefix, seed=training.seed)
    done = [("init", bank_of(prefix))]
    benign = [row for row in source.benign if not is_held_back(row)]
    texts = benign_texts(context.loaded, benign[:BENIGN_LIMIT], seed=training.seed)
    setup = Setup(
        context.loaded,
        manifest.base.placement,
        texts,
        training.retention_weight,
        training.seed,
        context.progress,
        held=held,
        patience=training.patience,
    )
    encoder = encoder_of(context.loaded)
    rows = [sft_rows(encoder, pairs), dpo_rows(encoder, pairs), sft_rows(encoder, held), dpo_rows(encoder, held)]
    key: dict[str, object] = {
        "base": behaviour_digest(context.base),
        "init": done[0][1].digest,
        "placement": manifest.base.placement,
        "pairs": sha256(dump(pairs)),
        "held": [sha256(dump(held)), training.patience],
        "rows": canonical_digest(rows),
        "benign": canonical_digest([[text.prompt, text.completion] for text in texts]),
        "seed": training.seed,
        **context.dtype,
        "retention_weight": training.retention_weight,
        "versions": [versions(), STAGES_VERSION, TEXT_VERSION, RESULTS_VERSION],
    }
    for name, settings in (("sft", training.sft), ("dpo", training.dpo)):
        key = {"before": canonical_digest(key), "stage": name, "settings": to_table(settings)}
        digest = canonical_digest(key)
        with first_alone():  # so that either all processes find the stage finished, or none
            kept = context.stages.bank(digest)
        if kept is None:
            start = prefix_of(done[-1][1]).to(context.loaded.model.device)
            kept = bank_of(STAGES[name](setup, start, pairs, settings))
            if is_first():
                context.stages.keep_bank(digest, kept)
        done.append((name, kept))
    return done


def _store(context: BuildContext) -> ResultStore | None:
    folder = context.stages.folder
    return result_store(folder / "results", context.base, running=context.running) if folder else None


def _scores(
    context: BuildContext, suites: Sequence[LoadedSuite], banks: Sequence[tuple[str, Bank]]
) -> dict[str, dict[str, float]]:
    """Mean metric of each suite on the base and after each stage."""
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
    return {
        suite.label: {c.name: round(outcomes[c.name, suite.digest].mean, 4) for c in configurations} for suite in suites
    }


def _package(
    context: BuildContext, bank: Bank, scores: dict[str, dict[str, float]], record: dict[str, object]
) -> Package:
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
        files[retention_path] = dump(rng.sample(source.benign, min(RETENTION_PROMPTS, len(source.benign))))
    provenance = {
        **manifest.provenance,
        **record,
        **announced(source, training, base),
        **context.dtype,
        "scores": scores,
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
