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
@keys_option
def publish_command(files: tuple[Path, ...], folder: Path, private: Path | None, keys: Path | None) -> None:
    """Sign package files, and put them into an index.

    Without --key, the statement that lies beside each file (FILE.ppm.intoto.json) is taken. If DIR is no index but a
    folder, the statements are written there, beside copies of the files, for whoever runs the index to publish.

    \b
    Example:
      ppm publish dist/toxicity-1.0.0-lab_0123456789ab.ppm my-index --key acme.pem
    """
    from ppm.index.held import is_index
    from ppm.index.keys import read_private
    from ppm.index.publish import publish, sign_packages, write_signed

    signer = None if private is None else read_private(private, ask_passphrase)
    signed = sign_packages(files, signer)
    if not is_index(folder) and folder.is_dir() and signer is not None:
        for path in write_signed(signed, folder):
            report(f"Signed {path}")
        return
    with open_held(folder, keys).opened() as repository:
        new = publish(repository, signed, datetime.now(UTC))
    for one in signed:
        pin = one.package.manifest.pin
        report(f"Published {pin}" if pin in new else f"{pin} is published already")
