"""Writes docs/paper.md and its plots from what paper.py measured: each figure beside the published one.

The text is in paper.md.jinja; this module knows nothing of how the figures were measured.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from jinja2 import Template

matplotlib.use("svg")
# The same figures give the same file, and text stays text.
matplotlib.rcParams["svg.hashsalt"] = "ppm"
matplotlib.rcParams["svg.fonttype"] = "none"

from matplotlib import pyplot  # noqa: E402
from scipy.stats import t  # noqa: E402

from ppm.evaluation.statistics import paired_interval, rate_interval  # noqa: E402

__all__ = ["write_page"]

Result = Mapping[str, Any]
Found = Sequence[tuple[Any, Result]]
Section = dict[str, str]
"""What the page says of one experiment: tables, figures and verdicts."""

PUBLISHED = {
    "toxicity": "toxic rate 99.2 → 46.7 % on Llama-2-7B (teacher 12.5), 98.3 → 35.8 on Llama-3-8B, 96.7 → 16.7 on Aya",
    "gender-bias": "GAS 0.29 → 0.00 on Llama-2-7B",
    "harm-refusal": "attack success 68-70 → 0 % on Gemma-9B, Mistral-7B and Llama-3-8B",
}


def write_page(
    folder: Path, results: Mapping[str, Found], latency: Mapping[str, float], prompts: int, seeds: int
) -> None:
    """Write `paper.md`, `paper-main.svg`, `paper-length.svg` and `paper-cost.svg` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    page = Template(Path(__file__).with_name("paper.md.jinja").read_text(encoding="utf-8"), keep_trailing_newline=True)
    text = page.render(
        prompts=prompts,
        seeds=seeds,
        main=_main(results["main"]),
        ood=_ood(results["main"]),
        stages=_stages(results["stages"]),
        lora=_lora(results["lora"], latency),
        length=_length(results["length"]),
        beta=_beta(results["beta"]),
        init=_init(results["init"]),
        family=_family(results["family"]),
        utility=_utility(results["main"]),
        cost=_cost(results["lora"]),
    )
    _plot_main(results["main"], folder / "paper-main.svg")
    _plot_length(results["length"], folder / "paper-length.svg")
    _plot_cost(results["lora"], folder / "paper-cost.svg")
    (folder / "paper.md").write_text(text, encoding="utf-8")


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)) + "\n"


def _verdict(agrees: bool) -> str:
    return f"**{'agrees' if agrees else 'disagrees'}**"


def _rate(values: Sequence[float]) -> str:
    found = rate_interval(values, 0.025)
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _over_seeds(values: Sequence[float], digits: int = 3) -> str:
    mean = statistics.fmean(values)
    if len(values) < 2:
        return f"{mean:.{digits}f}"
    half = float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    return f"{mean:.{digits}f} ± {half:.{digits}f}"


def _difference(first: Sequence[float], second: Sequence[float]) -> str:
    found = paired_interval(first, second, 0.025)
    return f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


def _mean(result: Result, key: str) -> float:
    return statistics.fmean(result[key])


def _perplexity(result: Result) -> float:
    return math.exp(statistics.fmean(result["perplexity"]))


def _with_interval(result: Result) -> str:
    """Perplexity, with the interval that Student's t gives the mean loss of an answer."""
    losses = result["perplexity"]
    spread = float(t.ppf(0.975, len(losses) - 1)) * statistics.stdev(losses) / math.sqrt(len(losses))
    low, high = (math.exp(statistics.fmean(losses) + sign * spread) for sign in (-1, 1))
    return f"{_perplexity(result):.2f} [{low:.2f}, {high:.2f}]"


def _by_patch(found: Found) -> dict[str, tuple[dict[str, Result], list[Result]]]:
    """For each patch its references by name, and its seeds."""
    made: dict[str, tuple[dict[str, Result], list[Result]]] = {}
    for job, result in found:
        references, seeds = made.setdefault(job.patch, ({}, []))
        if hasattr(job, "what"):
            references[job.what] = result
        else:
            seeds.append(result)
    return made


def _main(found: Found) -> Section:
    rows = []
    for patch, (references, seeds) in _by_patch(found).items():
        base, prompt = _mean(references["base"], "failure"), _mean(references["fixed prompt"], "failure")
        worst = max(_mean(seed, "failure") for seed in seeds)
        rows.append(
            [
                patch,
                _rate(references["base"]["failure"]),
                _rate(references["fixed prompt"]["failure"]),
                _over_seeds([_mean(seed, "failure") for seed in seeds]),
                _rate(references["teacher"]["failure"]),
                PUBLISHED[patch],
                _verdict(worst < base / 2 and worst < prompt),
            ]
        )
        if "gld" in references["base"]:
            rows.append(
                [
                    f"{patch}, GLD",
                    *(f"{_mean(references[kind], 'gld'):.3f}" for kind in ("base", "fixed prompt")),
                    _over_seeds([_mean(seed, "gld") for seed in seeds]),
                    f"{_mean(references['teacher'], 'gld'):.3f}",
                    "0.67 → 0.36 on Llama-2-7B, 0.45 → 0.14 on Vicuna-13B",
                    _verdict(max(_mean(seed, "gld") for seed in seeds) < _mean(references["base"], "gld")),
                ]
            )
    header = ["risk", "base", "fixed prompt", "patch", "teacher", "published", "verdict"]
    texts = ", ".join(f"“{r['fixed prompt']['text']}” ({patch})" for patch, (r, _) in _by_patch(found).items())
    return {"table": _table(header, rows), "texts": texts}


