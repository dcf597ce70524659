"""Taking package files from sources to a folder, without deploying anything."""

from collections.abc import Sequence
from pathlib import Path

from ppm.base import BaseModel
from ppm.environment.deployments import Environment
from ppm.environment.disk import disk_errors, make_folder, replace_file
from ppm.install.asked import Options
from ppm.install.packages import fetch
from ppm.install.plan import plan_install
from ppm.package import Package

__all__ = ["download"]


def download(
    requirements: Sequence[str],
    base: BaseModel,
    environment: Environment,
    folder: Path,
    options: Options,
    *,
    dependencies: bool = True,
) -> list[tuple[Package, Path]]:
    """Resolve without regard to what is deployed, and write each package file whole or not at all. Raises PpmError."""
    plan = plan_install(requirements, base, environment, options, deployed=False)
    pins = [pin for pin in plan.pins if dependencies or pin.requested]
    packages = fetch(pins, plan.sources)
    written = []
    with disk_errors("can't be written to", folder):
        make_folder(folder)
        for package in packages:
            path = folder / package.file_name
            replace_file(path, package.data)
            written.append((package, path))
    return written
