"""Source manifests: what `ppm build` reads, checked before anything is trained. Needs no torch."""

from dataclasses import dataclass
from pathlib import Path

from ppm.base import BaseModel, identify, locate
from ppm.errors import ManifestError
from ppm.evaluation.statistics import power, prompts_for_power
from ppm.jsonl import Benign, Pair, find_overlap, read_benign, read_pairs, read_prompts
from ppm.manifest import Manifest, check_tested

__all__ = ["SourcePatch", "base_of", "read_source"]

PLANNED_DISCORDANCE = 0.05
PLANNED_ALPHA = 0.025
"""What the first gated attempt of an install may spend."""


@dataclass(frozen=True)
class SourcePatch:
    """A source manifest with its data, read and checked."""

    manifest: Manifest
    folder: Path
    files: dict[str, bytes]
    pairs: tuple[Pair, ...]
    benign: tuple[Benign, ...]


def read_source(path: Path) -> SourcePatch:
    """Read a source manifest and every file it names, and check that it can be built.

    Raises ManifestError: a missing or broken file, a suite prompt that is trained on, a suite too small to decide.
    """
    path = path / "patch.toml" if path.is_dir() else path
    manifest = Manifest.read(path)
    training = manifest.training
    if training is None:
        raise ManifestError("has no [training] table", context=str(path), hint="ppm build needs pairs to train on")
    if training.pairs is None:
        raise ManifestError(
            "training.pairs is missing",
            context=str(path),
            hint="this ppm trains on ready pairs: JSON Lines of prompt, chosen (safe) and rejected (unsafe)",
        )
    files: dict[str, bytes] = {}
    optional = {
        manifest.replay.pairs if manifest.replay else None,
        manifest.retention.prompts if manifest.retention else None,
    }
    for file in manifest.data_files():
        try:
            files[file.path] = (path.parent / file.path).read_bytes()
        except OSError as error:
            if file.path in optional:
                continue  # written by the build, from the training data
            raise ManifestError(
                f"{file.key} names {file.path}, which can't be read: {error.strerror}", context=str(path)
            ) from error
    pairs = read_pairs(files[training.pairs], str(path.parent / training.pairs))
    benign = read_benign(files[training.benign], str(path.parent / training.benign)) if training.benign else ()
    source = SourcePatch(manifest, path.parent, files, pairs, benign)
    check_tested(manifest, str(path))
    for suite in manifest.suites:
        _check_suite(source, suite.name)
    return source


def _check_suite(source: SourcePatch, name: str) -> None:
    suite = next(s for s in source.manifest.suites if s.name == name)
    origin = str(source.folder / suite.prompts)
    prompts = read_prompts(source.files[suite.prompts], origin)
    leaked = find_overlap(prompts, [*source.pairs, *source.benign])
    if leaked is not None:
        raise ManifestError(
            f"the suite {name!r} tests a prompt that is trained on: {str(leaked)[:80]!r}",
            context=origin,
            hint="take it out of the suite or out of the training data",
        )
    margin = suite.allowance
    reached = power(len(prompts), margin, PLANNED_DISCORDANCE, PLANNED_ALPHA)
    if suite.metric != "perplexity" and reached < 0.9:
        needed = prompts_for_power(margin, PLANNED_DISCORDANCE, PLANNED_ALPHA)
        raise ManifestError(
            f"the suite {name!r} has {len(prompts)} prompts, which decide too rarely (power {reached:.2f}, not 0.90)",
            context=origin,
            hint=f"a margin of {margin} takes at least {needed} prompts; 500 is a good size",
        )


def base_of(source: SourcePatch, override: str | None = None) -> BaseModel:
    """The base model of a source patch: `override`, else what the manifest names, a folder relative to its own first.

    Raises ModelError, or ManifestError when it is not the one with the manifest's fingerprint.
    """
    declared = source.manifest.base
    name = override or declared.model
    folder = source.folder / name
    location = str(folder) if override is None and declared.revision is None and folder.is_dir() else name
    model, _, revision = location.partition("@")
    folder = locate(model, revision or declared.revision)
    base = identify(folder, name=declared.model, revision=declared.revision)
    if declared.fingerprint is not None and declared.fingerprint != base.fingerprint:
        raise ManifestError(
            f"the base model in {location} is not the one with the manifest's fingerprint",
            context=source.manifest.name,
            hint="leave base.fingerprint out of a source manifest, or give the right model with --base",
        )
    return base
