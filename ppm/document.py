"""TOML documents <-> frozen dataclasses: the dataclass is the schema.

A field's type hint says what a key may hold, a field without a default is a required key, and a
`ValueError` from `__post_init__` is reported as a fault of that table. Knows nothing of what is in them.
"""

import math
import tomllib
import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import date, time
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ppm.encoding import decode
from ppm.errors import ManifestError, PpmError, did_you_mean

__all__ = [
    "MAX_DOCUMENT_BYTES",
    "kind_of",
    "parse",
    "read_document",
    "read_file",
    "read_table",
    "render",
    "table_of",
    "to_table",
]

MAX_DOCUMENT_BYTES = 128 * 2**10
"""The worst of such texts take seconds and 100 MB to parse; a lock of a hundred patches has 40 kB."""
_MOST_LEVELS = 100
T = TypeVar("T")


def parse(data: bytes | str, origin: str) -> dict[str, object]:
    """The plain content of a TOML document. Raises ManifestError naming `origin` and the place."""
    if len(data) > MAX_DOCUMENT_BYTES:
        raise ManifestError(f"is {len(data):,} bytes long; at most {MAX_DOCUMENT_BYTES:,} are read", context=origin)
    try:
        text = decode(data) if isinstance(data, bytes) else data
        return _check_depth(tomllib.loads(text))
    except UnicodeDecodeError as error:
        raise ManifestError(f"is not UTF-8 (byte {error.start})", context=origin) from error
    except (RecursionError, ValueError) as error:  # some of Python's own, such as for a number of many digits
        marked = next((n for n, line in enumerate(text.splitlines(), 1) if line.startswith("<<<<<<< ")), None)
        if marked is not None:
            raise ManifestError(
                f"has merge conflicts, from line {marked} on", context=origin, hint="resolve them"
            ) from error
        detail = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ManifestError(
            f"is not valid TOML: {detail}", context=origin, hint="strings need quotes, and a key may occur once"
        ) from error


def _check_depth(table: dict[str, object]) -> dict[str, object]:
    """The table. Raises RecursionError for one that functions that call themselves could not go through."""
    level: list[object] = [table]
    for _ in range(_MOST_LEVELS):
        inner = [value for value in level if isinstance(value, dict | list)]
        if not inner:
            return table
        level = [item for value in inner for item in (value.values() if isinstance(value, dict) else value)]
    raise RecursionError


def read_document(cls: type[T], data: bytes | str, origin: str, *, schema: int, oldest: int | None = None) -> T:
    """A `cls` from a TOML document of one schema, or of one from `oldest` on.

    Raises ManifestError, for a document of another schema too.
    """
    table = parse(data, origin)
    readable = range(schema if oldest is None else oldest, schema + 1)
    if table.get("schema") not in readable:
        raise ManifestError(
            f"unknown schema {table['schema']!r}" if "schema" in table else "schema is missing",
            context=origin,
            hint=f"this ppm reads schema = {' or '.join(map(str, readable))}; a newer one needs a newer ppm",
        )
    return read_table(cls, table, origin)


def _check_plain(value: object) -> None:
    """Raises ValueError for what JSON does not have, in a value of any kind: dates, times, infinities."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            _check_plain(item)
    elif isinstance(value, date | time) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"{value} is neither a string nor a finite number")


def read_file(path: Path) -> dict[str, object]:
    """`parse` on a file of the user's. Raises ManifestError when it can't be read."""
    try:
        return parse(path.read_bytes(), str(path))
    except OSError as error:
        raise ManifestError(f"can't be read: {error.strerror}", context=str(path)) from error


def render(table: Mapping[str, object]) -> str:
    """A TOML document from plain data; bytes of a file's name that are no text are written as escapes."""
    import tomlkit  # which reading has no need of, and takes long to import

    return tomlkit.dumps({key: _writable(value) for key, value in _tables_last(table)})


def _writable(value: object) -> object:
    """The same data with what TOML writes as tables after the rest: a plain key after a table would fall into it."""
    if isinstance(value, Mapping):
        return {key: _writable(item) for key, item in _tables_last(value)}
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return [_writable(item) for item in value] if isinstance(value, list) else value


def _tables_last(table: Mapping[str, object]) -> list[tuple[str, object]]:
    return sorted(table.items(), key=lambda item: _is_table(item[1]))


def _is_table(value: object) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, list) and any(isinstance(i, Mapping) for i in value))


def table_of(value: object) -> dict[str, object]:
    """A dataclass as the plain table that `render` takes."""
    table = to_table(value)
    assert isinstance(table, dict)
    return table


def to_table(value: object) -> object:
    """Plain data for `render`; what is None, or empty by default, is left out."""
    if is_dataclass(value) and not isinstance(value, type):
        if hasattr(value, "to_toml"):
            return value.to_toml()
        result = {}
        for field in fields(value):
            item = getattr(value, field.name)
            empty_default = field.default is not MISSING or field.default_factory is not MISSING
            if item is None or (empty_default and isinstance(item, tuple | dict | str) and not item):
                continue
            result[field.name] = to_table(item)
        return result
    if isinstance(value, Mapping):
        return {key: to_table(item) for key, item in value.items() if item is not None}
    if isinstance(value, tuple | list):
        return [to_table(item) for item in value]
    return value


