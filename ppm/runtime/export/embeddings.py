"""Plain embeddings: a joined bank as one safetensors matrix, to be put in front of a prompt's own embeddings."""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ppm.bank import Bank
from ppm.disk import disk_errors, make_folder, replace_file
from ppm.errors import IntegrityError, ModelError
from ppm.manifest import Placement
from ppm.runtime.tensors import prefix_of

__all__ = ["FILE", "Embeddings", "read_embeddings"]

FILE = "prefix.safetensors"
TENSOR = "prefix"


class Embeddings:
    """One tensor `prefix`, (virtual_tokens, hidden_size) in float32; the file's metadata say where it stands."""

    summary = "one safetensors matrix of embeddings, to be put in front of a prompt's"

    def write(self, bank: Bank, placement: Placement, folder: Path) -> list[Path]:
        if not bank:
            raise ModelError("there is no patch to export", hint="install one first")
        if bank.arrangement != "joined":
            raise ModelError(
                f"a bank with the arrangement {bank.arrangement} is not a plain row of embeddings",
                hint="choose another target",
            )
        prefix, path = prefix_of(bank), folder / FILE
        with disk_errors("can't be written", path):
            make_folder(folder)
            replace_file(path, save({TENSOR: prefix}, metadata={"placement": placement}))
        found, where = read_embeddings(path)
        if where != placement or not torch.equal(found, prefix):
            raise IntegrityError("does not hold what was written", context=str(path), hint="check the disk")
        return [path]


def read_embeddings(path: Path) -> tuple[torch.Tensor, Placement]:
    """What `Embeddings` wrote: the matrix (virtual_tokens, hidden_size), and where it stands. Raises IntegrityError."""
    try:
        with safe_open(path, "pt") as stream:
            tensor, metadata = stream.get_tensor(TENSOR), stream.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise IntegrityError(f"is not a file of embeddings ({error})", context=str(path)) from error
    placement = metadata.get("placement")
    if tensor.ndim != 2 or placement not in ("before-bos", "after-bos"):
        raise IntegrityError("is not a file of embeddings written by ppm", context=str(path))
    return tensor, placement
