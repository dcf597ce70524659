"""The commands of the lab: info, build."""

from pathlib import Path

import click

from ppm.cli.options import SEED, LocalPath, json_option
from ppm.cli.output import print_json, print_table, write

__all__ = ["lab_command"]


@click.group("lab")
def lab_command() -> None:
    """The small model that comes with ppm.

    \b
    Example:
      ppm lab info --quick
    """


@lab_command.command("info")
@click.option(
    "--data",
    type=LocalPath(),
    metavar="DIR",
    help="A lab made by `ppm lab build`. Default: the one that comes with ppm.",
)
@click.option("--quick", is_flag=True, help="Only the base, and each specialist on its own risk.")
@json_option
def info(data: Path | None, quick: bool, as_json: bool) -> None:
    """Measure the lab's targets.

    A vulnerable, useful base; sharp specialists; strategies that fail. Takes 20 minutes, or two with --quick.
    Exit code 1 when a target is missed.

    \b
    Example:
      ppm lab info --quick
    """
    from ppm.cli.progress import shown
    from ppm.lab.info import measure
    from ppm.resources import lab_data

    with shown(quiet=as_json) as events:
        targets = measure(data or lab_data(), quick=quick, tell=events.tell, progress=events.progress)
    if as_json:
        print_json([vars(target) for target in targets])
    else:
        rows = [[t.what, f"{t.found:.3f}", t.bound, "ok" if t.holds else "MISSED"] for t in targets]
        print_table(["Target", "Found", "Bound", ""], rows, right=[1])
    raise SystemExit(0 if all(target.holds for target in targets) else 1)


@lab_command.command("build")
@click.option("--output", "-o", required=True, type=LocalPath(), metavar="DIR", help="Where the lab goes.")
@click.option(
    "--manifests",
    type=LocalPath(file_okay=False),
    metavar="DIR",
    help="Source manifests, one folder each. Default: the shipped ones.",
)
@click.option("--steps", type=click.IntRange(min=1), help="Train no model for longer. Default: as long as it takes.")
@click.option("--seed", type=SEED, default=0, show_default=True)
def build(output: Path, manifests: Path | None, steps: int | None, seed: int) -> None:
    """Train the lab's bases, teachers and patches from scratch.

    It takes two to three hours on two cores; with a few --steps it is only a trial of the way.

    \b
    Example:
      ppm lab build --output build/lab
    """
    from ppm.cli.progress import shown
    from ppm.lab.build import build_lab
    from ppm.lab.pretrain import LAB_MODEL_STEPS

    with shown() as events:
        build_lab(
            output,
            manifests=manifests,
            steps=steps or LAB_MODEL_STEPS,
            seed=seed,
            tell=events.tell,
            progress=events.progress,
        )
    write(f"Wrote {output}. Measure it with `ppm lab info --data {output}`.")
