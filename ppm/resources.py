"""Files that come with ppm: strategies, the lab's manifests and its data.

In a wheel they lie inside the package; in a checkout, and so in an editable install, some lie beside it.
"""

from pathlib import Path

from ppm.errors import PpmError

__all__ = [
    "bases_of_shipped",
    "is_of_lab",
    "lab_data",
    "lab_manifests",
    "shipped_packages",
    "shipped_project",
    "strategies_folder",
]

_PACKAGE = Path(__file__).resolve().parent
_SHIPPED = _PACKAGE / "bases" / "shipped"


def _folder(name: str) -> Path:
    for candidate in (_PACKAGE / name, _PACKAGE.parent / name):
        if candidate.is_dir():
            return candidate
    raise PpmError(f"the folder {name!r} is missing from this installation", hint="reinstall ppm")


def strategies_folder() -> Path:
    """The built-in strategies, one TOML file each."""
    return _folder("strategies")


def lab_manifests() -> Path:
    """The source manifests of the lab's patches, one folder each."""
    return _folder("manifests") / "lab"


def lab_data() -> Path:
    """The lab's shipped models (`base`, `base-gpt2`) and package files (`packages`)."""
    return _PACKAGE / "lab" / "data"


def shipped_packages(base: str | None) -> Path | None:
    """The package files that come with ppm for a base of this name; None where there are none."""
    if base == "lab":
        return lab_data() / "packages"
    return next((folder for folder in _SHIPPED.iterdir() if folder.name == base), None)


def bases_of_shipped(name: str) -> list[str]:
    """The names of the bases for which a patch of this name comes with ppm; the name is a normalised one."""
    folders = {"lab": lab_data() / "packages", **{folder.name: folder for folder in map(Path, _SHIPPED.iterdir())}}
    start = f"{name.replace('-', '_')}-"
    return [
        base for base, folder in sorted(folders.items()) if any(f.name.startswith(start) for f in folder.glob("*.ppm"))
    ]


def shipped_project(base: str, dtype: str) -> Path:
    """The project whose ppm.lock pins the composition that comes with ppm for a real base, as tested in a dtype.

    There is one for float32 and one for bfloat16.
    """
    return _SHIPPED / base / dtype


def is_of_lab(folder: Path) -> bool:
    """Whether a base model's folder is one of the lab's shipped models."""
    return folder.resolve().is_relative_to(lab_data())
