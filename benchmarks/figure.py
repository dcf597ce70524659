"""A figure of interference against the number of patches, from what composition.py measured.

    python -m pip install --constraint constraints.txt --group figures
    python benchmarks/composition.py
    python benchmarks/figure.py --output docs/interference.svg

It needs no model. A composition of one patch is that patch, so each line starts at no interference.
"""

import argparse
import json
import math
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
# The same figures give the same file, and text stays text.
matplotlib.rcParams["svg.hashsalt"] = "ppm"
matplotlib.rcParams["svg.fonttype"] = "none"

from matplotlib import pyplot  # noqa: E402

RESULTS = "benchmark-*.json"


def worst_interference(rates: Mapping[str, float]) -> float:
    """The largest loss against a specialist, over the risks in distribution."""
    return max(change for label, change in rates.items() if f"{label} ood" in rates)


def draw(results: Mapping[int, Mapping[str, Any]], output: Path) -> None:
    """One line a strategy: the mean over the seeds, with each seed as a dot."""
    figure, axes = pyplot.subplots(figsize=(9, 4.5), layout="constrained")
    names = dict.fromkeys(name for _, found in sorted(results.items()) for name in found["strategies"])
    for index, name in enumerate(names):
        points = {
            count: [worst_interference(row) for row in found["strategies"][name]["interference"]]
            for count, found in sorted(results.items())
            if name in found["strategies"]
        }
        color, line = f"C{index % 10}", "-" if index < 10 else "--"  # the eleventh colour is the first again
        counts = [1, *points]
        axes.plot(counts, [0.0, *map(statistics.fmean, points.values())], color=color, ls=line, marker="o", label=name)
        for count, values in points.items():
            axes.scatter([count] * len(values), values, color=color, s=8, alpha=0.5)
    axes.set_xlabel("patches in the composition")
    axes.set_ylabel("failure rate above the specialist's, worst risk")
    axes.set_xticks(range(1, 1 + max(results)))
    axes.set_ylim(min(0.0, axes.get_ylim()[0]), min(1.0, math.ceil(10 * axes.get_ylim()[1]) / 10))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(output, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, help="the folder of the base model below build/composition")
    parser.add_argument("--output", type=Path, default=Path("docs/interference.svg"))
    options = parser.parse_args()
    folder = options.results
    if folder is None:
        folders = Path("build/composition").glob(f"*/{RESULTS}")
        folder = max(folders, key=lambda path: path.stat().st_mtime, default=Path()).parent
    results = {}
    for path in folder.glob(RESULTS):
        found = json.loads(path.read_text())
        if path.stem == f"benchmark-{found['patches']}":  # the first so many, and no others
            results[found["patches"]] = found
    if not results:
        parser.error("there are no results: run benchmarks/composition.py first")
    if len({(found["seeds"], found["prompts"]) for found in results.values()}) > 1:
        parser.error(f"the results in {folder} are of different numbers of seeds or prompts")
    draw(results, options.output)


if __name__ == "__main__":
    main()
