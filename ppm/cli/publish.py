"""The command publish."""

from datetime import UTC, datetime
from pathlib import Path

import click

from ppm.cli.index import open_held
from ppm.cli.keyfiles import ask_passphrase, keys_option
from ppm.cli.options import LocalPath
from ppm.cli.output import report

__all__ = ["publish_command"]


@click.command("publish")
@click.argument("files", nargs=-1, required=True, type=LocalPath(), metavar="FILE.ppm...")
@click.argument("folder", type=LocalPath(), metavar="DIR")
@click.option("--key", "private", type=LocalPath(), metavar="PRIVATE.pem", help="The publisher's private key.")
@click.option(
    "--bundle",
    "bundles",
    multiple=True,
    type=LocalPath(),
    metavar="FILE.sigstore.json",
    help="A Sigstore bundle of the statement; once for each FILE.ppm, in their order.",
)
@click.option("--statement-only", is_flag=True, help="Write the statements into the folder DIR, for Sigstore to sign.")
@keys_option
def publish_command(
    files: tuple[Path, ...],
    folder: Path,
    private: Path | None,
    bundles: tuple[Path, ...],
    statement_only: bool,
    keys: Path | None,
) -> None:
    """Sign package files, and put them into an index.

    Without --key and --bundle, the statement that lies beside each file is taken (FILE.ppm.intoto.json, or
    FILE.ppm.sigstore.json for a Sigstore bundle). If DIR is no index but a folder, the statements are written there,
    beside copies of the files, for whoever runs the index to publish.

    \b
    Example:
      ppm publish dist/toxicity-1.0.0-lab_0123456789ab.ppm my-index --key acme.pem
    """
    from ppm.index.held import is_index
    from ppm.index.keys import read_private
    from ppm.index.publish import publish, sign_packages, write_plain, write_signed

    if (private is not None) + bool(bundles) + statement_only > 1:
        raise click.UsageError("--key, --bundle and --statement-only exclude each other")
    plain_folder = folder.is_dir() and not is_index(folder)
    if statement_only:
        if not plain_folder:
            raise click.UsageError(f"--statement-only needs a folder that is no index, and {str(folder)!r} is none")
        for path in write_plain(files, folder):
            report(f"Wrote {path}")
        return
    signer = None if private is None else read_private(private, ask_passphrase)
    signed = sign_packages(files, signer, bundles)
    if plain_folder and (signer is not None or bundles):
        for path in write_signed(signed, folder):
            report(f"Signed {path}")
        return
    with open_held(folder, keys).opened() as repository:
        new = publish(repository, signed, datetime.now(UTC))
    for one in signed:
        pin = one.package.manifest.pin
        report(f"Published {pin}" if pin in new else f"{pin} is published already")
