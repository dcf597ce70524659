"""Data files made from a data set, on the hub or in a local file or folder, with the library `datasets`."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ppm.errors import ManifestError, did_you_mean
from ppm.jsonl import Benign, Pair, Prompt, dump, normalised, place_of
from ppm.training_table import DataSet

__all__ = ["data_file", "is_local"]

_READERS = {".json": "json", ".jsonl": "json", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".txt": "text"}
Kind = Literal["prompts", "benign"]


def is_local(source: DataSet, folder: Path) -> bool:
    """Whether the data set is a file or folder beside the manifest in `folder`, which costs no download."""
    return (folder / source.name).exists()


def data_file(
    path: str, kind: Kind, source: DataSet, folder: Path, *, tell: Callable[[str], None] = lambda message: None
) -> tuple[bytes, DataSet]:
    """The JSON Lines made from a data set, and the data set with the commit that was used.

    Prompts that are equal once normalised are taken once. Raises ManifestError for a data set, split, column or value
    that does not exist.
    """
    where = f"{path}, from the data set {source.name}"
    rows, source = _rows(source, folder, where, tell)
    made: list[Prompt | Pair | Benign] = []
    for number, row in enumerate(_chosen(rows, source, where)):
        if kind == "prompts":
            made.append(Prompt(f"{Path(path).stem}-{number}", row.prompt, row.expected, row.group))
        else:
            made.append(Benign(row.prompt, row.completion))
        if len(made) == source.limit:
            break
    if not made:
        raise ManifestError("leaves no prompts", context=where, hint="check where, share and split")
    return dump(made), source


@dataclass(frozen=True)
class _Row:
    prompt: str
    expected: str | None
    group: str | None
    completion: str | None


def _rows(
    source: DataSet, folder: Path, where: str, tell: Callable[[str], None]
) -> tuple[Iterable[Mapping[str, object]], DataSet]:
    import datasets

    datasets.disable_progress_bars()
    local = folder / source.name
    options: dict[str, object] = {"split": source.split, "name": source.config}
    try:
        if local.is_file():
            if local.suffix not in _READERS:
                raise ManifestError(
                    f"is not a {', '.join(_READERS)} file", context=where, hint="use a file of one of these kinds"
                )
            delimiter = {"delimiter": "\t"} if local.suffix == ".tsv" else {}
            # A local file has one split.
            return datasets.load_dataset(
                _READERS[local.suffix], data_files=str(local), split="train", **delimiter
            ), source
        if local.is_dir():
            return datasets.load_dataset(str(local), **options), source
        tell(f"Fetching the data set {source.name}")
        source = source if source.revision else replace(source, revision=_current_commit(source.name))
        return datasets.load_dataset(source.name, revision=source.revision, **options), source
    except ManifestError:
        raise
    except Exception as error:  # the library and the hub client raise a dozen unrelated classes
        raise ManifestError(
            f"can't be fetched: {_first_line(error)}",
            context=where,
            hint="check its name, config, split and the network",
        ) from error


def _current_commit(name: str) -> str | None:
    """The commit that a hub data set is at now; None when offline, where only a cached one can be used."""
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE:
        return None
    return HfApi().dataset_info(name).sha


def _chosen(rows: Iterable[Mapping[str, object]], source: DataSet, where: str) -> Iterator[_Row]:
    """Rows without repetitions, of the share that is asked for."""
    seen: set[str] = set()
    for row in rows:
        if any(_value(row, column, where) != wanted for column, wanted in source.where.items()):
            continue
        text = _value(row, source.column, where)
        if not isinstance(text, str):
            raise ManifestError(
                f"the column {source.column!r} holds {type(text).__name__}, not text",
                context=where,
                hint="a dot reaches inside a column, as in prompt.text",
            )
        key = normalised(text)
        place = place_of(key)
        if not text.strip() or key in seen or not source.share[0] <= place < source.share[1]:
            continue
        seen.add(key)
        columns = (source.expected, source.group, source.completion)
        others = [_text_or_none(row, column, where) for column in columns]
        yield _Row(source.text.replace("{prompt}", text.strip()), *others)


def _text_or_none(row: Mapping[str, object], column: str | None, where: str) -> str | None:
    value = _value(row, column, where) if column else None
    if value is not None and not isinstance(value, str):
        raise ManifestError(f"the column {column!r} holds {type(value).__name__}, not text", context=where)
    return value


def _value(row: Mapping[str, object], column: str, where: str) -> object:
    """What a row holds in a column, or inside one. Raises ManifestError naming the nearest column."""
    if column in row:
        return row[column]
    value: object = row
    for part in column.split("."):
        if not isinstance(value, Mapping) or part not in value:
            known = list(value) if isinstance(value, Mapping) else []
            hint = did_you_mean(part, known, f"its columns are {', '.join(known)}" if known else "")
            raise ManifestError(f"has no column {column!r}", context=where, hint=hint)
        value = value[part]
    return value


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
