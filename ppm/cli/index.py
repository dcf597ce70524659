"""The commands of whoever runs an index: init, key, add-publisher, sigstore, rotate, refresh, yank, advise, prune,
status and verify."""

from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ppm.cli.index_copies import mirror, page
from ppm.cli.keyfiles import ask_passphrase, keys_folders, keys_option
from ppm.cli.options import LocalPath, command_line, json_option, workspace
from ppm.cli.output import print_json, print_table, report, say, warn, write

if TYPE_CHECKING:
    from ppm.index.held import Held
    from ppm.index.identity import Identity

__all__ = ["index_command", "open_held"]

_folder = click.argument("folder", type=LocalPath(), metavar="DIR")


@click.group("index")
def index_command() -> None:
    """Run a signed index of patches.

    It is a folder of static files, from which others install without trusting whoever hosts it.

    \b
    Example:
      ppm index init my-index
    """


def open_held(folder: Path, keys: Path | None) -> "Held":
    """An index that nobody else changes meanwhile."""
    from ppm.index.held import Held

    own, offline = keys_folders(folder, keys)
    return Held(folder, own, ask_passphrase, command_line(), workspace().lock_timeout, say, offline)


@index_command.command("init")
@_folder
@keys_option
@click.option(
    "--names", type=click.IntRange(1), default=1000, show_default=True, help="How many names it will have, about."
)
@click.option("--bins", type=int, help="Number of bins, a power of two. Default: what suits so many names.")
@click.option("--root-keys", type=int, default=3, show_default=True, help="How many root keys there are.")
@click.option("--threshold", type=int, default=2, show_default=True, help="How many of them must sign a new root.")
def init(folder: Path, keys: Path | None, names: int, bins: int | None, root_keys: int, threshold: int) -> None:
    """Make an empty index, and its keys.

    Take the keys of root and targets off this machine afterwards: they are needed only for `add-publisher`, `rotate`
    and `refresh --all`.

    \b
    Example:
      ppm index init my-index
    """
    from ppm.index.held import make_index
    from ppm.index.keys import Keyring
    from ppm.index.roles import bins_for

    bins = bins_for(names) if bins is None else bins
    own, other = keys_folders(folder, keys)
    ring = Keyring(other or own, partial(ask_passphrase, new=True))
    made = make_index(folder, ring, datetime.now(UTC), bins=bins, root_keys=root_keys, threshold=threshold)
    report(f"Made the index {folder}; its private keys are in {ring.folder}.")
    report(f"Its root has the fingerprint {made}: publish it where users trust what they read.")
    say("Keep the files root-*.pem and targets-*.pem offline.")


@index_command.command("key")
@click.argument("file", type=LocalPath(), metavar="FILE")
def key(file: Path) -> None:
    """Make a publisher's pair of keys: the private one in FILE, encrypted, the public one beside it.

    \b
    Example:
      ppm index key acme.pem
    """
    from ppm.index.keys import write_pair

    public, keyid = write_pair(file, ask_passphrase(new=True))
    report(f"Made {file}, which is secret, and {public}, which the index is to know. Its id is {keyid}.")


@index_command.command("add-publisher")
@_folder
@click.argument("name", metavar="PUBLISHER")
@click.option("--key", "files", multiple=True, type=LocalPath(), metavar="PUBLIC.pem", help="A public key of theirs.")
@click.option("--identity", metavar="ID", help="Whom Sigstore's certificates name, such as the address of a workflow.")
@click.option("--issuer", metavar="URL", help="The OIDC issuer that vouches for the identity.")
@click.option("--names", default="", metavar="A,B", help="Names of patches that are theirs.")
@click.option(
    "--replace", "instead", is_flag=True, help="Take away the keys, identities or names that they had before."
)
@keys_option
def add_publisher(
    folder: Path,
    name: str,
    files: tuple[Path, ...],
    identity: str | None,
    issuer: str | None,
    names: str,
    instead: bool,
    keys: Path | None,
) -> None:
    """Let a publisher publish patches under some names, or add keys, an identity and names to one.

    It signs with keys, or with Sigstore as an identity. Needs the targets key.

    \b
    Example:
      ppm index add-publisher my-index acme --key acme.pub.pem --names toxicity,gender-bias
    """
    from ppm.index.keys import read_public
    from ppm.index.publish import add_publisher, unsigned

    if (identity is None) != (issuer is None):
        raise click.UsageError("--identity and --issuer go together")
    wanted = [part.strip() for part in names.split(",") if part.strip()]
    signers: list[str | Identity] = [*map(read_public, files), *_identities(identity, issuer)]
    with open_held(folder, keys).opened() as repository:
        before = repository.publishers.find(name)
        found = add_publisher(repository, name, signers, wanted, datetime.now(UTC), instead=instead)
        left = unsigned(repository, before.names if before is not None else ())
    counts = [(len(found.keys), "key", "keys"), (len(found.identities), "identity", "identities")]
    shown = " and ".join(f"{count} {one if count == 1 else many}" for count, one, many in counts if count)
    report(f"{found.name} may publish {', '.join(found.names) or 'nothing yet'}, with {shown}.")
    if left:
        count = f"{len(left)} file{'' if len(left) == 1 else 's'}, such as {left[0]}"
        warn(f"warning: users now refuse {count}: publish them again, signed by whoever has their names now")


