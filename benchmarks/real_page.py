"""Makes docs/real.md of the figures that real.py has kept.

    python benchmarks/real_page.py [--results benchmarks/results] [--output docs/real.md]

A cell is the failure rate over groups with its 95 % interval; in brackets where a set has too few groups to judge by.
readings.json says of the prompts of a set, by their groups, which of them two readings by a language model would have
declined and which answered.
Nothing is run, so the page can be made on any machine.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ppm.evaluation.correction import Confusion
from ppm.evaluation.figures import LEAST_GROUPS, PAGE_ALPHA, Figure, difference_of, rate_of

Kept = Mapping[str, Any]
"""What real.py keeps of a configuration."""
RISKS = {
    "harmfulness": "Harmful requests answered",
    "over-refusal": "Harmless requests refused",
    "incivility": "Uncivil answers to provocation",
    "toxicity": "Toxic continuations",
    "gender-bias": "A gender given to a person of unstated gender",
    "facts": "Facts answered wrongly",
    "cheating": "Graded work done for somebody",
    "privacy": "Private facts sought for somebody",
    "financial-advice": "Money put at risk on advice",
}
KINDS = ("base", "system", "specialist", "strategy", "lora")
ALWAYS_ON, TRIGGERED = ", always on", ", triggered"
DTYPE = "bfloat16"
"""What rows are answered in that don't say otherwise."""
LOSS, EXPLAINED = 0.02, 0.1
"""Between these losses, groups of prompts that were lost are named; where it is more, they are most of the set."""
SHOWN = 6
"""How many of these groups."""
READINGS = Path(__file__).parent / "readings.json"
SAME_PATCH = {"toxicity": "incivility"}
"""Risks that no patch of ours is for by name, and the one whose patch is tried on them."""
ERRORS = {("harmfulness", "refusal"): Confusion(132, 10, 98, 7)}
"""How a judge did on people's labels of other models' answers, of failures as the risk counts them (docs/judges.md).

In prompts, as several answers to one prompt are not independent: 280 answers to 142 of them and 197 to 105.
"""


def page(results: Path) -> str:
    """The whole page."""
    parts = [(Path(__file__).parent / "real.md").read_text(encoding="utf-8").rstrip()]
    for folder in sorted(path for path in results.iterdir() if path.is_dir()):
        rows = sorted(
            (_named(json.loads(path.read_text(encoding="utf-8"))) for path in folder.glob("*.json")),
            key=lambda row: (KINDS.index(row["kind"]), row["row"]),
        )
        _check_alike(rows, folder.name)
        if rows:
            parts.append(f"## {folder.name}\n\n{_base(rows)}")
    return "\n\n".join(parts) + "\n"


def _named(row: dict[str, Any]) -> dict[str, Any]:
    """A row, whose name says in which dtype it was answered where that is not the page's."""
    dtype = row.get("dtype", DTYPE)
    return row if dtype == DTYPE else {**row, "row": f"{row['row']} ({dtype})"}


def _check_alike(rows: Sequence[Kept], base: str) -> None:
    """Raises SystemExit where rows have other prompts or judges under one name."""
    known: dict[str, tuple[str, str]] = {}
    for row in rows:
        for name, one in row["sets"].items():
            digest, first = known.setdefault(name, (one["digest"], row["row"]))
            if one["digest"] != digest:
                raise SystemExit(
                    f"{base}: {name!r} is not the same set in {first!r} and in {row['row']!r}: run real.py again"
                )


def _base(rows: Sequence[Kept]) -> str:
    parts = []
    if any(row["kind"] == "strategy" for row in rows):
        parts.append(f"### What compositions lose\n\n{_lost(rows)}")
    for risk, title in RISKS.items():
        names = list(dict.fromkeys(n for row in rows for n, one in row["sets"].items() if one["risk"] == risk))
        if names:
            parts.append(f"### {title}\n\n{_tables(rows, names, risk)}")
    parts.append(f"### What it takes\n\n{_costs(rows)}")
    return "\n\n".join(parts)


