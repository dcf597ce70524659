"""`ppm build`: a source manifest and its data files -> a trained, tested package.

Initialise from a text, SFT, DPO, run the suites at every stage, package. A finished stage is
kept by the digest of all that went into it, so a build that was killed goes on where it stopped.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ppm import __version__
from ppm.base import BaseModel
from ppm.document import to_table
from ppm.environment.disk import replace_file
from ppm.evaluation.benign import benign_texts
from ppm.evaluation.neutral import is_held_back
from ppm.evaluation.results import Configuration
from ppm.evaluation.runner import evaluate
from ppm.evaluation.suites import LoadedSuite, load_suite
from ppm.jsonl import Benign, Pair, Prompt, dump
from ppm.manifest import Manifest, Replay, Retention
from ppm.names import canonical_digest
from ppm.package import Package, sha256
from ppm.prefix.loading import load_base
from ppm.prefix.tensors import from_bytes, init_from_text, to_bytes
from ppm.training.progress import Progress
from ppm.training.source import SourcePatch, base_of, read_source
from ppm.training.trainers import Setup, dpo, sft

__all__ = ["build"]

REPLAY_PAIRS = 200
RETENTION_PROMPTS = 200
BENIGN_LIMIT = 400


def build(
    path: Path,
    *,
    base: str | None = None,
    cache: Path | None = None,
    seed: int | None = None,
    progress: Progress = lambda stage, step, steps, loss: None,
    tell: Callable[[str], None] = lambda message: None,
) -> Package:
    """Train the patch of a source manifest and return its package.

    `base` overrides where the base model is loaded from; `cache` is a folder in which finished stages are kept.
    Raises ManifestError, ModelError or TrainingError.
    """
    source = read_source(path)
    manifest, training = source.manifest, source.manifest.training
    assert training is not None
    training = training if seed is None else replace(training, seed=seed)
    found = base_of(source, base)
    tell(f"Loading the base model {found.name}")
    model, tokenizer = load_base(found)
    loaded = [
        load_suite(suite, source.files, origin=str(source.folder), owner=manifest.name) for suite in manifest.suites
    ]
    tell(f"Training on {len(source.pairs)} pairs and {len(source.benign)} benign prompts")
    stages = _train_stages(source, replace(manifest, training=training), found, model, tokenizer, cache, progress)
    tell(f"Running {len(loaded)} suite{'s' if len(loaded) != 1 else ''} on the base and at every stage")
    scores = _scores(loaded, stages, model, tokenizer, manifest)
    return _package(source, manifest, training.seed, found, stages[-1][1], scores)


def _train_stages(
    source: SourcePatch,
    manifest: Manifest,
    base: BaseModel,
    model: Any,
    tokenizer: Any,
    cache: Path | None,
    progress: Progress,
) -> list[tuple[str, torch.Tensor]]:
    """(stage, prefix) after initialisation, SFT and DPO."""
    training = manifest.training
    assert training is not None
    shape, placement = manifest.prefix, manifest.base.placement
    prefix = init_from_text(model, tokenizer, shape.init_text, shape.virtual_tokens, seed=training.seed)
    stages = [("init", prefix)]
    benign = [row for row in source.benign if not is_held_back(row)]
    texts = benign_texts(model, tokenizer, benign[:BENIGN_LIMIT], seed=training.seed)
    setup = Setup(model, tokenizer, placement, texts, training.retention_weight, training.seed, progress)
    key: Any = {
        "base": base.fingerprint,
        "init": sha256(to_bytes(prefix)),
        "placement": placement,
        "pairs": sha256(dump(source.pairs)),
        "benign": sha256(dump(benign)),
        "seed": training.seed,
        "retention_weight": training.retention_weight,
        "versions": _versions(),
    }
    for name, settings, train in (("sft", training.sft, sft), ("dpo", training.dpo, dpo)):
        key = {"before": canonical_digest(key), "stage": name, "settings": to_table(settings)}
        kept = _kept(cache, canonical_digest(key))
        if kept is None:
            kept = train(setup, stages[-1][1], source.pairs, settings)
            _keep(cache, canonical_digest(key), kept)
        stages.append((name, kept.to(model.device)))
    return stages


def _stage_path(cache: Path, digest: str) -> Path:
    return cache / f"{digest.removeprefix('sha256:')}.safetensors"


def _kept(cache: Path | None, digest: str) -> torch.Tensor | None:
    if cache is None or not _stage_path(cache, digest).is_file():
        return None
    try:
        return from_bytes(_stage_path(cache, digest).read_bytes())
    except Exception:  # a damaged cache entry is as good as none
        return None


def _keep(cache: Path | None, digest: str, prefix: torch.Tensor) -> None:
    if cache is not None:
        cache.mkdir(parents=True, exist_ok=True)
        replace_file(_stage_path(cache, digest), to_bytes(prefix))


def _versions() -> dict[str, str]:
    return {"ppm": __version__, **{name: version(name) for name in ("torch", "transformers", "trl")}}


def _scores(
    suites: Sequence[LoadedSuite],
    stages: Sequence[tuple[str, torch.Tensor]],
    model: Any,
    tokenizer: Any,
    manifest: Manifest,
) -> dict[str, dict[str, float]]:
    """Mean metric of each suite on the base and after each stage."""
    configurations = [Configuration("base", None), *(Configuration(name, to_bytes(prefix)) for name, prefix in stages)]
    outcomes = evaluate(model, tokenizer, configurations, suites, placement=manifest.base.placement)
    return {
        suite.label: {c.name: round(outcomes[c.name, suite.digest].mean, 4) for c in configurations} for suite in suites
    }


def _package(
    source: SourcePatch,
    manifest: Manifest,
    seed: int,
    base: BaseModel,
    prefix: torch.Tensor,
    scores: dict[str, dict[str, float]],
) -> Package:
    rng = random.Random(f"{manifest.pin}:{seed}")
    replay_path = manifest.replay.pairs if manifest.replay else "replay.jsonl"
    retention_path = manifest.retention.prompts if manifest.retention else "retention.jsonl"
    training_only = (
        {source.manifest.training.pairs, source.manifest.training.benign} if source.manifest.training else set()
    )
    packaged = {suite.prompts for suite in manifest.suites} | {
        f.path for f in manifest.data_files() if f.kind == "text"
    }
    files = {path: data for path, data in source.files.items() if path in packaged or path not in training_only}
    if replay_path not in files:
        files[replay_path] = dump(rng.sample(source.pairs, min(REPLAY_PAIRS, len(source.pairs))))
    retention = Retention(retention_path) if retention_path in files or source.benign else None
    if retention is not None and retention_path not in files:
        files[retention_path] = dump(rng.sample(source.benign, min(RETENTION_PROMPTS, len(source.benign))))
    provenance = {
        **manifest.provenance,
        "seed": seed,
        "pairs": len(source.pairs),
        "pairs_sha256": sha256(dump(source.pairs)),
        "benign": len(source.benign),
        "training": to_table(source.manifest.training),
        "base_parts": base.parts,
        "versions": _versions(),
        "scores": scores,
    }
    built = replace(
        manifest.without_training(),
        base=replace(
            manifest.base,
            fingerprint=base.fingerprint,
            chat_template=base.parts["chat_template"] if _has_chats(source) else None,
        ),
        replay=Replay(replay_path),
        retention=retention,
        provenance=provenance,
    )
    return Package(built, to_bytes(prefix), files)


def _has_chats(source: SourcePatch) -> bool:
    rows: list[Pair | Benign | Prompt] = [*source.pairs, *source.benign]
    return any(not isinstance(row.prompt, str) for row in rows)
