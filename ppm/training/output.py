"""Where `ppm build` writes its package, and what that says of its making.

The folder is looked at before anything is trained; no package is written over another one of its version.
"""

import os
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from ppm.base import BaseModel
from ppm.document import table_of, to_table
from ppm.errors import PackageError, PpmError, RequestError
from ppm.jsonl import dump
from ppm.machine import check_disk
from ppm.package import Package, file_name, read_package, sha256, write_package
from ppm.training.source import SourcePatch
from ppm.training_table import Training
from ppm.version import __version__

__all__ = ["announced", "check_folder", "check_output", "versions", "write_new"]

ROOM = 16 * 2**20
"""How many bytes a package file may take, beside the data files of its patch."""


def check_folder(folder: Path, data: int = 0) -> None:
    """Raises RequestError or DiskError when no package with so many bytes of data could be written into a folder."""
    standing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not standing.is_dir():
        raise RequestError("is not a folder", context=str(standing), hint="name another folder with --output")
    if not os.access(standing, os.W_OK | os.X_OK):
        raise RequestError("can't be written to", context=str(standing), hint="name another folder with --output")
    check_disk(folder, ROOM + data, "a package file may take up to")


def check_output(folder: Path, source: SourcePatch, base: BaseModel, announced: dict[str, object]) -> None:
    """Raises as `check_folder` does, and RequestError when the package would be another one of its version.

    `announced` is what the package's provenance is sure to hold.
    """
    check_folder(folder, sum(map(len, source.files.values())))
    manifest = replace(source.manifest, base=replace(source.manifest.base, fingerprint=base.fingerprint))
    path = folder / file_name(manifest)
    if not path.exists():
        return
    try:
        there = read_package(path)
    except PpmError as error:
        raise _other(path) from error
    same = replace(
        there.manifest.with_bank(None),
        schema=manifest.schema,
        base=manifest.base,
        replay=None,
        retention=None,
        provenance={},
    )
    wanted = replace(manifest.without_training(), replay=None, retention=None, provenance={})
    known = all(there.manifest.provenance.get(key) == value for key, value in announced.items())
    tested = {suite.prompts for suite in manifest.suites} & source.files.keys()
    if same != wanted or not known or any(there.files.get(file) != source.files[file] for file in tested):
        raise _other(path)


def announced(source: SourcePatch, training: Training, base: BaseModel) -> dict[str, object]:
    """What a package's provenance says of its making, as far as the source and its base tell."""
    announced: dict[str, object] = {
        "seed": training.seed,
        "benign": len(source.benign),
        "training": _recorded(training),
        "base_parts": base.parts,
        "versions": versions(),
    }
    if source.pairs:
        announced |= {"pairs": len(source.pairs), "pairs_sha256": sha256(dump(source.pairs))}
    if source.datasets:
        announced["datasets"] = {path: to_table(data) for path, data in source.datasets.items()}
    return announced


def _recorded(training: Training) -> dict[str, object]:
    """The `[training]` table without what is nobody's business: where a teacher is served, and the name of its key."""
    table = table_of(training)
    table.pop("datasets", None)
    if training.teacher is not None:
        teacher = table_of(training.teacher)
        table["teacher"] = {key: value for key, value in teacher.items() if key not in ("endpoint", "key")}
    return table


def versions() -> dict[str, str]:
    """The versions of what trains."""
    return {"ppm": __version__, **{name: version(name) for name in ("torch", "transformers", "trl")}}


def write_new(package: Package, folder: Path) -> Path:
    """Write a package file where none of its version is, or the same one. Raises RequestError or PackageError."""
    path = folder / package.file_name
    try:
        there = path.read_bytes() if path.exists() else None
    except OSError as error:
        raise PackageError(f"can't be read: {error.strerror}", context=str(path)) from error
    if there is not None and there != package.data:
        raise _other(path)
    return path if there is not None else write_package(package, folder)


def _other(path: Path) -> RequestError:
    return RequestError(
        "already exists, with different content than this build makes",
        context=str(path),
        hint="raise the version in patch.toml, or move the file away if nobody has it yet",
    )
