"""People's verdicts on completions: what is put before them, what they said, and how far they agree.

Whoever labels sees a prompt and an answer, and not which configuration wrote it: the same answer of several is asked
about once. Everybody gets another order, so that tiring and getting used to answers even out. What two people say is
compared by Cohen's kappa (1960, Educational and Psychological Measurement 20:37), what several say by Krippendorff's
alpha for nominal data (2011, Computing Krippendorff's alpha-reliability), which allows for gaps.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

from ppm.disk import append_file, disk_errors, replace_file
from ppm.errors import ManifestError, RequestError, did_you_mean
from ppm.jsonl import Label, Text, dump, normalised, numbered_labels, place_of, read_samples

__all__ = [
    "Agreed",
    "Item",
    "Session",
    "agreed",
    "cohens_kappa",
    "compare",
    "in_order",
    "items_of",
    "krippendorffs_alpha",
]

Key = tuple[str, str]
"""A prompt, normalised, and a completion."""


@dataclass(frozen=True)
class Item:
    """A prompt with an answer to it; `group` is what its prompt counts in, or else the prompt's id."""

    prompt: Text
    completion: str
    group: str

    @property
    def key(self) -> Key:
        """What it is known by."""
        return normalised(self.prompt), self.completion


def items_of(data: bytes, origin: str, suite: str | None = None) -> list[Item]:
    """What there is to label in the samples of an audit (`--samples`), each once.

    Raises ManifestError for what are no samples, RequestError where they have no suite of that name, or several and
    none is named.
    """
    samples = read_samples(data, origin)
    suites = dict.fromkeys(sample.suite for sample in samples)
    found: dict[Key, Item] = {}
    for sample in samples:
        for text in sample.completions if suite in (None, sample.suite) else ():
            item = Item(sample.prompt, text, sample.group or sample.id)
            found.setdefault(item.key, item)
    if suite is None and len(suites) > 1:
        raise RequestError("which suite?", context=origin, hint=f"name one with --suite: {', '.join(suites)}")
    if suite is not None and suite not in suites:
        hint = did_you_mean(suite, suites, f"it has {', '.join(suites)}")
        raise RequestError(f"there is no suite {suite!r}", context=origin, hint=hint)
    if not found:
        raise RequestError("there is nothing to label", context=origin, hint="its suite has no completions")
    return list(found.values())


def in_order(items: Sequence[Item], by: str) -> list[Item]:
    """The items in the order in which a person gets them."""
    return sorted(items, key=lambda item: place_of(json.dumps([by, *item.key])))


class Session:
    """One person's labels in a file, to which each new one is added at once, so that a session may end at any time.

    `left` are the items that have no label yet, in this person's order. Raises ManifestError where the file is no file
    of labels, DiskError where it can't be read.
    """

    def __init__(self, items: Sequence[Item], by: str, path: Path) -> None:
        self.by, self.path = by, path
        with disk_errors("can't be read", path):
            data = path.read_bytes() if path.exists() else b""
        self._lines = data.splitlines(keepends=True)
        if data and not data.endswith(b"\n"):  # an editor left it so, or a killed process
            *whole, last = self._lines
            self._lines = [*whole, *([last + b"\n"] if _is_json(last) else [])]
        labelled = [label for _, label in numbered_labels(b"".join(self._lines), str(path))] if self._lines else []
        others = {str(label.extra.get("by", "nobody in particular")) for label in labelled} - {by}
        if others:
            hint = "give everybody a file of their own; `ppm judges agree` compares them"
            raise ManifestError(f"has labels of {', '.join(sorted(others))}", context=str(path), hint=hint)
        if data != b"".join(self._lines):
            self._write()
        known = {(normalised(label.prompt), label.completion) for label in labelled}
        self.left = [item for item in in_order(items, by) if item.key not in known]
        self._said: list[Item] = []

    @property
    def count(self) -> int:
        """How many labels the file has."""
        return sum(bool(line.strip()) for line in self._lines)

    def say(self, label: str) -> None:
        """The label of the next item."""
        item = self.left.pop(0)
        line = dump([Label(item.prompt, item.completion, label, item.group, {"by": self.by})])
        with disk_errors("can't be written", self.path):
            append_file(self.path, line)
        self._lines.append(line)
        self._said.append(item)

    def skip(self) -> None:
        """The next item comes last."""
        self.left.append(self.left.pop(0))

    def undo(self) -> bool:
        """Take the last label of this session back; False where there is none."""
        if not self._said:
            return False
        self._lines.pop()
        self._write()
        self.left.insert(0, self._said.pop())
        return True

    def _write(self) -> None:
        with disk_errors("can't be written", self.path):
            replace_file(self.path, b"".join(self._lines))


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


@dataclass(frozen=True)
class Agreed:
    """What several people said of the same completions.

    `kappas` are Cohen's, for each two of them, by their names; None where they have nothing in common, or say the same
    of everything by chance alone. `alpha` is Krippendorff's. `rows` are those on which all who labelled them agree,
    `split` those on which they don't.
    """

    labels: int
    shared: int
    kappas: dict[tuple[str, str], float | None]
    alpha: float | None
    rows: tuple[Label, ...]
    split: tuple[tuple[Label, dict[str, str]], ...]


def compare(files: Mapping[str, Sequence[Label]]) -> Agreed:
    """Compare the labels of several people, by their names."""
    said: defaultdict[Key, dict[str, str]] = defaultdict(dict)
    first: dict[Key, Label] = {}
    for by, labels in files.items():
        for label in labels:
            key = normalised(label.prompt), label.completion
            said[key][by] = label.label
            first.setdefault(key, label)
    kappas = {}
    for one, other in combinations(files, 2):
        both = [(given[one], given[other]) for given in said.values() if one in given and other in given]
        kappas[one, other] = cohens_kappa(both)
    units = [list(given.values()) for given in said.values()]
    same = {key for key, given in said.items() if len(set(given.values())) == 1}
    return Agreed(
        labels=sum(map(len, units)),
        shared=sum(len(unit) > 1 for unit in units),
        kappas=kappas,
        alpha=krippendorffs_alpha(units),
        rows=tuple(label for key, label in first.items() if key in same),
        split=tuple((label, dict(said[key])) for key, label in first.items() if key not in same),
    )


def agreed(found: Agreed) -> bytes:
    """The labels that nobody contradicts, as `ppm judges measure` reads them."""
    return dump(replace(label, extra={}) for label in found.rows) if found.rows else b""


def cohens_kappa(pairs: Sequence[tuple[str, str]]) -> float | None:
    """The agreement of two people beyond what chance makes of their shares of labels; 1 is full, 0 is chance's."""
    if not pairs:
        return None
    n = len(pairs)
    one, other = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    chance = sum(one[label] * other[label] for label in one) / n**2
    return None if chance == 1 else (sum(a == b for a, b in pairs) / n - chance) / (1 - chance)


def krippendorffs_alpha(units: Sequence[Sequence[str]]) -> float | None:
    """1 - (observed disagreement) / (that of chance), over the labels of each unit; one label alone says nothing."""
    shared = [Counter(unit) for unit in units if len(unit) > 1]
    total: Counter[str] = sum(shared, Counter())
    n = sum(total.values())
    observed = sum(
        sum(count * (unit.total() - count) for count in unit.values()) / (unit.total() - 1) for unit in shared
    )
    chance = sum(count * (n - count) for count in total.values())
    return None if chance == 0 else 1 - (n - 1) * observed / chance
