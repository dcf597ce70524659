"""A patched model as a folder: the base and its banks side by side, and back again.

The base lies one level down, so that whoever loads the folder as a plain model gets an error, not a model without its
patch.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from ppm.bank import EMPTY, Bank
from ppm.bank_table import BankTable
from ppm.base import identify
from ppm.disk import disk_errors, make_folder, replace_file
from ppm.document import read_table, to_table
from ppm.errors import IntegrityError, ManifestError, ModelError
from ppm.manifest import Placement
from ppm.runtime.arrangements.registry import find_arrangement
from ppm.runtime.loading import LoadedBase, load_base
from ppm.runtime.model import attach
from ppm.runtime.rows import Row
from ppm.runtime.shell import backbone_of, unpatched
from ppm.runtime.tensors import bank_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["load_patched", "save_patched"]

BASE = "base"
RECORD = "ppm-patched.json"
SCHEMA = 2
OLDEST = 1
"""What an older ppm reads, which knows no router."""


def save_patched(patched: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", folder: Path) -> None:
    """Write a model that `attach` returned, its banks and the tokenizer into a new folder.

    Raises ModelError for a folder that holds something, TrainingError for a bank that is not finite, and
    EnvironmentStateError where the disk fails. `load_patched` reads it.
    """
    with disk_errors("can't be read", folder):
        taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    if taken:
        raise ModelError("is not empty", context=str(folder), hint="give a new folder")
    backbone = backbone_of(patched)
    banks = [_bank(row) for row in backbone.held]
    with disk_errors("can't be written", folder):
        make_folder(folder)
        unpatched(patched).save_pretrained(folder / BASE)
        tokenizer.save_pretrained(folder / BASE)
        entries = []
        for index, bank in enumerate(banks):
            name, data = f"bank-{index}.safetensors", bank.to_bytes()
            if bank:
                replace_file(folder / name, data)
            digest = hashlib.sha256(data).hexdigest()
            entry: dict[str, object] = {"file": name if bank else None, "sha256": digest}
            entries.append(
                {**entry, "arrangement": bank.arrangement}
                | ({"bank": to_table(bank.table)} if bank.table is not None else {})
            )
        fingerprint = identify(folder / BASE).fingerprint
        schema = SCHEMA if any(bank.table is not None for bank in banks) else OLDEST
        record = {"schema": schema, "base": fingerprint, "placement": backbone.placement, "banks": entries}
        replace_file(folder / RECORD, json.dumps(record, indent=2).encode() + b"\n")


def load_patched(folder: Path) -> LoadedBase:
    """The patched model and the tokenizer that `save_patched` wrote. Raises ModelError, or IntegrityError for a folder
    whose parts are not those that were written."""
    path = folder / RECORD
    base = identify(folder / BASE)
    try:
        record = json.loads(path.read_bytes())
        if record["schema"] not in range(OLDEST, SCHEMA + 1):
            raise ModelError(f"is of schema {record['schema']}", context=str(path), hint="upgrade ppm")
        placement, fingerprint = record["placement"], record["base"]
        if placement not in get_args(Placement):
            raise ValueError(f"there is no placement {placement!r}")
        banks = [_read(folder, entry) for entry in record["banks"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise IntegrityError(f"is not a record of a patched model ({error})", context=str(path)) from error
    if fingerprint != base.fingerprint:
        raise IntegrityError("is not the model that was saved", context=str(folder / BASE))
    loaded = load_base(base)
    return replace(loaded, model=attach(loaded.model, banks, placement=placement))


def _bank(row: Row) -> Bank:
    blocks = tuple(block for tensor in row.blocks for block in bank_of(tensor).blocks)
    return Bank(blocks, row.arrangement.name, router=row.router, answers_to=row.answers_to) if blocks else EMPTY


def _read(folder: Path, entry: Mapping[str, str | None]) -> Bank:
    name, sha256, table = entry["file"], entry["sha256"], entry.get("bank")
    known = find_arrangement(str(entry["arrangement"])).name
    try:
        declared = read_table(BankTable, table, str(folder / RECORD), "bank") if table is not None else None
    except ManifestError as error:
        raise ValueError(error.message) from error
    if name is None:
        return EMPTY
    path = folder / Path(name).name
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise IntegrityError("is not the bank that was saved", context=str(path))
    found = Bank.parse(data, str(path), declared)
    if found.arrangement != known:
        raise ValueError(f"{name} is not {known}")
    return found
