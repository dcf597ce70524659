"""Interference with each specialist in a composition: strategies x risks, for two, three, six and twelve patches.

Specialists are built with several seeds; each seed's are composed with every strategy and tested on 1,000 prompts a
risk, unlike each other, whose templates no training, ranking or gate prompt has, and out of distribution. Whatever is
finished is kept in build/composition, so a run that was stopped goes on:

    python benchmarks/composition.py [--patches 3] [--strategies distilled,concat] [--seeds 3] [--split develop]
    python benchmarks/composition.py --patches privacy+medical-overclaims+kind-refusals --strategies distilled

One thread, so that seconds can be compared.
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from scipy.stats import t

import ppm
from ppm.bank import EMPTY, Bank
from ppm.base import identify, weights_digest
from ppm.composition.compose import make_context
from ppm.composition.recipe import run_strategy
from ppm.composition.strategy import read_strategy
from ppm.disk import replace_file
from ppm.evaluation.results import Configuration
from ppm.evaluation.runner import evaluate
from ppm.evaluation.suites import LoadedSuite, base_suites, package_suites
from ppm.lab.corpus import Split
from ppm.lab.prompts import UTILITY_PROMPTS, gate_prompts, utility_prompts
from ppm.names import canonical_digest
from ppm.package import Package, read_package, sha256, write_package
from ppm.resources import lab_data, lab_manifests
from ppm.runtime.loading import LoadedBase, load_base
from ppm.suite import DEFAULT_MARGIN
from ppm.training.build import build
from ppm.training.context import BuildOptions

PATCHES = (
    "toxicity",
    "gender-bias",
    "harm-refusal",
    "privacy",
    "medical-overclaims",
    "kind-refusals",
    "calm-replies",
    "no-gossip",
    "honest-finance",
    "plain-feedback",
    "formal-address",
    "casual-address",
)
"""In this order, of which the first few are composed. The last two want the opposite of each other."""
STRATEGIES = (
    "merged",
    "merged-ties",
    "merged-task-arithmetic",
    "concat",
    "isolated",
    "sequential",
    "sequential-replay",
    "stacked-replay",
    "joint",
    "distilled",
    "distilled-wide",
    "routed",
    "routed-several",
)
PROMPTS = 1000
OOD_PROMPTS = 300
"""Out of distribution there are no 1,000 of each risk that are unlike each other; nor are there 1,000 facts."""
OOD = " ood"
"""How the name of a suite ends whose prompts have templates that no other split has."""
PAPER = "arXiv 2511.08484"
PUBLISHED = {
    ("merged", 2): "99-100 % toxic",
    ("merged", 3): "99-100 % toxic",
    ("sequential-replay", 2): "43 -> 58 % toxic",
    ("sequential-replay", 3): "85 % toxic",
    ("stacked-replay", 3): "93 % toxic",
}
"""By the paper, on 7B models, by strategy and number of patches: what to compare in kind, not in size."""


@dataclass(frozen=True)
class Bench:
    """The lab's base with the prompts that compositions are tested on."""

    loaded: LoadedBase
    folder: Path
    split: Split
    prompts: int

    def specialist(self, name: str, seed: int) -> Package:
        """A patch built with a seed; the shipped one was built with seed 0."""
        if seed == 0:
            return next(
                p for path in (lab_data() / "packages").glob("*.ppm") if (p := read_package(path)).manifest.name == name
            )
        manifest = lab_manifests() / name
        made_of = [sha256(path.read_bytes()) for path in sorted(manifest.rglob("*")) if path.is_file()]
        key = canonical_digest([seed, made_of, sources_digest("training", "runtime", "evaluation")])
        folder = self.folder / "packages" / key[7:19]
        kept = next(folder.glob(f"{name.replace('-', '_')}-*.ppm"), None)
        if kept is None:
            package = build(manifest, cache=self.folder / "stages" / key[7:19], options=BuildOptions(seed))
            assert package is not None  # there is one process
            kept = write_package(package, folder)
        return read_package(kept)

    def suites(self, packages: Sequence[Package]) -> dict[str, LoadedSuite]:
        """Suites of fresh prompts: `risk`, `risk ood`, and the utility suites."""
        found = {}
        for suite in package_suites(packages):
            splits: dict[str, Split] = {suite.label: self.split, suite.label + OOD: "ood"}
            for label, split in splits.items():
                count = min(self.prompts, OOD_PROMPTS) if split == "ood" else self.prompts
                found[label] = _with_prompts(suite, gate_prompts(suite.suite.name, split, count))
        utility = utility_prompts(self.split, min(self.prompts, UTILITY_PROMPTS))
        for suite in base_suites(lab_data() / "base"):
            found[suite.label] = _with_prompts(suite, utility[suite.label])
        return found

    def rates(self, bank: Bank, suites: Mapping[str, LoadedSuite]) -> dict[str, float]:
        """Failure rates by suite; kept by what they depend on."""
        identity = bank.digest if bank else "base"
        path = self.folder / "rates" / sources_digest("evaluation", "runtime")[7:19] / f"{identity[:24]}.json"
        kept: dict[str, float] = json.loads(path.read_text()) if path.is_file() else {}
        missing = {label: suite for label, suite in suites.items() if suite.digest not in kept}
        if missing:
            found = evaluate(self.loaded, [Configuration("x", bank)], list(missing.values()), placement="before-bos")
            kept |= {digest: outcome.mean for (_, digest), outcome in found.items()}
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, json.dumps(kept).encode())
        return {label: kept[suite.digest] for label, suite in suites.items()}

    def composed(self, strategy: str, packages: Sequence[Package], seed: int) -> tuple[Bank, float]:
        """The composed bank and the seconds it took; a prefix is kept by what it depends on."""
        recipe = read_strategy(strategy)
        key = canonical_digest(
            [
                recipe.digest,
                [p.sha256 for p in packages],
                seed,
                sources_digest("composition", "training", "runtime", "evaluation"),
            ]
        )
        path = self.folder / "prefixes" / f"{key[7:31]}.safetensors"
        clock = path.with_suffix(".json")
        if path.is_file() and clock.is_file():
            return Bank.parse(path.read_bytes(), str(path)), json.loads(clock.read_text())
        started = time.perf_counter()
        context = make_context(packages, self.loaded, seed=seed)
        bank = run_strategy(recipe, context)
        seconds = time.perf_counter() - started
        if bank.arrangement == "joined":
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, bank.to_bytes())
            replace_file(clock, json.dumps(round(seconds, 1)).encode())
        return bank, seconds


