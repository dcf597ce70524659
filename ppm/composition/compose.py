"""Makes a composition: several packages and a strategy become one package, which records what it came from."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from itertools import chain, count, zip_longest

import torch

from ppm.bank import Bank
from ppm.base import BaseModel
from ppm.composition.operating import bank_under
from ppm.composition.recipe import check_strategy, run_strategy
from ppm.composition.routing import behind_triggers
from ppm.composition.steps import Context, Parent, Specialist
from ppm.composition.strategy import StepCall, Strategy
from ppm.errors import RequestError
from ppm.evaluation.benign import benign_texts
from ppm.evaluation.neutral import is_held_back
from ppm.evaluation.ordinary import without_tested
from ppm.jsonl import Benign, dump, normalised
from ppm.manifest import Base, Component, CompositionRecord, Manifest, Patch, PrefixShape, Replay, Retention
from ppm.names import LONGEST_NAME, MOST_SEED, canonical_digest
from ppm.package import Package
from ppm.progress import Progress, silent
from ppm.project import Gates
from ppm.runtime.derived import check_fits
from ppm.runtime.loading import LoadedBase
from ppm.runtime.tensors import check_width, initial_prefix, prefix_of
from ppm.suite import Judge, Suite, judge_files
from ppm.version import __version__

__all__ = ["check_together", "compose", "make_context", "ordinary_of", "package_composition", "single"]

RETENTION_LIMIT = 400


def check_together(packages: Sequence[Package], base: BaseModel) -> None:
    """Raises ModelError or RequestError when patches can't run on this base, or not in one composition."""
    for package in packages:
        check_fits(package, base)
    placements = {package.manifest.base.placement: package.manifest.pin for package in packages}
    if len(placements) > 1:
        named = ", ".join(f"{pin} is placed {placement}" for placement, pin in placements.items())
        raise RequestError(
            f"the patches have different placements: {named}", hint="compose patches with the same placement"
        )


def make_context(
    packages: Sequence[Package],
    base: LoadedBase,
    *,
    seed: int,
    progress: Progress = silent,
    parent: Parent | None = None,
    policy: Gates = Gates(),  # noqa: B008
    conditional: bool = True,
) -> Context:
    """What the steps of a strategy need, from packages that `check_together` has accepted.

    `parent` is the deployed composition that a strategy may go on from; `policy` says where triggers work, and
    `conditional` whether what is composed may stand behind them.
    """
    retention: dict[str, Benign] = {}
    for row in chain.from_iterable(zip_longest(*(package.retention for package in packages))):  # taking turns
        if row is not None and not is_held_back(row):
            retention.setdefault(normalised(row.prompt), row)
    texts = benign_texts(base, list(retention.values())[:RETENTION_LIMIT], seed=seed) if retention else []
    return Context(
        base,
        packages[0].manifest.base.placement,
        tuple(_specialist(package, base, bank_under(package, policy)) for package in packages),
        tuple(texts),
        seed=seed,
        progress=progress,
        parent=parent,
        benign=(*retention.values(), *ordinary_of(packages)),
        conditional=conditional and policy.trigger != "always",
        policy=policy,
    )


def ordinary_of(packages: Sequence[Package]) -> list[Benign]:
    """For patches of chats: ordinary requests and plain sentences that ship with ppm, without what the patches test."""
    if all(isinstance(pair.prompt, str) for package in packages for pair in package.replay):
        return []
    suites = ((package, suite) for package in packages for suite in package.manifest.suites)
    tested = {normalised(prompt.prompt) for package, suite in suites for prompt in package.prompts(suite)}
    return [row for row in without_tested(tested) if not is_held_back(row)]


def _specialist(package: Package, base: LoadedBase, bank: Bank) -> Specialist:
    shape, said = package.manifest.prefix, package.manifest.provenance.get("seed")
    seed = said if isinstance(said, int) and 0 <= said <= MOST_SEED else None
    initial = None
    if shape.init_text or seed is not None:
        initial = initial_prefix(base, shape, seed=seed or 0).to(base.model.device)
    check_width(prefix_of(package.bank), base.model, package.manifest)
    return Specialist(package.manifest.name, bank, package.replay, initial)


def compose(
    packages: Sequence[Package],
    strategy: Strategy,
    context: Context,
    *,
    base: BaseModel | None = None,
    chosen_by: str = "",
) -> Package:
    """The composition that a strategy makes of some packages; of one package, that package's bank.

    It is for the `base` if one is given, else for the one that the first package was made for.

    Raises RequestError, ManifestError or TrainingError.
    """
    check_strategy(strategy)
    context = replace(context, notes=dict(context.notes))
    bank = context.specialists[0].bank if len(packages) == 1 else run_strategy(strategy, context)
    if not context.conditional:
        bank = bank.always_on
    elif len(packages) > 1:
        bank = behind_triggers(context.specialists, bank)
    used = replace(single(), triggers=context.conditional) if len(packages) == 1 else strategy
    record = CompositionRecord(
        strategy=used.name,
        strategy_digest=used.digest,
        components=tuple(Component(p.manifest.name, p.manifest.version, p.sha256) for p in packages),
        seed=context.seed,
        chosen_by=chosen_by,
        parent=context.parent.digest if context.parent and used.needs_parent else None,
    )
    try:
        return package_composition(packages, bank, record, context.notes, base)
    except ValueError as error:  # for example more virtual tokens than a manifest may have
        raise RequestError(f"{strategy.name} does not make a valid package: {error}", hint="try distilled") from error


