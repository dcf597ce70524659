"""Beginning to trust an index, and accepting that a publisher has other keys."""

import shutil

from ppm.disk import disk_errors, make_folder, replace_file
from ppm.index.trust import TrustedIndex, add_index
from ppm.sources.index import IndexSource
from ppm.workspace import Workspace

__all__ = ["accept_publisher", "trust_index"]


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


def accept_publisher(workspace: Workspace, index: TrustedIndex, name: str) -> tuple[str, ...]:
    """Accept the keys that the publisher of a name has now: their ids. Raises IntegrityError for nobody's name."""
    return _source(workspace, index).accept(name)


def _source(workspace: Workspace, index: TrustedIndex) -> IndexSource:
    return IndexSource(index, workspace.index_files, workspace.access, workspace.tell)