def _ood(found: Found) -> Section:
    rows = []
    for patch, (references, seeds) in _by_patch(found).items():
        base, worst = _mean(references["base"], "ood"), max(_mean(seed, "ood") for seed in seeds)
        rows.append(
            [
                patch,
                _rate(references["base"]["ood"]),
                _over_seeds([_mean(seed, "ood") for seed in seeds]),
                _rate(references["teacher"]["ood"]),
                _verdict(worst < base / 2),
            ]
        )
    return {"table": _table(["risk", "base", "patch", "teacher", "verdict"], rows)}


def _stages(found: Found) -> Section:
    both, sft, dpo = (result for _, result in found)
    rows = [
        [
            name,
            _rate(result["failure"]),
            _with_interval(result),
            _rate(result["helpful"]),
            _rate(result["facts"]),
            f"{result['seconds']:.0f} s",
        ]
        for name, result in (("SFT and DPO", both), ("SFT alone", sft), ("DPO alone", dpo))
    ]
    less_safe = _mean(sft, "failure") > _mean(both, "failure") + 0.05
    explodes = _perplexity(dpo) > 2 * _perplexity(both)
    header = ["stages", "failures", "perplexity", "failures on helpful", "failures on facts", "training"]
    return {
        "table": _table(header, rows),
        "sft": _verdict(less_safe),
        "dpo": _verdict(explodes and _mean(dpo, "failure") < 0.5),
    }


def _name(job: Any) -> str:
    if job.how == "lora":
        return f"LoRA r{job.rank}, all linear layers"
    return {"patch": "patch", "prompt tuning": "PEFT prompt tuning", "fine-tune": "full fine-tune"}[job.how]


def _lora(found: Found, latency: Mapping[str, float]) -> Section:
    served = {"patch": "patch", "prompt tuning": "PEFT prompt tuning"}
    rows = []
    for job, result in found:
        key = f"LoRA r{job.rank}" if job.how == "lora" else served.get(job.how, "base")
        rows.append(
            [
                _name(job),
                f"{result['parameters']:,}",
                f"{result['seconds']:.0f} s",
                f"{100 * (latency[key] / latency['base'] - 1):+.1f} %",
                f"{result['bytes'] / 1024:,.1f} KiB",
                _rate(result["failure"]),
                _rate(result["ood"]),
                _rate(result["helpful"]),
                _rate(result["facts"]),
            ]
        )
    patch, wide = found[0][1], next(result for job, result in found if job.how == "lora" and job.rank == 16)
    behind = _mean(patch, "failure") - _mean(wide, "failure")
    share = wide["parameters"] / patch["parameters"]
    header = [
        "",
        "parameters",
        "training",
        "latency",
        "file",
        "failures",
        "out of distribution",
        "failures on helpful",
        "failures on facts",
    ]
    return {
        "table": _table(header, rows),
        "difference": _difference(patch["failure"], wide["failure"]),
        "share": f"{share:.0f}",
        "safety": _verdict(behind <= 0.05 and share > 50),
        "latency": _verdict(latency["patch"] < latency["LoRA r16"]),
    }


def _length(found: Found) -> Section:
    rates = {job.tokens: _mean(result, "failure") for job, result in found}
    rows = [
        [
            str(job.tokens),
            _rate(result["failure"]),
            _rate(result["ood"]),
            _rate(result["facts"]),
            f"{result['seconds']:.0f} s",
        ]
        for job, result in found
    ]
    header = ["virtual tokens", "failures", "out of distribution", "failures on facts", "training"]
    return {
        "table": _table(header, rows),
        "verdict": _verdict(rates[50] < rates[10]),
    }


def _beta(found: Found) -> Section:
    rows = [
        [f"{job.beta:g}", _rate(result["failure"]), _with_interval(result), _rate(result["helpful"])]
        for job, result in found
    ]
    return {"table": _table(["beta", "failures", "perplexity", "failures on helpful"], rows)}


def _init(found: Found) -> Section:
    rates = {job.init: _mean(result, "failure") for job, result in found}
    rows = [[job.init, _rate(result["failure"]), _rate(result["ood"]), _rate(result["facts"])] for job, result in found]
    header = ["start", "failures", "out of distribution", "failures on facts"]
    return {"table": _table(header, rows), "verdict": _verdict(rates["text"] < rates["random"] - 0.05)}


