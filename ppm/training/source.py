"""Source manifests: what `ppm build` reads, checked before anything is trained. Needs no torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ppm.base import BaseModel, ModelName, identify
from ppm.errors import ManifestError, did_you_mean
from ppm.evaluation.groups import groups_of
from ppm.evaluation.judges.registry import make_judge
from ppm.evaluation.measures.registry import measure_of
from ppm.evaluation.suites import check_distinct
from ppm.jsonl import (
    Benign,
    Pair,
    Prompt,
    Text,
    check_leakage,
    last_turn,
    normalised,
    numbered_benign,
    read_benign,
    read_pairs,
    read_prompts,
)
from ppm.manifest import DataFile, Manifest, check_tested
from ppm.suite import Judge, Suite
from ppm.training_table import DataSet, Training

__all__ = ["SourcePatch", "base_name", "base_of", "check_named", "read_source"]

PLANNED_DISCORDANCE = 0.05
PLANNED_ALPHA = 0.025
"""What the first gated attempt of an install may spend."""
GOOD_PROMPTS = 500
GOOD_GROUPS = {"specialist": 250, "base": 400}
"""Of a suite of a risk, and of utility."""


@dataclass(frozen=True)
class SourcePatch:
    """A source manifest with its data, read and checked.

    `pairs` are ready ones; without any, `prompts` are what they are collected from. `ranking` are pairs that stages are
    compared on and never trained on, `examples` prompts for the trigger alone. `datasets` are those that files
    were made of, with the commits taken; `absent` are the files that were not made yet.
    """

    manifest: Manifest
    folder: Path
    files: dict[str, bytes]
    pairs: tuple[Pair, ...]
    prompts: tuple[Text, ...]
    benign: tuple[Benign, ...]
    datasets: Mapping[str, DataSet] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    ranking: tuple[Pair, ...] = ()
    examples: tuple[Benign, ...] = ()

    @property
    def training(self) -> Training:
        """The `[training]` table."""
        assert self.manifest.training is not None
        return self.manifest.training

    @property
    def filter_suite(self) -> Suite:
        """The suite whose judge and goal choose the pairs, unless `[training.collect]` names others."""
        return self.manifest.suites[0]

    @property
    def filter_judge(self) -> Judge:
        """The judge that chooses the pairs."""
        return self.training.collect.judge or self.filter_suite.judge

    def tested(self) -> list[Prompt]:
        """The prompts of all suites that are there."""
        found: list[Prompt] = []
        for suite in self.manifest.suites:
            if suite.prompts in self.files:
                found += read_prompts(self.files[suite.prompts], str(self.folder / suite.prompts))
        return found

    @property
    def has_chats(self) -> bool:
        """Whether what it is trained on or tested with hangs on the base's chat template."""
        rows: list[Pair | Benign | Prompt] = [*self.pairs, *self.benign, *self.tested()]
        return any(not isinstance(row.prompt, str) for row in rows)


def read_source(path: Path, *, fetch: bool = False, tell: Callable[[str], None] = lambda message: None) -> SourcePatch:
    """Read a source manifest and every file it names, and check that it can be built.

    Files that are made of a data set are made when `fetch` allows a download, or when the data set is local.
    Raises ManifestError: a missing or broken file, a suite prompt that is trained on, a suite too small to decide.
    """
    path = path / "patch.toml" if path.is_dir() else path
    manifest = Manifest.read(path).counted_in_groups()
    training = manifest.training
    if training is None:
        raise ManifestError("has no [training] table", context=str(path), hint="ppm build needs pairs to train on")
    check_tested(manifest, str(path))
    named = {file.path: file for file in manifest.data_files()}
    for unknown in sorted(set(training.datasets) - set(named)):
        hint = did_you_mean(unknown, named, f"the manifest's files are {', '.join(named)}")
        raise ManifestError(f"training.datasets names {unknown!r}, but nothing uses it", context=str(path), hint=hint)
    for path_ in training.datasets:
        if named[path_].kind not in ("prompts", "benign"):
            raise ManifestError(
                f"training.datasets can't make {path_}, which has {named[path_].kind}",
                context=str(path),
                hint="data sets make files of prompts and of benign texts",
            )
    files: dict[str, bytes] = {}
    datasets: dict[str, DataSet] = {}
    absent = []
    written = {getattr(manifest.replay, "pairs", None), getattr(manifest.retention, "prompts", None)}
    for file in named.values():
        data = _read(path, file, training, optional=file.path in written)
        if data is None and file.path in training.datasets:
            made = _made(path.parent, file, training.datasets[file.path], fetch, tell)
            if made is None:
                absent.append(file.path)
                continue
            data, datasets[file.path] = made
        if data is not None:
            files[file.path] = data
    source = SourcePatch(
        manifest,
        path.parent,
        files,
        pairs=read_pairs(files[training.pairs], str(path.parent / training.pairs)) if training.pairs in files else (),
        prompts=_texts(files, training.prompts, path.parent),
        benign=read_benign(files[training.benign], str(path.parent / training.benign))
        if training.benign in files
        else (),
        datasets=datasets,
        absent=tuple(absent),
        ranking=_ranking(files, training, path.parent),
        examples=_examples(files, training, path.parent),
    )
    for suite in manifest.suites:
        _check_suite(source, suite)
    if training.prompts is not None:
        make_judge(source.filter_judge, files, f"{path}, [training.collect]")
    return source


def _read(path: Path, file: DataFile, training: Training, *, optional: bool) -> bytes | None:
    """A file's content; None when it is made later."""
    try:
        return (path.parent / file.path).read_bytes()
    except OSError as error:
        if isinstance(error, FileNotFoundError) and (optional or file.path in training.datasets):
            return None
        raise ManifestError(
            f"{file.key} names {file.path}, which can't be read: {error.strerror}",
            context=str(path),
            hint="add the file, or describe under [training.datasets] what it is made from",
        ) from error