def _tables(rows: Sequence[Kept], names: Sequence[str], risk: str) -> str:
    """A table a judge, one row a configuration, one column a set; and one of rates corrected for the judge's errors."""
    judges: dict[int, list[str]] = {}
    for name in names:
        for number, judge in enumerate(_judges(rows, name)):
            judges.setdefault(number, []).append(judge)
    parts = []
    for number, found in sorted(judges.items()):
        columns = {name: judge for name in names for judge in _judges(rows, name)[number : number + 1]}
        parts.append(f"By `{'`, `'.join(dict.fromkeys(found))}`:\n\n{_table(rows, columns)}")
        errors = ERRORS.get((risk, found[0]))
        if errors is not None:
            parts.append(f"The same, corrected for the judge's errors:\n\n{_table(rows, columns, errors)}")
    parts += [_read(rows, name) for name in names if name in _readings()]
    return "\n\n".join(parts)


@cache
def _readings() -> dict[str, Any]:
    """What readings say of a set's prompts, by its name: the groups of either kind, and the set's digest."""
    return dict(json.loads(READINGS.read_text(encoding="utf-8")))


def _read(rows: Sequence[Kept], name: str) -> str:
    """A table of one set, split by what readings say should be done with its prompts."""
    known, judge = _readings()[name], _judges(rows, name)[0]
    kinds = {kind: set(groups) for kind, groups in known.items() if kind in ("decline", "answer")}
    lines = []
    for row in (row for row in rows if name in row["sets"]):
        if row["sets"][name]["digest"] != known["digest"]:
            raise SystemExit(f"{READINGS.name} is about other prompts of {name!r} than {row['row']!r}")
        values, groups = _values(row, name, judge), _groups(row, name)
        assert values is not None
        parts = ({i: value for i, value in values.items() if groups[i] in own} for own in kinds.values())
        lines.append([row["row"], *(str(rate_of(part, {i: groups[i] for i in part})) for part in parts)])
    header = ["", *(f"of those to {kind} ({len(own)})" for kind, own in kinds.items())]
    return f"{name.capitalize()}, split by what two readings agree on, by `{judge}`:\n\n{_markdown(header, lines)}"


def _table(rows: Sequence[Kept], columns: Mapping[str, str], errors: Confusion | None = None) -> str:
    header = ["", *(f"{name} ({_size(rows, name)})" for name in columns)]
    lines = []
    for row in rows:
        cells = [_cell(row, name, judge, errors) for name, judge in columns.items()]
        if any(cells):
            lines.append([row["row"], *cells])
    return _markdown(header, lines)


def _markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *lines))


def _judges(rows: Sequence[Kept], name: str) -> list[str]:
    return list(dict.fromkeys(judge for row in rows for judge in row["sets"].get(name, {}).get("failures", ())))


def _size(rows: Sequence[Kept], name: str) -> str:
    one = next(row["sets"][name] for row in rows if name in row["sets"])
    prompts, groups = len(one["groups"]), len(set(one["groups"]))
    return f"{prompts}" if prompts == groups else f"{prompts} in {groups} groups"


def _values(row: Kept, name: str, judge: str) -> dict[str, float] | None:
    found = row["sets"].get(name, {}).get("failures", {}).get(judge)
    return {str(i): float(bit) for i, bit in enumerate(found)} if found is not None else None


def _groups(row: Kept, name: str) -> dict[str, str]:
    return {str(i): group for i, group in enumerate(row["sets"][name]["groups"])}


def _cell(row: Kept, name: str, judge: str, errors: Confusion | None) -> str:
    values = _values(row, name, judge)
    if values is None:
        return ""
    observed = rate_of(values, _groups(row, name))
    if errors is None:
        return str(observed)
    least, most = 1 - errors.specificity(PAGE_ALPHA).value, errors.sensitivity(PAGE_ALPHA).value
    known = least <= observed.interval.value <= most
    return str(rate_of(values, _groups(row, name), errors=errors)) if known else "beyond the judge"


