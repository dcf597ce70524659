"""The command compose."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ppm.cli.deploy import prefer_option
from ppm.cli.options import (
    SEED,
    LocalPath,
    base_option,
    find_links_option,
    json_option,
    running_options,
    search_seconds,
    together,
    workspace,
)
from ppm.cli.output import print_json, report

if TYPE_CHECKING:
    from ppm.install.request import Request
    from ppm.running import Running

__all__ = ["compose_command"]


def _request_options(function: Callable[..., object]) -> Callable[..., object]:
    """--strategy, --find-links and how the base is run; the command gets them together, as `options`."""

    def make(find_links: tuple[Path, ...], strategy: str, prefer: tuple[str, ...], running: "Running") -> object:
        from ppm.install.request import Request

        seconds = search_seconds()
        return Request(find_links=find_links, strategy=strategy, prefer=prefer, search_seconds=seconds, running=running)

    keys = ("find_links", "strategy", "prefer", "running")
    command = prefer_option(running_options(chooses=True)(together("options", make, *keys)(function)), chooses=False)
    text = "A built-in strategy, or the path of a TOML file."
    return find_links_option(click.option("--strategy", required=True, metavar="NAME", help=text)(command))


@click.command("compose")
@click.argument("patches", nargs=-1, required=True, metavar="PATCH...")
@click.option("--output", "-o", required=True, type=LocalPath(), metavar="DIR", help="Where the package file goes.")
@_request_options
@click.option(
    "--manifests",
    type=LocalPath(exists=True, file_okay=False),
    metavar="DIR",
    help="Folder with the patches' source manifests; steps that train then use all of their pairs.",
)
@base_option
@click.option("--seed", type=SEED, default=0, show_default=True)
@json_option
def compose_command(
    patches: tuple[str, ...],
    output: Path,
    manifests: Path | None,
    base: str | None,
    seed: int,
    options: "Request",
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

    with shown(quiet=as_json) as events:
        package, path = compose_to(
            workspace(),
            options.asking(patches),
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