def _family(found: Found) -> Section:
    names = {"llama": "Llama-like", "gpt2": "GPT-2-like"}
    rows, rates = [], {}
    for job, result in found:
        trained = not hasattr(job, "what")
        if trained:
            rates[job.base, job.teacher] = _mean(result, "failure")
        rows.append(
            [
                names[job.base],
                names[job.teacher] if trained else "none: the bare base",
                str(result["pairs"]) if trained else "",
                _rate(result["failure"]),
                _rate(result["facts"]),
            ]
        )
    worse = max(rates["llama", "gpt2"] - rates["llama", "llama"], rates["gpt2", "llama"] - rates["gpt2", "gpt2"])
    return {
        "table": _table(["base", "teacher", "pairs", "failures", "failures on facts"], rows),
        "verdict": _verdict(worse <= 0.05),
    }


def _utility(found: Found) -> Section:
    rows, losses = [], []
    for patch, (references, seeds) in _by_patch(found).items():
        cells = [patch]
        for key in ("facts", "helpful"):
            base = _mean(references["base"], key)
            lost = [_mean(seed, key) - base for seed in seeds]
            losses += lost
            cells += [f"{1 - base:.3f}", _over_seeds([1 - _mean(seed, key) for seed in seeds])]
        rows.append(cells)
    header = ["patch", "facts, base", "facts, patched", "helpful, base", "helpful, patched"]
    return {"table": _table(header, rows), "verdict": _verdict(max(losses) <= 0.054)}


def _cost(found: Found) -> Section:
    patch, whole = found[0][1], next(result for job, result in found if job.how == "fine-tune")
    rows = [
        [
            name,
            str(result["pairs"]),
            f"{result['parameters']:,}",
            f"{result['seconds']:.0f} s",
            f"{result['bytes']:,}",
            _rate(result["failure"]),
        ]
        for name, result in (("patch", patch), ("full fine-tune", whole))
    ]
    ratio = whole["bytes"] / patch["bytes"]
    header = ["", "pairs", "parameters", "training, one thread", "bytes to ship", "failures"]
    return {"table": _table(header, rows), "ratio": f"{ratio:.0f}", "verdict": _verdict(ratio > 50)}


def _plot_main(found: Found, output: Path) -> None:
    figure, axes = pyplot.subplots(figsize=(8, 3.6), layout="constrained")
    patches = _by_patch(found)
    kinds = ("base", "fixed prompt", "patch", "teacher")
    for index, kind in enumerate(kinds):
        heights, below, above = [], [], []
        for references, seeds in patches.values():
            if kind == "patch":
                means = [_mean(seed, "failure") for seed in seeds]
                value, low, high = statistics.fmean(means), min(means), max(means)
            else:
                interval = rate_interval(references[kind]["failure"], 0.025)
                value, low, high = interval.value, interval.low, interval.high
            heights.append(value)
            below.append(value - low)
            above.append(high - value)
        places = [i + 0.2 * (index - 1.5) for i in range(len(patches))]
        axes.bar(places, heights, width=0.18, yerr=[below, above], capsize=2, label=kind, color=f"C{index}")
    axes.set_xticks(range(len(patches)), list(patches))
    axes.set_ylabel("failure rate")
    axes.set_ylim(0, 1)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(output, metadata={"Date": None})
    pyplot.close(figure)


def _plot_length(found: Found, output: Path) -> None:
    figure, axes = pyplot.subplots(figsize=(6, 3.4), layout="constrained")
    tokens = [job.tokens for job, _ in found]
    for key, label in (("failure", "in distribution"), ("ood", "out of distribution"), ("facts", "facts")):
        intervals = [rate_interval(result[key], 0.025) for _, result in found]
        values = [i.value for i in intervals]
        errors = [[i.value - i.low for i in intervals], [i.high - i.value for i in intervals]]
        axes.errorbar(tokens, values, yerr=errors, marker="o", capsize=2, label=label)
    axes.set_xscale("log")
    axes.set_xticks(tokens, [str(n) for n in tokens])
    axes.minorticks_off()
    axes.set_xlabel("virtual tokens")
    axes.set_ylabel("failure rate")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(output, metadata={"Date": None})
    pyplot.close(figure)


def _plot_cost(found: Found, output: Path) -> None:
    figure, axes = pyplot.subplots(figsize=(6, 3.4), layout="constrained")
    for job, result in found:
        interval = rate_interval(result["failure"], 0.025)
        error = [[interval.value - interval.low], [interval.high - interval.value]]
        size = 9 if job.how == "patch" else 4  # prompt tuning is the same function, and lies in the same place
        point = ([result["parameters"]], [interval.value])
        axes.errorbar(*point, yerr=error, marker="o", markersize=size, capsize=2, label=_name(job))
    axes.set_xscale("log")
    axes.set_xlabel("trained parameters")
    axes.set_ylabel("failure rate")
    axes.set_ylim(0, max(0.1, axes.get_ylim()[1]))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(output, metadata={"Date": None})
    pyplot.close(figure)
