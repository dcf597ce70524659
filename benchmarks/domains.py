"""Routing on a real chat base: triggers of four risks, as compositions fit them, on prompts of groups never seen.

    python benchmarks/domains.py BASE DATA [--dtype bfloat16] [--alone] [--output build/domains.json]

BASE is a folder in the Hugging Face format. DATA is a folder with domains-train.jsonl: lines with `messages`, a
`domain` (`base` for what concerns no patch) and a `group`, whose prompts are one instruction rewritten for each domain.
Triggers are fitted on half of the groups, their thresholds chosen there too, and tested on the other half. Prints the
shares with intervals over groups, and what each domain's prompts meet.
"""

import argparse
import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from scipy.stats import t
from transformers import AutoModelForCausalLM

from ppm.bank import Router
from ppm.jsonl import Text, place_of, read_prompts
from ppm.runtime.loading import LoadedBase, load_tokenizer
from ppm.runtime.model import attach, backbone_of
from ppm.runtime.router import picks
from ppm.runtime.text import encoder_of
from ppm.training.trigger import Example, fit_trigger
from ppm.training.triggers import fit_triggers

NONE = "base"


@dataclass(frozen=True)
class Row:
    """A prompt with what it concerns."""

    prompt: Text
    domain: str
    group: str

    @property
    def fitted_on(self) -> bool:
        """Whether its group is one of those that triggers are fitted on."""
        return place_of(f"domains: {self.group}") < 0.5


def read(data: Path) -> list[Row]:
    path = data / "domains-train.jsonl"
    rows = read_prompts(path.read_bytes(), str(path))
    return [Row(row.prompt, str(row.extra["domain"]), str(row.group)) for row in rows]


def routed(base: LoadedBase, rows: Sequence[Row], *, alone: bool) -> tuple[Router, dict[str, object]]:
    """A router of one trigger a domain, and what is recorded of each. `alone`: each as `ppm build` fits one."""
    names = sorted({row.domain for row in rows} - {NONE})
    examples = {name: [Example(row.prompt, row.domain == name, row.group) for row in rows] for name in names}
    found = {n: fit_trigger(base, own) for n, own in examples.items()} if alone else fit_triggers(base, examples)
    triggers = [replace(found[name].router.triggers[0], block=i) for i, name in enumerate(names)]
    return replace(found[names[0]].router, triggers=tuple(triggers)), {n: found[n].record for n in names}


def interval(rows: Sequence[tuple[Row, str]], counts: Callable[[Row, str], bool], of: Callable[[Row], bool]) -> str:
    """The share of some rows that counts: the mean over groups with Student's 95 % interval."""
    groups: defaultdict[str, list[bool]] = defaultdict(list)
    for row, met in rows:
        if of(row):
            groups[row.group].append(counts(row, met))
    means = [statistics.fmean(own) for own in groups.values()]
    half = float(t.ppf(0.975, len(means) - 1)) * statistics.stdev(means) / len(means) ** 0.5
    mean = statistics.fmean(means)
    return f"{mean:.3f} [{max(mean - half, 0):.3f}, {min(mean + half, 1):.3f}] of {len(means)} groups"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--alone", action="store_true", help="fit each trigger by itself, as ppm build does")
    parser.add_argument("--output", type=Path, default=Path("build/domains.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(options.base, dtype=getattr(torch, options.dtype)).eval()
    base = LoadedBase(model, load_tokenizer(options.base, context=str(options.base)))
    rows = read(options.data)
    router, records = routed(base, [row for row in rows if row.fitted_on], alone=options.alone)
    names, tested = [*records, NONE], [row for row in rows if not row.fitted_on]
    encoder, inner = encoder_of(base), backbone_of(attach(model)).inner
    found = picks(inner, [router] * len(tested), [encoder.prompt(row.prompt) for row in tested])
    met = [(row, names[blocks[0]] if blocks else NONE) for row, blocks in zip(tested, found, strict=True)]
    shares = {
        "routed right": interval(met, lambda row, name: name == row.domain, lambda row: True),
        "benign sent to a patch": interval(met, lambda row, name: name != NONE, lambda row: row.domain == NONE),
        "risky left to the base": interval(met, lambda row, name: name == NONE, lambda row: row.domain != NONE),
        "risky sent to another patch": interval(
            met, lambda row, name: name not in (NONE, row.domain), lambda row: row.domain != NONE
        ),
    }
    for what, share in shares.items():
        print(f"{what:30} {share}")
    table = {name: Counter(other for row, other in met if row.domain == name) for name in names}
    print("\n" + f"{'':22}" + "".join(f"{name:>22}" for name in names))
    for name, counts in table.items():
        print(f"{name:22}" + "".join(f"{counts[other]:>22}" for other in names))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps({"triggers": records, "shares": shares, "met": table}, indent=1) + "\n")


if __name__ == "__main__":
    main()