def sources_digest(*names: str) -> str:
    """The digest of ppm's own modules and some of its packages, and what they build on: after a change all is anew."""
    root = Path(ppm.__file__).parent
    files = [*sorted(root.glob("*.py")), *(path for name in names for path in sorted((root / name).rglob("*.py")))]
    return canonical_digest([torch.__version__, transformers.__version__, *(sha256(f.read_bytes()) for f in files)])


def _with_prompts(suite: LoadedSuite, prompts: Sequence[Any]) -> LoadedSuite:
    identity = canonical_digest([suite.digest, [p.prompt for p in prompts]])
    return replace(suite, prompts=tuple(prompts), digest=identity, groups=None)


def interval(values: Sequence[float]) -> str:
    """The mean over the seeds, with Student's 95 % interval."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return f"{mean:+.3f}"
    half = float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    return f"{mean:+.3f} ± {half:.3f}"


def run(bench: Bench, names: Sequence[str], strategies: Sequence[str], seeds: int) -> dict[str, Any]:
    """Every figure for compositions of some patches: interference, by seed."""
    result: dict[str, Any] = {"patches": len(names), "seeds": seeds, "prompts": bench.prompts, "strategies": {}}
    for seed in range(seeds):
        packages = [bench.specialist(name, seed) for name in names]
        suites = bench.suites(packages)
        base = bench.rates(EMPTY, suites)
        best = {label: rate for label, rate in base.items() if suites[label].owner is None}
        for package in packages:
            own = {label: suite for label, suite in suites.items() if suite.owner == package.manifest.name}
            best |= bench.rates(package.bank, own)
        result.setdefault("specialists", []).append({label: best[label] for label in suites})
        result.setdefault("base", []).append(base)
        for strategy in strategies:
            bank, seconds = bench.composed(strategy, packages, seed)
            rates = bench.rates(bank, suites)
            row = result["strategies"].setdefault(
                strategy, {"tokens": bank.virtual_tokens, "seconds": [], "rates": [], "interference": []}
            )
            row["seconds"].append(seconds)
            row["rates"].append(rates)
            row["interference"].append({label: rates[label] - best[label] for label in suites})
            change, worst = max((change, label) for label, change in row["interference"][-1].items())
            print(f"  {len(names)}, seed {seed}, {strategy}: {seconds:.0f} s, worst {worst} {change:+.3f}", flush=True)
    return result


def table(result: Mapping[str, Any]) -> str:
    """Markdown: each strategy's interference with every specialist, and with the base on the utility suites."""
    labels = list(result["base"][0])
    inside = [label for label in labels if not label.endswith(OOD)]
    risks = [label for label in inside if label + OOD in labels]
    header = [
        "strategy",
        "tokens",
        "seconds",
        *inside,
        "worst seed",
        "worst out of distribution",
        "more than in",
        PAPER,
    ]
    rows = []
    for title, key in (("base", "base"), ("specialists (utility: base)", "specialists")):
        means = [f"{statistics.fmean(rates[label] for rates in result[key]):.3f}" for label in inside]
        rows.append([title, "", "", *means, *[""] * 4])
    for name, row in result["strategies"].items():
        found = row["interference"]
        mean = {label: statistics.fmean(rates[label] for rates in found) for label in labels}
        rows.append(
            [
                name,
                str(row["tokens"]),
                f"{statistics.fmean(row['seconds']):.0f}",
                *(interval([rates[label] for rates in found]) for label in inside),
                f"{max(rates[label] for rates in found for label in inside):+.3f}",
                f"{max(mean[risk + OOD] for risk in risks):+.3f}",
                f"{max(mean[risk + OOD] - mean[risk] for risk in risks):+.3f}",
                _beside_published(name, result["patches"], mean.get("toxicity", 0.0)),
            ]
        )
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows))


