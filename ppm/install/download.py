"""Taking package files from sources to a folder, without deploying anything. Needs no model on this machine."""

from pathlib import Path

from ppm.disk import disk_errors, make_folder, replace_file
from ppm.install.fetch import fetch, naming_alternatives, refuse_damaged, take_given
from ppm.install.request import Request
from ppm.install.start import rules_for
from ppm.package import Package
from ppm.resolve import resolve
from ppm.sources import Joined
from ppm.workspace import Workspace, look_up_base

__all__ = ["download"]


def download(
    workspace: Workspace, request: Request, base_name: str, folder: Path, *, dependencies: bool = True
) -> list[tuple[Package, Path]]:
    """Resolve without regard to what is deployed, and write each package file whole or not at all. Raises PpmError."""
    project = workspace.project
    given, wishes = take_given(request.requirements, workspace.folder, workspace.access)
    sources = [*given, *workspace.sources(base_name, (*request.find_links, *project.sources))]
    offer = Joined(sources)
    refuse_damaged(wishes, offer)
    base = look_up_base(base_name, offer, [wish.name for wish in wishes])
    rules = rules_for(project, request)
    with naming_alternatives(wishes, sources):
        resolution = resolve(wishes, offer, fingerprint=base.fingerprint, base_name=base_name, rules=rules)
    packages = fetch([pin for pin in resolution.pins if dependencies or pin.requested], sources)
    written = []
    with disk_errors("can't be written to", folder):
        make_folder(folder)
        for package in packages:
            path = folder / package.file_name
            replace_file(path, package.data)
            written.append((package, path))
    return written