def _made(
    folder: Path, file: DataFile, source: DataSet, fetch: bool, tell: Callable[[str], None]
) -> tuple[bytes, DataSet] | None:
    from ppm.training.data import data_file, is_local

    if not fetch and not is_local(source, folder):
        return None
    return data_file(file.path, "prompts" if file.kind == "prompts" else "benign", source, folder, tell=tell)


def _texts(files: Mapping[str, bytes], path: str | None, folder: Path) -> tuple[Text, ...]:
    if path is None or path not in files:
        return ()
    return tuple(row.prompt for row in read_benign(files[path], str(folder / path)))


def _ranking(files: Mapping[str, bytes], training: Training, folder: Path) -> tuple[Pair, ...]:
    """The pairs that stages are compared on. Raises ManifestError for one that is trained on."""
    if training.ranking is None:
        return ()
    rows = read_pairs(files[training.ranking], str(folder / training.ranking))
    trained = {normalised(row.prompt) for row in _trained_on(files, training, folder)}
    for row in rows:
        if normalised(row.prompt) in trained:
            raise ManifestError(
                f"has a prompt that is trained on, too: {last_turn(row.prompt)[:80]!r}",
                context=str(folder / training.ranking),
                hint="stages are compared on prompts that none of them has seen; remove it from one of the files",
            )
    return rows


def _examples(files: Mapping[str, bytes], training: Training, folder: Path) -> tuple[Benign, ...]:
    """Prompts that a trigger is fitted on besides. Raises ManifestError for one that does not say what it is."""
    if training.examples is None:
        return ()
    rows = list(numbered_benign(files[training.examples], str(folder / training.examples)))
    for number, row in rows:
        if not isinstance(row.extra.get("concerns"), bool):
            raise ManifestError(
                "does not say whether the patch concerns it",
                context=f"{folder / training.examples}, line {number}",
                hint='add "concerns": true to a prompt of its risk, and "concerns": false to any other',
            )
    return tuple(row for _, row in rows)


def _trained_on(files: Mapping[str, bytes], training: Training, folder: Path) -> list[Pair | Benign]:
    found: list[Pair | Benign] = []
    if training.pairs is not None and training.pairs in files:
        found += read_pairs(files[training.pairs], str(folder / training.pairs))
    for path in (training.prompts, training.benign):
        if path is not None and path in files:
            found += read_benign(files[path], str(folder / path))
    return found


def _check_suite(source: SourcePatch, suite: Suite) -> None:
    origin = str(source.folder / suite.prompts)
    where = f"{source.folder / 'patch.toml'}, suite {suite.name}"
    # A suite goes into the package, where its judge may not be a folder; the filter judge stays here.
    measure = measure_of(suite, make_judge(suite.judge, source.files, where, packaged=True), where)
    if suite.prompts in source.absent:
        return
    prompts = read_prompts(source.files[suite.prompts], origin)
    check_distinct(suite.name, prompts, origin)
    trained: list[Pair | Benign] = [*source.pairs, *source.benign, *source.ranking, *source.examples]
    check_leakage(suite.name, prompts, {str(source.folder): trained})
    margin, units, good = suite.allowance, "prompts", GOOD_PROMPTS
    count, counted = len(prompts), f"{len(prompts)} prompts"
    if suite.group is not None:
        count, units = len(set(groups_of(prompts, suite.group, origin).values())), "groups"
        counted, good = f"{count} groups of {len(prompts)} prompts", GOOD_GROUPS[suite.against]
    reached = measure.power(count, margin, PLANNED_DISCORDANCE, PLANNED_ALPHA)
    if reached < 0.9:
        needed = measure.prompts_for_power(margin, PLANNED_DISCORDANCE, PLANNED_ALPHA)
        raise ManifestError(
            f"the suite {suite.name!r} has {counted}, too few to decide reliably (power {reached:.2f}, not 0.90)",
            context=origin,
            hint=f"a margin of {margin} needs at least {needed} {units}; {good} is a good number",
        )


def check_named(path: Path, base: str | None = None) -> None:
    """Check a source manifest and its base model (`base_of`) before the data is read, which may take long.

    Raises ManifestError or ModelError.
    """
    path = path / "patch.toml" if path.is_dir() else path
    base_of(SourcePatch(Manifest.read(path), path.parent, {}, (), (), ()), base)


def base_name(source: SourcePatch, override: str | None = None) -> ModelName:
    """What the base model of a source patch is called: `override`, else what the manifest names, a folder relative to
    its own first. The manifest's commit holds for both."""
    declared = source.manifest.base
    if override is None and declared.revision is not None:
        return ModelName(declared.model, declared.revision)
    beside = source.folder if override is None else None
    return ModelName.parse(override or declared.model, beside=beside).at(declared.revision)


def base_of(source: SourcePatch, override: str | None = None) -> BaseModel:
    """The base model of a source patch (`base_name`).

    Raises ModelError, or ManifestError when it is not the one with the manifest's fingerprint.
    """
    declared = source.manifest.base
    named = base_name(source, override)
    base = identify(named.locate(), name=declared.model, revision=named.revision or declared.revision)
    if declared.fingerprint is not None and declared.fingerprint != base.fingerprint:
        raise ManifestError(
            f"the base model in {named.model} does not have the manifest's fingerprint",
            context=source.manifest.name,
            hint="leave base.fingerprint out of a source manifest, or name the right model with --base",
        )
    return base
