"""The command compose."""

from pathlib import Path

import click

from ppm.cli.options import LocalPath, base_option, find_links_option, json_option, search_seconds, workspace
from ppm.cli.output import print_json, report

__all__ = ["compose_command"]


@click.command("compose")
@click.argument("patches", nargs=-1, required=True, metavar="PATCH...")
@click.option("--strategy", required=True, metavar="NAME", help="A built-in strategy, or the path of a TOML file.")
@click.option("--output", "-o", required=True, type=LocalPath(), metavar="DIR", help="Where the package file goes.")
@find_links_option
@click.option(
    "--manifests",
    type=LocalPath(exists=True, file_okay=False),
    metavar="DIR",
    help="Folder with the patches' source manifests; steps that train then use all of their pairs.",
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
    """Compose several patches into one package file.

    It is neither tested nor deployed; `ppm install` does that.

    \b
    Example:
      ppm compose toxicity gender-bias --base lab --strategy merged --output dist
    """
    from ppm.cli.progress import shown
    from ppm.install.compose import compose_to
    from ppm.install.request import Request

    request = Request(find_links=find_links, strategy=strategy, search_seconds=search_seconds())
    with shown(quiet=as_json) as events:
        package, path = compose_to(
            workspace(),
            request.asking(patches),
            workspace().find_target(base)[0],
            output,
            manifests=manifests,
            seed=seed,
            events=events,
        )
    tokens = package.manifest.prefix.virtual_tokens
    if as_json:
        names = {"file": str(path), "name": package.manifest.name, "sha256": package.sha256}
        print_json({**names, "virtual_tokens": tokens})
    else:
        report(f"Wrote {path} ({tokens} virtual tokens)")
