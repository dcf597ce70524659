"""Plays the vendor of patches: writes later versions of two of the lab's patches into a folder, for docs/tour.md.

    python examples/vendor.py dist

The versions differ in what their manifests say of each other; the prefixes are those that ship with the lab.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from ppm.package import read_package, write_package
from ppm.resources import lab_data


def later(name: str, version: str, folder: Path, **manifest: Any) -> Path:
    """Write a patch of the lab as another version, with other dependencies or conflicts."""
    package = read_package(next((lab_data() / "packages").glob(f"{name.replace('-', '_')}-*.ppm")))
    patch = replace(package.manifest.patch, version=version)
    return write_package(replace(package, manifest=replace(package.manifest, patch=patch, **manifest)), folder)


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "dist")
    needs, conflicts = {"gender-bias": ">=1.1"}, {"harm-refusal": "<2"}
    for path in (
        later("toxicity", "1.1.0", folder, dependencies=needs, conflicts=conflicts),
        later("gender-bias", "1.1.0", folder),
    ):
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
