"""The command rebase."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ppm.cli.options import LocalPath, json_option, running_options, workspace
from ppm.cli.output import print_json, print_table, report, warn, write
from ppm.cli.packages import find_package
from ppm.cli.render import print_audit

if TYPE_CHECKING:
    from ppm.base import BaseModel
    from ppm.install.rebase import Rebased
    from ppm.package import Package
    from ppm.running import Running

__all__ = ["rebase_command"]

_WAYS = {"as-is": "as it is", "distilled": "distilled", "retrained": "retrained"}


@click.command("rebase")
@click.argument("patch", metavar="NAME_OR_FILE")
@click.option("--onto", required=True, metavar="MODEL", help="The base model that the patch is to go to.")
@click.option("--from", "old", metavar="MODEL", help="The base it was made for. Default: what the patch names.")
@click.option("--way", type=click.Choice(list(_WAYS)), help="Try this way only.")
@click.option("--output", "-o", default=".", type=LocalPath(), metavar="DIR", help="Where the package file goes.")
@running_options(chooses=True)
@json_option
def rebase_command(
    patch: str, onto: str, old: str | None, way: str | None, output: Path, running: "Running", as_json: bool
) -> None:
    """Bring a patch to the next base model.

    For the day a base is updated. Tries the patch as it is; else distils it from the old base with the patch; else
    trains it anew from the pairs in its package. The first that passes the patch's suites on the new base is written.
    Exit code 5 when none passes, 6 when one stays inconclusive.

    \b
    Example:
      ppm rebase toxicity --from lab --onto ./new-lab --output dist
    """
    from ppm.cli.progress import shown
    from ppm.errors import GateError
    from ppm.workspace import open_base

    package = find_package(patch, old, None)
    target = open_base(onto)
    with shown(quiet=as_json) as events:
        from ppm.install.rebase import WAYS, rebase
        from ppm.training.output import check_folder, write_new

        check_folder(output, sum(map(len, package.files.values())))
        before = _old_base(package, old)
        ways = [name for name in WAYS if way is None or name == _WAYS[way]]
        here = workspace()
        policy = here.project.gates
        result = rebase(
            package, target, before, home=here.home, ways=ways, policy=policy, running=running, events=events
        )
        try:
            chosen = result.chosen
        except GateError as error:
            _show(result, None, as_json)
            if error.audit is not None and not as_json:
                print_audit(error.audit)
            raise
        path = write_new(chosen.package, output)
    _show(result, path, as_json)
    if not as_json:
        report(f"Wrote {path} ({chosen.way})")


def _old_base(package: "Package", named: str | None) -> "BaseModel | None":
    """The base that a patch was made for, if it is at hand. Raises ModelError when a named one is not that model."""
    from ppm.base import check_compatible
    from ppm.errors import ModelError
    from ppm.workspace import open_base

    declared = package.manifest.base
    name = named or (f"{declared.model}@{declared.revision}" if declared.revision else declared.model)
    try:
        found = open_base(name, fetch=named is not None)
        check_compatible(package.manifest, found)
    except ModelError as error:
        if named is not None:
            raise
        warn(f"The base it was made for is not at hand ({error.message}); name it with --from to distil from it.")
        return None
    return found


def _show(result: "Rebased", path: Path | None, as_json: bool) -> None:
    """Each way with its verdict and its failure rates, beside those on the old base."""
    if as_json:
        tried = [
            {"way": one.way, "verdict": one.audit.verdict, "rates": dict(one.rates), "audit": one.audit.to_table()}
            for one in result.tried
        ]
        table = {"file": str(path) if path else None, "before": dict(result.before), "tried": tried}
        print_json({**table, "skipped": dict(result.skipped)})
        return
    suites = list(result.tried[0].rates)
    write("Failure rates on the patch's own suites, lower is better:")
    rows = [["old base", "", *(_rate(result.before.get(suite)) for suite in suites)]]
    rows += [[one.way, one.audit.verdict, *(_rate(one.rates.get(suite)) for suite in suites)] for one in result.tried]
    print_table(["Way", "Verdict", *suites], rows, right=range(2, len(suites) + 2))
    for skipped, why in result.skipped.items():
        write(f"not tried: {skipped}: {why}")


def _rate(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"
