"""JSON of an index -> frozen dataclasses: signed, and still read as hostile."""

import json
from typing import TypeVar

from ppm import document
from ppm.errors import IntegrityError, ManifestError
from ppm.names import cut

__all__ = ["read_json", "write_json"]

T = TypeVar("T")


def read_json(cls: type[T], data: bytes, origin: str, *, schema: int) -> T:
    """A `cls` from JSON of one schema. Raises IntegrityError for anything else."""
    try:
        table = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise IntegrityError("is not JSON", context=origin, hint=_HINT) from error
    if not isinstance(table, dict) or table.get("schema") != schema:
        raise IntegrityError(
            f"is not of schema {schema}", context=origin, hint="a newer index may need a newer ppm; else ask its owner"
        )
    try:
        return document.read_table(cls, table, origin)
    except ManifestError as error:
        raise IntegrityError(cut(error.message), context=origin, hint=_HINT) from error


_HINT = "whoever runs the index published something malformed, or its online keys are in wrong hands"


def write_json(value: object) -> bytes:
    """The same as JSON: the same content gives the same bytes."""
    return (json.dumps(document.to_table(value), indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()
