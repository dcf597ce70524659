"""Composing without testing or deploying: what `ppm compose` does."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ppm.base import BaseModel
from ppm.composition.strategy import read_strategy
from ppm.errors import ManifestError, RequestError
from ppm.install.bases import environment_for
from ppm.install.events import Events
from ppm.install.plan import fetch, plan_install
from ppm.jsonl import Pair, find_overlap
from ppm.package import Package, write_package

if TYPE_CHECKING:
    from ppm.composition.steps import Context

__all__ = ["compose_to"]


def compose_to(
    patches: Sequence[str],
    base: BaseModel,
    strategy: str,
    folder: Path,
    *,
    find_links: Sequence[Path] = (),
    manifests: Path | None = None,
    seed: int = 0,
    events: Events = Events(),  # noqa: B008
) -> tuple[Package, Path]:
    """Resolve and compose without testing or deploying: the package and where it was written. Raises PpmError.

    `manifests` is a folder of source manifests; where one is of a composed patch, steps that train get all of its
    training pairs instead of the packaged sample.
    """
    recipe = read_strategy(strategy)
    if recipe.needs_parent:
        raise RequestError(
            f"{recipe.name} goes on from what is deployed, which only an install or upgrade does",
            hint="compose with distilled, or install with this strategy",
        )
    plan = plan_install(patches, base, environment_for(base), find_links=find_links, strategy=strategy, deployed=False)
    packages = fetch(plan)
    from ppm.audit.run import check_leakage
    from ppm.composition.compose import check_together, compose, make_context
    from ppm.composition.steps import check_composable
    from ppm.evaluation.suites import package_suites
    from ppm.prefix.loading import load_base

    check_composable(recipe)
    check_together(packages, base)
    check_leakage(package_suites(packages), packages)
    model, tokenizer = load_base(base)
    context = make_context(packages, model, tokenizer, seed=seed, progress=events.training_progress)
    if manifests is not None:
        context = _with_training_pairs(context, packages, manifests)
    package = compose(packages, recipe, context)
    return package, write_package(package, folder)


def _with_training_pairs(context: "Context", packages: Sequence[Package], folder: Path) -> "Context":
    from ppm.training.source import read_source

    pairs = {}
    for path in sorted(folder.glob("*/patch.toml")):
        source = read_source(path)
        if source.manifest.pin in {package.manifest.pin for package in packages}:
            _refuse_leakage(source.pairs, packages, str(path))
            pairs[source.manifest.name] = source.pairs
    if not pairs:
        named = ", ".join(package.manifest.pin for package in packages)
        raise RequestError(
            f"{folder} holds no source manifest of {named}", hint="give a folder with one folder per manifest"
        )
    specialists = tuple(replace(s, replay=pairs.get(s.name, s.replay)) for s in context.specialists)
    return replace(context, specialists=specialists)


def _refuse_leakage(pairs: Sequence[Pair], packages: Sequence[Package], origin: str) -> None:
    for package in packages:
        for suite in package.manifest.suites:
            leaked = find_overlap(package.prompts(suite), pairs)
            if leaked is not None:
                raise ManifestError(
                    f"trains on a prompt of the suite {suite.name!r} of {package.manifest.pin}: {str(leaked)[:80]!r}",
                    context=origin,
                    hint="a test on training data proves nothing; take the prompt out of one of the two",
                )
