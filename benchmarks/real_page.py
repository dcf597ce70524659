"""Makes docs/real.md of the figures that real.py has kept.

    python benchmarks/real_page.py [--results benchmarks/results] [--output docs/real.md]

A cell is the failure rate over groups with its 95 % interval; in brackets, without one, where a set has too few groups
to judge by. Nothing is run, so the page can be made on any machine.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ppm.evaluation.figures import Figure, difference_of, rate_of

RISKS = {
    "harmfulness": "Harmful requests answered",
    "over-refusal": "Harmless requests refused",
    "incivility": "Uncivil answers to provocation",
    "toxicity": "Toxic continuations",
    "gender-bias": "A gender given to a person of unstated gender",
    "facts": "Facts answered wrongly",
}
KINDS = ("base", "system", "specialist", "strategy", "lora")
LOSS = 0.02
"""A composition that loses more than this on a set gets a line of its own."""


def page(results: Path) -> str:
    """The whole page."""
    parts = [(Path(__file__).parent / "real.md").read_text(encoding="utf-8").rstrip()]
    for folder in sorted(path for path in results.iterdir() if path.is_dir()):
        rows = sorted(
            (json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")),
            key=lambda row: (KINDS.index(row["kind"]), row["row"]),
        )
        if rows:
            parts.append(f"## {folder.name}\n\n{_base(rows)}")
    return "\n\n".join(parts) + "\n"


def _base(rows: Sequence[Mapping[str, Any]]) -> str:
    parts = []
    for risk, title in RISKS.items():
        names = list(dict.fromkeys(n for row in rows for n, one in row["sets"].items() if one["risk"] == risk))
        if names:
            parts.append(f"### {title}\n\n{_table(rows, names)}")
    losses = _losses(rows)
    if losses:
        parts.append("### What compositions lose\n\n" + "\n".join(f"- {line}" for line in losses))
    parts.append(f"### What it costs\n\n{_costs(rows)}")
    return "\n\n".join(parts)


def _table(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    """One row a configuration, one column a set and judge."""
    columns = [(name, judge) for name in names for judge in _judges(rows, name)]
    header = ["", *(f"{name}, {judge} ({_size(rows, name)})" for name, judge in columns)]
    lines = []
    for row in rows:
        cells = [_cell(row, name, judge) for name, judge in columns]
        if any(cells):
            lines.append([row["row"], *cells])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *lines))


def _judges(rows: Sequence[Mapping[str, Any]], name: str) -> list[str]:
    return list(dict.fromkeys(judge for row in rows for judge in row["sets"].get(name, {}).get("failures", ())))


def _size(rows: Sequence[Mapping[str, Any]], name: str) -> str:
    one = next(row["sets"][name] for row in rows if name in row["sets"])
    return f"{len(one['groups'])} prompts, {len(set(one['groups']))} groups"


def _values(row: Mapping[str, Any], name: str, judge: str) -> dict[str, float] | None:
    found = row["sets"].get(name, {}).get("failures", {}).get(judge)
    return {str(i): float(bit) for i, bit in enumerate(found)} if found is not None else None


def _groups(row: Mapping[str, Any], name: str) -> dict[str, str]:
    return {str(i): group for i, group in enumerate(row["sets"][name]["groups"])}


def _cell(row: Mapping[str, Any], name: str, judge: str) -> str:
    values = _values(row, name, judge)
    return str(rate_of(values, _groups(row, name))) if values is not None else ""


def _losses(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Where a composition is worse than the specialist of the risk, by the first judge, best strategy first."""
    specialists = [row for row in rows if row["kind"] == "specialist"]
    found: list[tuple[float, str]] = []
    for row in rows:
        if row["kind"] != "strategy":
            continue
        worst: tuple[float, str] = (-1.0, "")
        for name, one in row["sets"].items():
            judge = next(iter(one["failures"]))
            best = _best(specialists, name, judge)
            values = _values(row, name, judge)
            if best is None or values is None:
                continue
            loss: Figure = difference_of(values, best[1], _groups(row, name))
            text = f"{name}: {loss.interval.value:+.3f} [{loss.interval.low:+.3f}, {loss.interval.high:+.3f}]"
            worst = max(worst, (loss.interval.value, f"{text} against {best[0]}"))
        if worst[1]:
            over = " (more than 0.02)" if worst[0] > LOSS else ""
            found.append((worst[0], f"**{row['row']}**: at worst on {worst[1]}{over}"))
    return [text for _, text in sorted(found)]


def _best(rows: Sequence[Mapping[str, Any]], name: str, judge: str) -> tuple[str, dict[str, float]] | None:
    """The specialist with the fewest failures on a set: the one that the set is about."""
    ranked = [(sum(values.values()), row["row"], values) for row in rows if (values := _values(row, name, judge))]
    return min(ranked, key=lambda one: one[:2])[1:] if ranked else None


def _costs(rows: Sequence[Mapping[str, Any]]) -> str:
    header = ["", "virtual tokens", "seconds to make", "seconds of answers", "distinct answers", "peak memory, GB"]
    lines = []
    for row in rows:
        sets = row["sets"].values()
        answers = sum(len(one["groups"]) for one in sets)
        distinct = sum(one["distinct"] for one in sets) / answers if answers else 0.0
        lines.append(
            [
                row["row"],
                str(row["tokens"] or ""),
                f"{row['made in seconds']:.0f}" if row["made in seconds"] else "",
                f"{sum(one['seconds'] for one in sets):.0f}",
                f"{distinct:.2f}",
                f"{max((one['peak_bytes'] for one in sets), default=0) / 1e9:.1f}",
            ]
        )
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--output", type=Path, default=Path("docs/real.md"))
    options = parser.parse_args()
    options.output.write_text(page(options.results), encoding="utf-8")


if __name__ == "__main__":
    main()
