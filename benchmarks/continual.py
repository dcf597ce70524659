"""Continual learning on the lab: patches that arrive one after the other, by classic methods and by ppm's.

    python benchmarks/continual.py --tune            # first: chooses the classic methods' settings, on another split
    python benchmarks/continual.py [--orders 5] [--seeds 0,1,2] [--methods routed,lwf]
    python benchmarks/continual.py --table

Each run begins with the first patch and gets the others in turn, in some order. After each patch, what there is by then
is tested on every risk so far and on the next one. A run that is finished is kept in benchmarks/continual_results and
not done again, so processes for other seeds can run side by side. One thread each.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from itertools import islice, permutations, product
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from composition import OOD, PATCHES, Bench, interval
from continual_methods import Settings, stages

from ppm.audit.continual import Row, continual
from ppm.bank import EMPTY, Bank
from ppm.base import identify, weights_digest
from ppm.disk import replace_file
from ppm.evaluation.suites import LoadedSuite
from ppm.names import canonical_digest
from ppm.package import Package
from ppm.resources import lab_data
from ppm.runtime.loading import load_base

RISKS = PATCHES[:3]
RESULTS = Path(__file__).parent / "continual_results"
TITLES = {
    "sequential": "fine-tuning in sequence",
    "replay": "experience replay (Chaudhry et al. 2019)",
    "derpp": "DER++ (Buzzega et al. 2020)",
    "lwf": "LwF (Li & Hoiem 2016)",
    "progressive": "progressive prompts (Razdaibiedina et al. 2023), without the task's name",
    "pool": "a pool of prompts, one for each (after Wang et al. 2022)",
    "continued": "ppm, continued",
    "routed": "ppm, routed",
}
WEIGHED = ("derpp", "lwf")
"""Methods with a weight for what holds them to what they have learned."""
TRIALS = {
    name: [
        Settings(steps, rate, weight)
        for steps, rate, weight in product(
            *(((150,), (1e-2, 2e-2), (0.5, 2.0)) if name in WEIGHED else ((100, 200), (1e-2, 2e-2), (1.0,)))
        )
    ]
    for name in TITLES
    if name not in ("continued", "routed")
}
"""Four for each classic method."""
FIGURES = ("average_accuracy", "forgetting", "intransigence", "backward_transfer", "forward_transfer")


def tested(bench: Bench, packages: Sequence[Package]) -> tuple[dict[str, LoadedSuite], dict[str, LoadedSuite]]:
    """The suites of the risks, by patch, and those of benign prompts."""
    suites = {label: suite for label, suite in bench.suites(packages).items() if not label.endswith(OOD)}
    owned = {suite.owner: suite for suite in suites.values() if suite.owner is not None}
    return owned, {label: suite for label, suite in suites.items() if suite.owner is None}


def scores(bench: Bench, bank: Bank, suites: Mapping[str, LoadedSuite]) -> dict[str, float]:
    """1 - failure rate on each suite, by the same names."""
    found = bench.rates(bank, {suite.label: suite for suite in suites.values()})
    return {name: 1 - found[suite.label] for name, suite in suites.items()}


def run(method: str, bench: Bench, order: Sequence[str], settings: Settings, seed: int) -> dict[str, Any]:
    """One run: the scores after each patch, on the risks so far, and what its end does to benign answers."""
    packages = [bench.specialist(name, seed) for name in order]
    owned, utility = tested(bench, packages)
    base = scores(bench, EMPTY, owned)
    rows: list[Row] = []
    seconds, before, bank = 0.0, dict[str, float](), EMPTY
    started = time.perf_counter()
    for count, bank in enumerate(stages(method, bench.loaded, packages, settings, seed), 1):
        seconds += time.perf_counter() - started
        found = scores(bench, bank, {risk: owned[risk] for risk in order[: count + 1]})
        rows.append(Row({risk: found[risk] for risk in order[:count]}, before, base))
        before = {risk: found[risk] for risk in order[count : count + 1]}
        started = time.perf_counter()
    return {
        "learned": [dict(row.learned) for row in rows],
        "figures": continual(rows),
        "utility": scores(bench, bank, utility),
        "tokens": bank.virtual_tokens,
        "seconds": round(seconds, 1),
    }


def bound(bench: Bench, seed: int) -> dict[str, Any]:
    """What training on the pairs of all patches at once scores, by risk."""
    packages = [bench.specialist(name, seed) for name in RISKS]
    owned, utility = tested(bench, packages)
    bank, seconds = bench.composed("joint", packages, seed)
    return {
        "scores": scores(bench, bank, owned),
        "utility": scores(bench, bank, utility),
        "tokens": bank.virtual_tokens,
        "seconds": round(seconds, 1),
    }


def kept(name: str, conditions: Mapping[str, Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a finished run found under the same conditions, or what it finds now."""
    path = RESULTS / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    if found.get("conditions") != dict(conditions):
        found = {"conditions": dict(conditions), **make()}
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, (json.dumps(found, indent=1) + "\n").encode())
        print(f"  {name}: {found.get('figures') or found.get('scores')}, {found['seconds']} s", flush=True)
    return found


