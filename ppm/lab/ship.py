"""Puts what `ppm lab build` made where it ships: `python -m ppm.lab.ship FOLDER`, in a checkout.

Copies the base models and the package files into the package's data, and the data files beside their manifests.
The teachers are built, not shipped.
"""

import shutil
import sys
from pathlib import Path

from ppm.errors import PpmError
from ppm.resources import lab_data, lab_manifests

__all__ = ["ship"]

SHIPPED_BYTES = 8_000_000


def ship(folder: Path) -> int:
    """Replace the shipped lab by the one in a folder, and return its size in bytes. Raises PpmError above 8 MB."""
    parts = [(folder / name, lab_data() / name) for name in ("base", "base-gpt2", "packages")]
    parts += [(source, lab_manifests() / source.name) for source in sorted((folder / "manifests").iterdir())]
    size = sum(path.stat().st_size for source, _ in parts for path in source.rglob("*") if path.is_file())
    if size > SHIPPED_BYTES:
        raise PpmError(f"the lab takes {size:,} bytes, more than the allowed {SHIPPED_BYTES:,}", context=str(folder))
    for source, target in parts:
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)
    return size


if __name__ == "__main__":
    print(f"shipped {ship(Path(sys.argv[1])):,} bytes")
