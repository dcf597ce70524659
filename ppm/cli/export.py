"""The command export."""

from pathlib import Path

import click

from ppm.cli.options import LocalPath, base_option, env_option, json_option, workspace
from ppm.cli.output import print_json, report

__all__ = ["export_command"]


@click.command("export")
@click.argument("package", required=False, type=LocalPath(), metavar="[PACKAGE]")
@click.option("--to", "target", required=True, metavar="TARGET", help="peft, or embeddings.")
@click.option("--output", "-o", required=True, type=LocalPath(), metavar="DIR", help="The folder to write.")
@base_option
@env_option
@json_option
def export_command(
    package: Path | None, target: str, output: Path, base: str | None, env: str | None, as_json: bool
) -> None:
    """Write what is deployed, or a package file, for other software.

    The result is read back and must answer as the patched model does; what would not be exact is refused. A README
    says how to use it, and the audit lies beside it. A folder of an earlier export is replaced, and no other.

    \b
    Example:
      ppm export --base lab --env staging --to peft --output exported
    What `auto` routes is no single prefix: install with --strategy exportable first.
    """
    from ppm.serving.export import export

    done = export(workspace(), package, target, output, base=base, env=env)
    if as_json:
        files = {"folder": str(done.folder), "files": list(done.files)}
        print_json({**files, "prompts": done.prompts, "logits_apart": done.farthest})
    else:
        report(f"Wrote {done.folder}: {', '.join(done.files)}")
        report(f"It answers {done.prompts} prompts of its suites as ppm does (logits differ by {done.farthest:.1g})")