def single() -> Strategy:
    """The strategy of a composition of one patch: the patch itself."""
    return Strategy(schema=1, name="single", summary="One patch.", steps=(StepCall("concatenate"),))


def package_composition(
    packages: Sequence[Package],
    bank: Bank,
    record: CompositionRecord,
    notes: Mapping[str, object],
    base: BaseModel | None = None,
) -> Package:
    """A package of a composed bank that carries its components' suites, replay pairs and retention prompts."""
    files: dict[str, bytes] = {}
    suites: list[Suite] = []
    for package in packages:
        moved = [_moved(package, suite, files) for suite in package.manifest.suites]
        for suite in moved:
            suites.append(replace(suite, name=_free(suite.name, package.manifest.name, {s.name for s in suites})))
    pairs = [
        replace(pair, extra={**pair.extra, "patch": package.manifest.name})
        for package in packages
        for pair in package.replay
    ]
    benign: dict[str, Benign] = {}
    for package in packages:
        for row in package.retention:
            benign.setdefault(normalised(row.prompt), row)
    if pairs:
        files["replay.jsonl"] = dump(pairs)
    if benign:
        files["retention.jsonl"] = dump(benign.values())
    names = [component.name for component in record.components]
    identity = canonical_digest([*map(vars, record.components), record.strategy_digest, record.seed, bank.digest])
    first = packages[0].manifest
    manifest = Manifest(
        schema=max(package.manifest.schema for package in packages),
        patch=Patch(
            name=_name(names, record.strategy),
            version=f"1.0.0+{identity.removeprefix('sha256:')[:12]}",
            risks=tuple(dict.fromkeys(risk for p in packages for risk in p.manifest.patch.risks)),
            summary=f"{record.strategy} of {', '.join(f'{c.name} {c.version}' for c in record.components)}",
            license=" AND ".join(dict.fromkeys(p.manifest.patch.license for p in packages if p.manifest.patch.license)),
            authors=tuple(dict.fromkeys(author for p in packages for author in p.manifest.patch.authors)),
            provides=tuple(names),
        ),
        base=_base_of(first.base, base),
        prefix=PrefixShape(bank.virtual_tokens),
        suites=tuple(suites),
        replay=Replay() if pairs else None,
        retention=Retention() if benign else None,
        provenance={
            "versions": {"ppm": __version__, "torch": torch.__version__},
            "base_parts": base.parts if base is not None else first.provenance.get("base_parts", {}),
        }
        | ({"steps": dict(notes)} if notes else {}),
        composition=record,
    )
    return Package(manifest.with_bank(bank.table), bank, files)


def _base_of(declared: Base, base: BaseModel | None) -> Base:
    """The `[base]` table of a composition for a base, which its patches may have been made for, or what it is from."""
    if base is None or declared.fingerprint == base.fingerprint:
        return replace(declared, accepts=())
    return replace(declared, model=base.name, revision=base.revision, fingerprint=base.fingerprint, accepts=())


def _name(patches: Sequence[str], strategy: str) -> str:
    """What tells a composition from others: its patches and its strategy, both cut where they are too long."""
    shown = strategy[:40]
    return f"{'-'.join(patches)[: 90 - len(shown)].rstrip('-._')}-{shown}".rstrip("-._")


def _free(name: str, owner: str, taken: Set[str]) -> str:
    """The name if it is free, else one made of it and its patch's name that no other suite of the composition has."""
    wanted = [name, *([longer] if len(longer := f"{owner}-{name}") <= LONGEST_NAME else [])]
    return next(n for n in chain(wanted, (f"{name[: LONGEST_NAME - 9]}-{i}" for i in count(2))) if n not in taken)


def _moved(package: Package, suite: Suite, files: dict[str, bytes]) -> Suite:
    """The suite with its files copied into a folder of its patch's own."""

    def move(path: str) -> str:
        target = f"suites/{package.manifest.name}/{path.removeprefix('suites/')}"
        files[target] = package.files[path]
        return target

    def of(judge: Judge) -> Judge:
        return Judge(judge.name, judge.options | {option: move(path) for option, path in judge_files(judge).items()})

    second = of(suite.second_judge) if suite.second_judge else None
    evidence = suite.evidence
    if evidence is not None and evidence.controls is not None:
        evidence = replace(evidence, controls=move(evidence.controls))
    return replace(suite, prompts=move(suite.prompts), judge=of(suite.judge), second_judge=second, evidence=evidence)
