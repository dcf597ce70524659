"""Beginning to trust an index, moving its pin, and accepting that a publisher has other keys or identities."""

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from ppm.disk import disk_errors, make_folder, replace_file
from ppm.errors import RequestError, SourceError
from ppm.index.client import Client
from ppm.index.hub import HUB, HubAddress, is_commit
from ppm.index.hub_fetch import current_commit
from ppm.index.trust import Access, TrustedIndex, add_index, replace_index
from ppm.sources.index import IndexSource
from ppm.workspace import Workspace

__all__ = ["accept_publisher", "move_pin", "refuse_unpinned", "trust_index"]


def refuse_unpinned(url: str, access: Access) -> None:
    """Raises RequestError for an address on the hub without a commit; its hint has the commit that is there now."""
    if not url.startswith(HUB):
        return
    try:
        address = HubAddress.parse(url)
    except ValueError:
        return  # which is told when the address is checked
    if is_commit(address.revision):
        return
    try:
        hint = f"what is there now: {address.at(current_commit(address, access))}"
    except SourceError as error:
        hint = f"the page of the repository's files shows it; ppm can't find it out ({error.message})"
    what = f"{address.revision!r} may be another commit tomorrow" if address.revision else "lacks a commit"
    raise RequestError(f"{what}; an index on the hub is named with its commit", context=url, hint=hint)


def trust_index(workspace: Workspace, index: TrustedIndex, root: bytes, *, first: bool) -> None:
    """Trust an index from this root on, if it can be used from there.

    Nothing is kept otherwise. Raises PpmError.
    """
    with disk_errors("can't be written", index.folder):
        if index.folder.exists():  # of an attempt that was killed
            shutil.rmtree(index.folder)
        make_folder(index.folder)
        replace_file(index.root, root)
    try:
        _source(workspace, index).open()
        add_index(workspace.home, index, first=first)
    except BaseException:
        shutil.rmtree(index.folder, ignore_errors=True)
        raise


def move_pin(workspace: Workspace, index: TrustedIndex, commit: str | None) -> tuple[str, str]:
    """Take an index on the hub from another commit, or from the one that its main branch is at: (before, now).

    It must be reached, and be no older than what was seen of it; else all stays. Raises PpmError.
    """
    if not index.url.startswith(HUB):
        hint = "nothing needs to be done: what is new there is seen by itself"
        raise RequestError(f"{index.name} is not on the hub, so it has no commit", hint=hint)
    address = HubAddress.parse(index.url)
    if commit is not None and not is_commit(commit):
        hint = "leave it out for the one that is there now"
        raise RequestError(f"{commit[:80]!r} is no commit, which has 40 hexadecimal digits", hint=hint)
    now = commit or current_commit(address.at(""), workspace.access)
    if workspace.access.offline:
        hint = "unset PPM_OFFLINE"
        raise SourceError("is not asked, as you want it", context=str(address), hint=hint)
    moved = replace(index, url=str(address.at(now)))
    with tempfile.TemporaryDirectory(prefix="ppm-source-") as work, disk_errors("can't be read", index.folder):
        # What is kept is changed only once all of the new commit was found good.
        trial = replace(moved, folder=Path(work) / "index")
        shutil.copytree(index.folder, trial.folder, symlinks=True)
        Client(trial, workspace.index_files, replace(workspace.access, fresh=True)).open()
    replace_index(workspace.home, moved)
    _source(workspace, moved).open()
    return address.revision, now


def accept_publisher(workspace: Workspace, index: TrustedIndex, name: str) -> tuple[str, ...]:
    """Accept the keys and identities that the publisher of a name has now: how they are shown.

    Raises IntegrityError for nobody's name.
    """
    return _source(workspace, index).accept(name)


def _source(workspace: Workspace, index: TrustedIndex) -> IndexSource:
    return IndexSource(index, workspace.index_files, workspace.access, workspace.tell)
