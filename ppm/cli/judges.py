"""The command judges."""

import click

from ppm.cli.options import json_option
from ppm.cli.output import print_json, print_table

__all__ = ["judges_command"]


@click.command("judges")
@json_option
def judges_command(as_json: bool) -> None:
    """List the judges that suites can name.

    \b
    Example:
      ppm judges
    """
    import inspect

    from ppm.evaluation.judges.registry import judges

    rows = [
        (kind.name, kind.version, list(inspect.signature(kind.make).parameters), kind.summary)
        for _, kind in sorted(judges().items())
    ]
    if as_json:
        print_json([{"name": n, "version": v, "options": o, "summary": s} for n, v, o, s in rows])
    else:
        print_table(["Judge", "Version", "Options", "Scores"], [[n, v, ", ".join(o), s] for n, v, o, s in rows])