@cache
def _fields(cls: type) -> dict[str, Field[object]]:
    return {field.name: field for field in fields(cls)}


@cache
def _parts_of(hint: object) -> tuple[object, tuple[object, ...]]:
    return get_origin(hint), get_args(hint)


@cache
def _hints(cls: type) -> dict[str, object]:
    return get_type_hints(cls)


def read_table(cls: type[T], table: object, origin: str, path: str = "") -> T:
    """A `cls` from plain data. Raises ManifestError naming `origin`, the key and, for an unknown key, the nearest."""
    where = f"[{path}]" if path else "the document"
    adapt = getattr(cls, "from_toml", None)
    if adapt is not None:
        table = adapt(table)
    if not isinstance(table, Mapping):
        raise ManifestError(f"{path or 'the document'} must be a table, not {kind_of(table)}", context=origin)
    known = _fields(cls)  # type: ignore[arg-type]
    for key in table:
        if key not in known:
            belongs = next((name for name in known if key in _keys_under(cls, name)), "")
            hint = did_you_mean(key, known, f"known keys are {', '.join(known)}")
            hint = f"it belongs under [{f'{path}.' if path else ''}{belongs}]" if belongs else hint
            raise ManifestError(f"unknown key {key!r} in {where}", context=origin, hint=hint)
    values = {}
    for name, field in known.items():
        here = f"{path}.{name}" if path else name
        if name in table:
            values[name] = _convert(_hints(cls)[name], table[name], origin, here)  # type: ignore[arg-type]
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ManifestError(f"{here} is missing", context=origin, hint=f"add {name} to {where}")
    try:
        return cls(**values)
    except ValueError as error:
        raise ManifestError(f"{where}: {error}", context=origin) from error


def _keys_under(cls: type, name: str) -> Mapping[str, object]:
    """The keys of one of a dataclass's own tables; none where it is no table, or one of several."""
    hint = _hints(cls)[name]
    origin, parts = _parts_of(hint)
    kinds = [kind for kind in (hint, *parts) if isinstance(kind, type) and is_dataclass(kind)]
    return _fields(kinds[0]) if kinds and origin not in (tuple, dict) else {}


def kind_of(value: object) -> str:
    """What plain data is, as its writer would say it."""
    if isinstance(value, str) and len(value) <= 60:
        return repr(value)
    if isinstance(value, float):
        return repr(value)
    names = {bool: "a boolean", int: "a number", str: "a string", list: "a list", dict: "a table", type(None): "null"}
    return names.get(type(value), f"a {type(value).__name__}")


def _convert(hint: object, value: object, origin: str, path: str) -> object:
    if type(value) is hint and hint in (str, int, bool):
        return value

    def wrong(expected: str) -> ManifestError:
        return ManifestError(f"{path} must be {expected}, not {kind_of(value)}", context=origin)

    if hint in (object, Any):
        try:
            _check_plain(value)
        except ValueError as fault:
            raise ManifestError(f"{path}: {fault}", context=origin, hint="write it as a string") from fault
        return value
    if hasattr(hint, "from_text"):  # a value that is written as one string, such as a requirement
        if not isinstance(value, str):
            raise wrong("a string")
        try:
            return hint.from_text(value)
        except PpmError as fault:
            raise ManifestError(f"{path}: {fault.message}", context=origin, hint=fault.hint) from fault
    origin_type, arguments = _parts_of(hint)
    if origin_type in (Union, types.UnionType):
        if value is None and type(None) in arguments:  # which JSON has and TOML does not
            return None
        return _convert(next(a for a in arguments if a is not type(None)), value, origin, path)
    if origin_type is Literal:
        if value not in arguments:
            hint_text = did_you_mean(value, [str(a) for a in arguments]) if isinstance(value, str) else ""
            error = wrong("one of " + ", ".join(map(repr, arguments)))
            raise ManifestError(error.message, context=origin, hint=hint_text)
        return value
    if origin_type is tuple:
        if not isinstance(value, list):
            raise wrong("a list")
        return tuple(_convert(arguments[0], item, origin, f"{path}[{i}]") for i, item in enumerate(value))
    if origin_type is dict:
        if not isinstance(value, Mapping):
            raise wrong("a table")
        return {key: _convert(arguments[1], item, origin, f"{path}.{key}") for key, item in value.items()}
    if is_dataclass(hint) and isinstance(hint, type):
        return read_table(hint, value, origin, path)
    if hint is float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise wrong("a finite number")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise wrong("a finite number")
        return number
    if hint is int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise wrong("a whole number")
        return value
    assert isinstance(hint, type)
    if not isinstance(value, hint):
        raise wrong({str: "a string", bool: "true or false"}[hint])
    return value
