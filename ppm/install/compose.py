"""Composing without testing or deploying: what `ppm compose` does."""

from collections.abc import Sequence
from pathlib import Path

from ppm.base import BaseModel
from ppm.install.bases import environment_for
from ppm.install.events import Events
from ppm.install.plan import fetch, plan_install
from ppm.package import Package, write_package

__all__ = ["compose_to"]


def compose_to(
    patches: Sequence[str],
    base: BaseModel,
    strategy: str,
    folder: Path,
    *,
    find_links: Sequence[Path] = (),
    seed: int = 0,
    events: Events = Events(),  # noqa: B008
) -> tuple[Package, Path]:
    """Resolve and compose without testing or deploying: the package and where it was written. Raises PpmError."""
    from ppm.composition.compose import check_together, compose, make_context
    from ppm.composition.steps import check_composable
    from ppm.composition.strategy import read_strategy
    from ppm.prefix.loading import load_base

    recipe = read_strategy(strategy)
    check_composable(recipe)
    plan = plan_install(patches, base, environment_for(base), find_links=find_links, strategy=strategy, deployed=False)
    packages = fetch(plan)
    check_together(packages, base)
    model, tokenizer = load_base(base)
    context = make_context(packages, model, tokenizer, seed=seed, progress=events.training_progress)
    package = compose(packages, recipe, context)
    return package, write_package(package, folder)