@dataclass(frozen=True)
class Loss:
    """How much more a composition fails on a set than the specialist that the set is about, or the base."""

    name: str
    against: str
    figure: Figure
    groups: tuple[str, ...]

    def __str__(self) -> str:
        found = self.figure.interval
        return f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"

    @property
    def value(self) -> float:
        """The point estimate."""
        return self.figure.interval.value


def _lost(rows: Sequence[Kept]) -> str:
    """What each composition loses by the first judge of each set, against patches of its own form, and the base."""
    found = {row["row"]: _losses(rows, row) for row in rows if row["kind"] == "strategy"}
    names = list(dict.fromkeys(loss.name for losses in found.values() for loss in losses))
    lines, remarks = [], []
    for row, losses in sorted(found.items(), key=lambda item: max((loss.value for loss in item[1]), default=1.0)):
        cells = {loss.name: str(loss) for loss in losses}
        lines.append([row, *(cells.get(name, "") for name in names)])
        for loss in losses:
            if LOSS < loss.value <= EXPLAINED:
                more = f" and {len(loss.groups) - SHOWN} more" if len(loss.groups) > SHOWN else ""
                remarks.append(f"- {row}, on {loss.name}: {', '.join(loss.groups[:SHOWN])}{more}")
    parts = [
        "Against the patch that a set is about, or the base where no patch is for it: against patches behind their "
        "triggers where the composition has triggers, else against patches that are always on. Of sets with "
        f"{LEAST_GROUPS} groups or more. The best stands first.",
        _markdown(["", *names], lines),
    ]
    if remarks:
        parts.append(
            f"Groups of prompts that were lost, where the loss is above {LOSS} and at most {EXPLAINED}:\n\n"
            + "\n".join(remarks)
        )
    return "\n\n".join(parts)


def _losses(rows: Sequence[Kept], row: Kept) -> list[Loss]:
    losses, suffix = [], TRIGGERED if TRIGGERED in row["row"] else ALWAYS_ON
    for name, one in row["sets"].items():
        judge = next(iter(one["failures"]))
        other = _of_risk(rows, SAME_PATCH.get(one["risk"], one["risk"]), suffix)
        values, theirs = _values(row, name, judge), _values(other, name, judge) if other else None
        if other is None or values is None or theirs is None:
            continue
        groups = _groups(row, name)
        figure = difference_of(values, theirs, groups)
        lost = [groups[i] for i in values if values[i] > theirs[i]]
        if figure.judged:
            losses.append(Loss(name, other["row"], figure, tuple(dict.fromkeys(lost))))
    return losses


def _of_risk(rows: Sequence[Kept], risk: str, suffix: str) -> Kept | None:
    """The patch of a risk, if it was run; the base for what no patch is for."""
    owners = {one["owner"] for row in rows for one in row["sets"].values() if one["risk"] == risk and one["owner"]}
    if not owners:
        return next((row for row in rows if row["kind"] == "base"), None)
    return next((row for row in rows if row["patch"] in owners and row["row"].endswith(suffix)), None)


def _costs(rows: Sequence[Kept]) -> str:
    header = ["", "virtual tokens", "seconds to make", "distinct answers"]
    lines = []
    for row in rows:
        sets = row["sets"].values()
        answers = sum(len(one["groups"]) for one in sets)
        known = [one["distinct"] for one in sets if "distinct" in one]
        distinct = f"{sum(known) / answers:.2f}" if len(known) == len(sets) and answers else ""
        made = f"{row['made in seconds']:.0f}" if row["made in seconds"] else ""
        lines.append([row["row"], str(row["tokens"] or ""), made, distinct])
    return _markdown(header, lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--output", type=Path, default=Path("docs/real.md"))
    options = parser.parse_args()
    options.output.write_text(page(options.results), encoding="utf-8")


if __name__ == "__main__":
    main()
