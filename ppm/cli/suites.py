"""The commands of suites: seal."""

from pathlib import Path

import click

from ppm.cli.options import LocalPath, json_option
from ppm.cli.output import print_json, say, write

__all__ = ["suites_command"]


@click.group("suites")
def suites_command() -> None:
    """Work on suites of your own.

    \b
    Example:
      ppm suites seal --help
    """


@suites_command.command("seal")
@click.argument("file", type=LocalPath())
@click.option("--suite", metavar="NAME", help="Which suite of the file; the only one by default.")
@click.option(
    "--share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.5,
    show_default=True,
    help="How much of it is sealed, in groups.",
)
@click.option("--output", type=LocalPath(), metavar="TOML", help="The file that declares both parts.")
@json_option
def seal_command(file: Path, suite: str | None, share: float, output: Path | None, as_json: bool) -> None:
    """Split a suite of your own into an open and a sealed part.

    Of a sealed suite ppm shows rates, and never a prompt or an answer: a vendor
    can't mend what nobody saw fail. Chance decides what is sealed. FILE is a TOML
    file as [gates] suites names them.

    \b
    Example:
      ppm suites seal our-suites.toml --suite harm
    """
    from ppm.evaluation.sealing import seal

    found = seal(file, suite, share=share, output=output)
    if as_json:
        parts = [{"path": str(path), "prompts": prompts, "groups": groups} for path, prompts, groups in found.parts]
        print_json({"path": str(found.declared), "parts": parts})
        return
    for (path, prompts, groups), kind in zip(found.parts, ("open", "sealed"), strict=True):
        write(f"{kind}: {path}, {prompts:,} prompts in {groups:,} groups")
    write(f"{found.declared} declares both: name it under [gates] suites in ppm.toml")
    say(f"{file} and its prompts are as they were; keep them where those who make patches don't see them")
