"""The command build."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from ppm.cli.options import SEED, LocalPath, json_option, running_options, together, workspace
from ppm.cli.output import print_json, print_table, report, write

if TYPE_CHECKING:
    from ppm.running import Running
    from ppm.training.context import BuildOptions

__all__ = ["build_command"]


def _asked(seed: int | None, pairs: Path | None, prefix_of: Path | None) -> "Callable[[], BuildOptions]":
    """What is asked of the build, read when it begins: `--check` needs no torch."""

    def read() -> "BuildOptions":
        from ppm.package import read_package
        from ppm.training.context import BuildOptions

        return BuildOptions(seed, pairs, read_package(prefix_of) if prefix_of is not None else None)

    return read


@click.command("build")
@click.argument("manifest", type=LocalPath())
@click.option("--output", "-o", default=".", type=LocalPath(), metavar="DIR", help="Where the package file goes.")
@click.option("--base", metavar="MODEL", help="Where the base model is, if it is not where the manifest says.")
@click.option("--seed", type=SEED, help="Overrides the manifest's seed.")
@click.option("--pairs", type=LocalPath(), metavar="FILE", help="Also write the training pairs to this file.")
@click.option(
    "--prefix-of",
    type=LocalPath(),
    metavar="FILE",
    help="Train nothing: take the prefix of an earlier package of this patch, fit its trigger and run the suites.",
)
@click.option("--check", is_flag=True, help="Only check the manifest and its data; nothing is downloaded.")
@together("asked", _asked, "seed", "pairs", "prefix_of")
@running_options(chooses=True)
@json_option
def build_command(
    manifest: Path,
    output: Path,
    base: str | None,
    check: bool,
    asked: "Callable[[], BuildOptions]",
    running: "Running",
    as_json: bool,
) -> None:
    """Train a patch from its source manifest.

    Collects pairs where the manifest names prompts and a teacher; then SFT, DPO and the suites. The result is a package
    file. An interrupted build continues where it left off. With several GPUs: accelerate launch -m ppm build ...

    \b
    Example:
      ppm build ./my-patch --output dist
      ppm build ./my-patch --prefix-of dist/my_patch-1.0.0-smollm2_5e11405de8e9.ppm --output dist
    """
    from ppm.cli.progress import shown

    if check and click.get_current_context().get_parameter_source("prefix_of") is not ParameterSource.DEFAULT:
        raise click.UsageError("--check looks at a manifest that is to be trained; leave out --prefix-of")
    if check:
        _check(manifest, base, output, as_json)
        return
    from ppm.training.source import check_named

    check_named(manifest, base)  # what is wrong with these is told before seconds of imports
    with shown(quiet=as_json) as events:
        from ppm.training.build import build
        from ppm.training.output import write_new

        cache, options = workspace().home / "cache", asked()
        package = build(
            manifest, base=base, cache=cache, output=output, options=options, running=running, events=events
        )
        if package is None:  # one of several processes, and not the first
            return
        path = write_new(package, output)
    scores = package.manifest.provenance["scores"]
    if as_json:
        made = package.manifest.provenance
        told: dict[str, object] = {"file": str(path), "sha256": package.sha256}
        told |= {key: made.get(key, {}) for key in ("scores", "well_formed", "shipped", "compared")}
        print_json(told)
        return

    assert isinstance(scores, Mapping)
    write("Failures by stage, lower is better:")
    _print_stages(scores)
    well_formed = package.manifest.provenance.get("well_formed")
    if isinstance(well_formed, Mapping) and well_formed:
        write("Well-formed answers by stage, higher is better:")
        _print_stages(well_formed)
    report(f"Wrote {path}, with the prefix after {package.manifest.provenance['shipped']}")


def _check(manifest: Path, base: str | None, output: Path, as_json: bool) -> None:
    from ppm.training.check import check_source

    lines = check_source(manifest, base, output=output)
    if as_json:
        print_json({"manifest": str(manifest), "findings": lines})
    else:
        write("\n".join(lines))


def _print_stages(scores: Mapping[str, Mapping[str, float]]) -> None:
    """Shares by suite and stage."""
    stages = list(next(iter(scores.values())))
    rows = [[suite, *(f"{rates[stage]:.3f}" for stage in stages)] for suite, rates in scores.items()]
    print_table(["Suite", *stages], rows, right=range(1, len(stages) + 1))