def _beside_published(name: str, patches: int, toxicity: float) -> str:
    """Whether what was published of a strategy is seen here too: it loses more than the gate's margin on toxicity."""
    published = PUBLISHED.get((name, patches))
    return f"{published}; {'agrees' if toxicity > DEFAULT_MARGIN else 'disagrees'}" if published else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patches", default="2,3,6", help="how many of the lab's 12, or names with + between")
    parser.add_argument("--strategies", default=",".join(STRATEGIES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--split", default="benchmark", choices=["develop", "benchmark"])
    parser.add_argument("--prompts", type=int, default=PROMPTS)
    parser.add_argument("--output", type=Path, default=Path("build/composition"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    base = identify(lab_data() / "base", name="lab")
    loaded = load_base(base)
    folder = options.output / weights_digest(base.folder).removeprefix("sha256:")[:12]
    bench = Bench(loaded, folder, options.split, options.prompts)
    tables = []
    for wanted in options.patches.split(","):
        names = PATCHES[: int(wanted)] if wanted.isdigit() else wanted.split("+")
        result = run(bench, names, options.strategies.split(","), options.seeds)
        bench.folder.mkdir(parents=True, exist_ok=True)
        (bench.folder / f"{options.split}-{wanted}.json").write_text(json.dumps(result, indent=1))
        tables.append(
            f"{wanted} patches, {options.seeds} seeds, {options.prompts:,} prompts a suite\n\n{table(result)}"
        )
    print("\n\n".join(tables))


if __name__ == "__main__":
    main()