def _identities(identity: str | None, issuer: str | None) -> "list[Identity]":
    from ppm.errors import RequestError
    from ppm.index.identity import Identity

    if identity is None or issuer is None:
        return []
    try:
        return [Identity(identity, issuer)]
    except ValueError as error:
        raise RequestError(str(error), hint="both are as the certificates of its bundles have them") from error


@index_command.command("sigstore")
@_folder
@click.argument("file", type=LocalPath(), metavar="TRUSTED_ROOT.json")
@keys_option
def sigstore(folder: Path, file: Path, keys: Path | None) -> None:
    """Name the Sigstore instance that vouches for identities of publishers, by its trusted root. Needs the targets key.

    Users verify with that file alone, without a network. Run this again when the instance has a new one.

    \b
    Example:
      ppm index sigstore my-index trusted_root.json
    """
    from ppm.index.publish import name_sigstore

    with open_held(folder, keys).opened() as repository:
        count = name_sigstore(repository, file, datetime.now(UTC))
    report(f"{folder} has the trusted root {file}, with {count} certificate{'' if count == 1 else 's'} of authorities.")


@index_command.command("rotate")
@_folder
@click.argument("role", type=click.Choice(["root", "targets", "bins", "snapshot", "timestamp"]))
@keys_option
def rotate(folder: Path, role: str, keys: Path | None) -> None:
    """Give a role new keys; users follow by themselves. Needs the root keys, or for bins the targets key.

    \b
    Example:
      ppm index rotate my-index timestamp
    """
    from ppm.index.roles import ROLES

    name = next(one for one in ROLES if one == role)
    held = open_held(folder, keys)
    with held.opened() as repository:
        old = repository.rotate(name, datetime.now(UTC))
    files = ", ".join(f"{role}-{one[:12]}.pem" for one in old)
    report(f"{role} has new keys in {held.keys}. Destroy the old ones there: {files}.")


@index_command.command("refresh")
@_folder
@click.option("--all", "everything", is_flag=True, help="Also sign root and targets anew; needs their keys.")
@keys_option
def refresh(folder: Path, everything: bool, keys: Path | None) -> None:
    """Sign anew what expires soon, so that users go on trusting the index. Run it every day.

    \b
    Example:
      ppm index refresh my-index
    """
    with open_held(folder, keys).opened() as repository:
        repository.refresh(datetime.now(UTC), offline=everything)
        until = repository.timestamp.signed.expires
    report(f"{folder} is valid until {until:%Y-%m-%d %H:%M} UTC.")


@index_command.command("yank")
@_folder
@click.argument("name")
@click.argument("version")
@click.option("--reason", required=True, help="Why; users see it.")
@keys_option
def yank(folder: Path, name: str, version: str, reason: str, keys: Path | None) -> None:
    """Take a version back: nobody gets it who does not ask for this very version. Its file stays.

    \b
    Example:
      ppm index yank my-index toxicity 1.0.0 --reason "fails on names"
    """
    from ppm.index.publish import yank

    with open_held(folder, keys).opened() as repository:
        count = yank(repository, name, version, reason, datetime.now(UTC))
    report(f"Yanked {name} {version} ({count} file{'' if count == 1 else 's'}): {reason}")