def one(method: str, bench: Bench, order: Sequence[str], settings: Settings, seed: int, name: str) -> dict[str, Any]:
    """A run, kept under a name."""
    conditions = {"order": list(order), **conditions_of(bench, seed)}
    conditions |= {"settings": asdict(settings)} if method in TRIALS else {}
    return kept(name, conditions, lambda: run(method, bench, order, settings, seed))


def conditions_of(bench: Bench, seed: int) -> dict[str, Any]:
    """What all runs with a seed depend on, but for ppm's own code."""
    made = [weights_digest(lab_data() / "base"), *(bench.specialist(name, seed).sha256 for name in RISKS)]
    return {"seed": seed, "split": bench.split, "prompts": bench.prompts, "made of": canonical_digest(made)}


def chosen(bench: Bench) -> dict[str, Settings]:
    """Of each classic method's trials the one with the best scores at the end, on the split for choosing."""
    best = {}
    for method, trials in TRIALS.items():
        found = [
            one(method, bench, RISKS, settings, 0, f"trials/{method}-{number}")
            for number, settings in enumerate(trials)
        ]
        accuracy = [trial["figures"]["average_accuracy"] for trial in found]
        best[method] = trials[accuracy.index(max(accuracy))]
    return best


def table(orders: Sequence[Sequence[str]], seeds: Sequence[int]) -> str:
    """Markdown: means over orders and seeds, with Student's 95 % interval over the seeds' means.

    Raises ValueError where what is kept was found under different conditions.
    """
    header = ["method", "tokens", "seconds", *(figure.replace("_", " ") for figure in FIGURES), "helpful", "facts"]
    joint = {seed: _read(f"joint-{seed}") for seed in seeds}
    accuracy = _shares([statistics.fmean(joint[seed]["scores"].values()) for seed in seeds])
    benign = [_shares([joint[seed]["utility"][label] for seed in seeds]) for label in ("helpful", "facts")]
    rows = [["joint, all at once", *_cells([[joint[seed]] for seed in seeds]), accuracy, *[""] * 4, *benign]]
    for method, title in TITLES.items():
        found = [
            [_read(f"{method}-{seed}-{place}", joint[seed]["conditions"]) for place in range(len(orders))]
            for seed in seeds
        ]
        figures = [
            [{**one["figures"], "intransigence": intransigence(one, joint[seed])} for one in own]
            for seed, own in zip(seeds, found, strict=True)
        ]
        means = {figure: [statistics.fmean(one[figure] for one in own) for own in figures] for figure in FIGURES}
        benign = [
            _shares([statistics.fmean(one["utility"][label] for one in own) for own in found])
            for label in ("helpful", "facts")
        ]
        accuracy, *others = means.values()
        rows.append([title, *_cells(found), _shares(accuracy), *map(interval, others), *benign])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows))


def _shares(values: Sequence[float]) -> str:
    """As `interval`, of what is never below 0."""
    return interval(values).lstrip("+")


def _read(name: str, conditions: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """A finished run, under these conditions among others."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    if any(found["conditions"][key] != value for key, value in conditions.items()):
        raise ValueError(f"{name} was found under other conditions: run it again")
    return found


def intransigence(found: Mapping[str, Any], joint: Mapping[str, Any]) -> float:
    """How much less a risk scores right after it was learned than in joint training: the mean over risks but the first.

    Chaudhry et al. 2018, section 3; the bound here has learned all risks, also those that come later.
    """
    order = found["conditions"]["order"]
    return statistics.fmean(
        joint["scores"][risk] - found["learned"][count][risk] for count, risk in enumerate(order) if count
    )


def _cells(found: Sequence[Sequence[Mapping[str, Any]]]) -> list[str]:
    """Tokens at the end, and seconds."""
    every = [one for own in found for one in own]
    return [str(every[0]["tokens"]), f"{statistics.fmean(one['seconds'] for one in every):.0f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=5)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--methods", default=",".join(TITLES))
    parser.add_argument("--prompts", type=int, default=250)
    parser.add_argument("--tune", action="store_true", help="only the trials of the classic methods' settings")
    parser.add_argument("--table", action="store_true", help="only print what is kept, as a table")
    parser.add_argument("--build", type=Path, default=Path("build/composition"), help="where patches are kept")
    options = parser.parse_args()
    torch.set_num_threads(1)
    orders = list(islice(permutations(RISKS), options.orders))
    seeds = [int(seed) for seed in options.seeds.split(",")]
    if options.table:
        print(table(orders, seeds))
        return
    base = identify(lab_data() / "base", name="lab")
    folder = options.build / weights_digest(base.folder).removeprefix("sha256:")[:12]
    loaded = load_base(base)
    settings = chosen(Bench(loaded, folder, "develop", options.prompts))
    bench = Bench(loaded, folder, "benchmark", options.prompts)
    for seed in () if options.tune else seeds:
        kept(f"joint-{seed}", conditions_of(bench, seed), lambda seed=seed: bound(bench, seed))
        for method in options.methods.split(","):
            for place, order in enumerate(orders):
                one(method, bench, order, settings.get(method, Settings()), seed, f"{method}-{seed}-{place}")


if __name__ == "__main__":
    main()
