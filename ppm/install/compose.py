"""Composing without testing or deploying: what `ppm compose` does."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ppm.base import BaseModel
from ppm.composition.strategy import read_strategy
from ppm.errors import RequestError
from ppm.home import self_tests
from ppm.install.fetch import fetch
from ppm.install.plan import DEFAULT_STRATEGY, plan_install
from ppm.install.request import Request
from ppm.install.start import Start
from ppm.jsonl import check_leakage, dump
from ppm.manifest import Manifest
from ppm.package import Package, sha256, write_package
from ppm.progress import Events
from ppm.workspace import Workspace

if TYPE_CHECKING:
    from ppm.training.source import SourcePatch

__all__ = ["compose_to"]


def compose_to(
    workspace: Workspace,
    request: Request,
    base: BaseModel,
    folder: Path,
    *,
    manifests: Path | None = None,
    seed: int = 0,
    events: Events = Events(),  # noqa: B008
) -> tuple[Package, Path]:
    """Resolve and compose without testing or deploying: the package and where it was written. Raises PpmError.

    `manifests` is a folder of source manifests; where one is of a composed patch, of the same version, its steps get
    all of that patch's training pairs instead of the packaged sample. The composition's provenance says which.
    """
    recipe = read_strategy(request.strategy or DEFAULT_STRATEGY)
    if recipe.needs_parent:
        raise RequestError(
            f"{recipe.name} continues from the deployed composition: only `ppm install` and `ppm upgrade` can use it",
            hint="compose with distilled, or use this strategy with `ppm install`",
        )
    start = Start(workspace, base, workspace.environment_for(base), request, on_top=False)
    plan = plan_install(start)
    packages = fetch(plan.pins, plan.sources, plan.environment.store)
    sources = _sources(manifests, packages) if manifests else {}
    from ppm.audit.conflicts import check_settled, other_styles, stated_conflicts
    from ppm.audit.run import trained_on
    from ppm.audit.triggers import trigger_notes
    from ppm.composition.compose import check_together, compose, make_context
    from ppm.composition.recipe import check_composable
    from ppm.evaluation.suites import base_suites, package_suites
    from ppm.runtime.loading import load_base

    check_composable(recipe)
    check_together(packages, base)
    policy = start.policy(plan.order)
    check_settled(stated_conflicts(packages), policy.priority)
    for conflict in other_styles(packages):
        events.tell(f"note: {conflict.text}")
    suites = [*package_suites(packages), *base_suites(base.folder)]
    trained = {**trained_on(packages), **{str(source.folder): source.pairs for source in sources.values()}}
    for suite in suites:
        check_leakage(suite.label, suite.prompts, trained)
    loaded = load_base(base, kept=self_tests(workspace.home), running=plan.selection.running(plan.limits))
    context = make_context(
        packages, loaded, seed=seed, progress=events.progress, policy=policy, conditional=recipe.triggers
    )
    if sources:
        events.tell(f"Taking all pairs of {', '.join(sources)}{_sampled(packages, sources)}")
        specialists = tuple(
            replace(s, replay=sources[s.name].pairs) if s.name in sources else s for s in context.specialists
        )
        digests = {name: "sha256:" + sha256(dump(source.pairs)) for name, source in sources.items()}
        context = replace(context, specialists=specialists, notes={"training_pairs": digests})
    package = compose(packages, recipe, context, base=base)
    for note in trigger_notes(packages, package.bank, policy):
        events.tell(f"note: {note}")
    return package, write_package(package, folder)


def _sampled(packages: Sequence[Package], sources: "Mapping[str, SourcePatch]") -> str:
    """Which patches have no source manifest of their version, in words."""
    others = ", ".join(p.manifest.pin for p in packages if p.manifest.name not in sources)
    return (
        f"; using the packaged sample of {others}, which has no source manifest of that version there" if others else ""
    )


def _sources(folder: Path, packages: Sequence[Package]) -> "dict[str, SourcePatch]":
    """The source manifests of some of the patches, by name. Raises RequestError when there is none of them."""
    from ppm.training.source import read_source

    pins = {package.manifest.pin for package in packages}
    paths = [path for path in sorted(folder.glob("*/patch.toml")) if Manifest.read(path).pin in pins]
    if not paths:
        raise RequestError(
            f"{folder} has no source manifest for {', '.join(sorted(pins))}",
            hint="name a folder that has one subfolder per manifest",
        )
    sources = {source.manifest.name: source for source in map(read_source, paths)}
    collects = next((source for source in sources.values() if not source.pairs), None)
    if collects is not None:
        raise RequestError(
            f"{collects.folder} lacks the pairs of {collects.manifest.name}, which its build collects",
            hint="write them with `ppm build --pairs FILE`, and set training.pairs to that file",
        )
    if len(sources) < len(paths):
        raise RequestError(
            f"{folder} has two source manifests for one patch: {', '.join(str(path.parent.name) for path in paths)}",
            hint="remove one of them",
        )
    return sources