@index_command.command("advise")
@_folder
@click.argument("file", type=LocalPath(), metavar="FILE.json")
@click.option("--key", "private", type=LocalPath(), required=True, metavar="PRIVATE.pem", help="The publisher's key.")
@keys_option
def advise(folder: Path, file: Path, private: Path, keys: Path | None) -> None:
    """Publish an advisory on versions that fail, in OSV's form, with the prompts on which they do.

    The publisher of the patches signs it. With a later `modified` it takes the place of the one with its id; with
    `withdrawn` that is in force no more.

    \b
    Example:
      ppm index advise my-index ACME-2026-1.json --key acme.pem
    """
    from ppm.evaluation.advised import advised_suite
    from ppm.index.advise import publish_advisory, read_advisory
    from ppm.index.keys import read_private

    data, advisory = read_advisory(file)
    advised_suite(advisory)  # which refuses a judge that can't be made
    signer = read_private(private, ask_passphrase)
    with open_held(folder, keys).opened() as repository:
        publish_advisory(repository, data, signer, datetime.now(UTC), str(file))
    pins = [f"{one.package.name} {', '.join(one.versions)}" for one in advisory.affected]
    report(f"{'Withdrew' if advisory.withdrawn else 'Published'} {advisory.id} on {'; '.join(pins)}")


@index_command.command("prune")
@_folder
@click.option(
    "--older-than",
    default="30 days",
    show_default=True,
    metavar="DATE",
    help="Only what was written before: a span or date.",
)
@click.option("--dry-run", is_flag=True, help="Say what would go, and remove nothing.")
@keys_option
def prune(folder: Path, older_than: str, dry_run: bool, keys: Path | None) -> None:
    """Remove files that nothing lists any more: lists that were replaced, and what they alone spoke of.

    What the index has now stays, yanked versions too. So does what a list speaks of that has not expired, for users may
    be in the midst of it.

    \b
    Example:
      ppm index prune my-index --older-than "30 days"
    """
    from ppm.index.prune import prune
    from ppm.moment import Moment

    now = datetime.now(UTC)
    before = Moment.from_text(older_than, now).at
    with open_held(folder, keys).opened() as repository:
        done = prune(repository, now, before, dry=dry_run)
    verb = "Would remove" if dry_run else "Removed"
    report(f"{verb} {done.files} file{'' if done.files == 1 else 's'} ({done.size / 1e6:,.1f} MB) of {folder}.")


@index_command.command("status")
@_folder
@keys_option
@json_option
def status(folder: Path, keys: Path | None, as_json: bool) -> None:
    """Show what is signed by whom and until when, and what there is.

    \b
    Example:
      ppm index status my-index
    """
    from ppm.index.held import status_of

    found = status_of(open_held(folder, keys).read(), datetime.now(UTC))
    if as_json:
        print_json(found.to_json())
        return
    rows = [
        [r.name, str(r.version), f"{r.expires:%Y-%m-%d %H:%M}", str(r.days_left), f"{r.threshold} of {r.keys}"]
        for r in found.roles
    ]
    print_table(["Role", "Version", "Valid until (UTC)", "Days left", "Signed by"], rows, right=[1, 3])
    write(f"releases: {found.releases}; names: {found.names}; publishers: {found.publishers}")
    write(f"fingerprint of its first root: {found.fingerprint}")
    for role in found.roles:
        if role.due:
            say(f"{role.name} is due: ppm index refresh {folder}{' --all' if role.offline else ''}")


@index_command.command("verify")
@_folder
@click.option("--root", type=LocalPath(), metavar="FILE", help="Root metadata that is trusted. Default: its first.")
def verify(folder: Path, root: Path | None) -> None:
    """Check a whole index as its users see it: signatures, digests, and every publisher's statement.

    \b
    Example:
      ppm index verify my-index
    """
    from ppm.errors import IntegrityError
    from ppm.index.check import check_index
    from ppm.index.held import read_root
    from ppm.index.layout import METADATA, TRUSTED_ROOT

    found = check_index(folder, read_root(root or folder / METADATA / TRUSTED_ROOT), say)
    for fault in found.faults:
        write(fault)
    if found.faults:
        count = len(found.faults)
        raise IntegrityError(
            f"has {count} fault{'s' * (count != 1)}", context=str(folder), hint="they are listed above"
        )
    report(f"All sound. Releases: {found.releases}; names: {found.names}.")


index_command.add_command(mirror)
index_command.add_command(page)
