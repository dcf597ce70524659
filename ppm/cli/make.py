"""Commands that make package files: build trains a patch, compose makes one of several."""

from pathlib import Path

import click

from ppm.cli.options import base_option, echo_json, find_links_option, json_option

__all__ = ["build_command", "compose_command"]


@click.command("build")
@click.argument("manifest", type=click.Path(path_type=Path))
@click.option(
    "--output", "-o", default=".", type=click.Path(path_type=Path), metavar="DIR", help="Where the package file goes."
)
@click.option("--base", metavar="MODEL", help="Where the base model is, if not where the manifest says.")
@click.option("--seed", type=int, help="Overrides the manifest's seed.")
@click.option(
    "--pairs", type=click.Path(path_type=Path), metavar="FILE", help="Write the pairs that are trained on, to read."
)
@click.option("--check", is_flag=True, help="Only check the manifest and its data; nothing is downloaded.")
@json_option
def build_command(
    manifest: Path,
    output: Path,
    base: str | None,
    seed: int | None,
    pairs: Path | None,
    check: bool,
    as_json: bool,
) -> None:
    """Train a patch from its source manifest.

    Collects pairs where the manifest names prompts and a teacher; then SFT, DPO and the suites. The result is a package
    file. What a killed build has finished is not done again. With several GPUs: accelerate launch -m ppm build ...

    \b
    Example:
      ppm build ./my-patch --output dist
    """
    from ppm.cli.progress import report, shown
    from ppm.home import ppm_home

    if check:
        from ppm.training.check import check_source

        lines = check_source(manifest, base, output=output)
        if as_json:
            echo_json({"manifest": str(manifest), "findings": lines})
        else:
            click.echo("\n".join(lines))
        return
    with shown(quiet=as_json) as events:
        from ppm.training.build import build
        from ppm.training.output import write_new

        package = build(
            manifest,
            base=base,
            cache=ppm_home() / "cache" / "training",
            output=output,
            seed=seed,
            keep_pairs=pairs,
            progress=events.progress,
            tell=events.tell,
        )
        if package is None:  # one of several processes, and not the first
            return
        path = write_new(package, output)
    scores = package.manifest.provenance["scores"]
    if as_json:
        echo_json({"file": str(path), "sha256": package.sha256, "scores": scores})
        return
    from ppm.cli.render import print_table

    stages = list(next(iter(scores.values())))
    click.echo("Failures by stage, lower is better:")
    print_table(
        ["Suite", *stages], [[s, *(f"{r[x]:.3f}" for x in stages)] for s, r in scores.items()], right=range(1, 9)
    )
    report(f"Wrote {path}")


@click.command("compose")
@click.argument("patches", nargs=-1, required=True, metavar="PATCH...")
@click.option("--strategy", required=True, metavar="NAME", help="A built-in strategy, or the path of a TOML file.")
@click.option(
    "--output", "-o", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Where the package file goes."
)
@find_links_option
@click.option(
    "--manifests",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="Source manifests of the patches: steps that train get all of their pairs.",
)
@base_option
@click.option("--seed", default=0, show_default=True)
@json_option
def compose_command(
    patches: tuple[str, ...],
    strategy: str,
    output: Path,
    find_links: tuple[Path, ...],
    manifests: Path | None,
    base: str | None,
    seed: int,
    as_json: bool,
) -> None:
    """Make one package file of several patches.

    It is neither tested nor deployed; `ppm install` does that.

    \b
    Example:
      ppm compose toxicity gender-bias --base lab --strategy merged --output dist
    """
    from ppm.cli.progress import report, shown
    from ppm.install.bases import find_target
    from ppm.install.compose import compose_to

    with shown(quiet=as_json) as events:
        package, path = compose_to(
            patches,
            find_target(base)[0],
            strategy,
            output,
            find_links=find_links,
            manifests=manifests,
            seed=seed,
            events=events,
        )
    if as_json:
        echo_json(
            {
                "file": str(path),
                "name": package.manifest.name,
                "sha256": package.sha256,
                "virtual_tokens": package.manifest.prefix.virtual_tokens,
            }
        )
    else:
        report(f"Wrote {path} ({package.manifest.prefix.virtual_tokens} virtual tokens)")
