"""Taking package files from sources to a folder, without deploying anything. Needs no model on this machine."""

from collections.abc import Sequence
from pathlib import Path

from ppm.disk import disk_errors, make_folder, replace_file
from ppm.install.bases import look_up_base
from ppm.install.fetch import fetch, refuse_damaged, sources_of, take_given
from ppm.install.plan import rules_for
from ppm.install.request import Options
from ppm.package import Package
from ppm.project import Project
from ppm.resolve import parse_requirement, resolve
from ppm.sources import Joined

__all__ = ["download"]


def download(
    requirements: Sequence[str], base_name: str, folder: Path, options: Options, *, dependencies: bool = True
) -> list[tuple[Package, Path]]:
    """Resolve without regard to what is deployed, and write each package file whole or not at all. Raises PpmError."""
    project = Project.find(Path.cwd()) or Project()
    given, texts = take_given(requirements, Path())
    sources = [*given, *sources_of(base_name, project, options.find_links)]
    offer = Joined(sources)
    refuse_damaged(texts, offer)
    wishes = [parse_requirement(text) for text in texts]
    base = look_up_base(base_name, offer, [wish.name for wish in wishes])
    resolution = resolve(
        wishes,
        offer,
        fingerprint=base.fingerprint,
        base_name=base_name,
        rules=rules_for(project, options, {}, ()),
    )
    packages = fetch([pin for pin in resolution.pins if dependencies or pin.requested], sources)
    written = []
    with disk_errors("can't be written to", folder):
        make_folder(folder)
        for package in packages:
            path = folder / package.file_name
            replace_file(path, package.data)
            written.append((package, path))
    return written
