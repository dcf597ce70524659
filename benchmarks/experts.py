"""Compositions of what patches say instead of what they are: each token is drawn from all of their distributions.

Every patch's block runs beside the others, as often as there are patches, and the log probabilities are put together
at each step; so this is no prefix, and nothing that can be deployed. It shows what mixing outputs would give:

- product of experts: the product of the patches' distributions (Hinton 2002, Neural Computation 14).
- differences from the base: the base's logits with what each patch changes of them (Liu et al. 2021, arXiv 2105.03023).

    python benchmarks/experts.py [--patches 3] [--seeds 3]

Prompts, specialists and the table are those of composition.py.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from composition import PATCHES, PROMPTS, Bench, interval

from ppm.bank import EMPTY, Bank
from ppm.base import identify, weights_digest
from ppm.evaluation.generation import noise_key
from ppm.evaluation.measures.completions import valued
from ppm.evaluation.sampling import draw
from ppm.evaluation.suites import LoadedSuite
from ppm.resources import lab_data
from ppm.runtime.loading import LoadedBase, load_base
from ppm.runtime.model import UNPATCHED, attach, backbone_of
from ppm.runtime.text import encoder_of
from ppm.suite import Decoding

BATCH = 64
Mix = Callable[[torch.Tensor], torch.Tensor]
"""(1 + patches, B, V) log probabilities, the base's first -> (B, V) logits."""
MIXES: dict[str, Mix] = {
    "product of experts": lambda logs: logs[1:].sum(0),
    "differences from the base": lambda logs: logs[0] + (logs[1:] - logs[0]).sum(0),
}


@dataclass(frozen=True)
class Mixture:
    """Patches on one base whose distributions are put together at each token."""

    base: LoadedBase
    banks: tuple[Bank, ...]
    mix: Mix

    def rate(self, suite: LoadedSuite) -> float:
        """The failure rate on a suite, whose noise is that of its other configurations."""
        encoder, each = encoder_of(self.base), suite.suite.samples
        asked = [
            (encoder.prompt(p.prompt, p.id), noise_key(suite.digest, p.id, sample, suite.suite.decoding.seed))
            for p in suite.prompts
            for sample in range(each)
        ]
        order = sorted(range(len(asked)), key=lambda i: len(asked[i][0]))
        made: dict[int, list[int]] = {}
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            ids, keys = zip(*(asked[i] for i in chosen), strict=True)
            made |= zip(chosen, self.written(ids, keys, suite.suite.decoding), strict=True)
        texts = self.base.tokenizer.batch_decode([made[i] for i in range(len(asked))], skip_special_tokens=True)
        completions = [tuple(texts[i : i + each]) for i in range(0, len(texts), each)]
        scores = suite.scorer.judged(list(zip(suite.prompts, completions, strict=True)))
        return statistics.fmean(value for value, _ in valued(suite, scores, completions).values())

    @torch.inference_mode()
    def written(self, prompts: Sequence[Sequence[int]], keys: Sequence[int], decoding: Decoding) -> list[list[int]]:
        """The tokens after each prompt, without what ends them."""
        model, size = attach(self.base.model, self.banks), len(prompts)
        sides, width = 1 + len(self.banks), max(map(len, prompts))
        ids = torch.tensor([[0] * (width - len(one)) + list(one) for one in prompts]).repeat(sides, 1)
        mask = torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in prompts]).repeat(sides, 1)
        stops = torch.tensor(sorted(encoder_of(self.base).stops))
        fixed = [torch.full((size,), one, dtype=torch.double) for one in (decoding.temperature, decoding.top_p)]
        made: list[list[int]] = [[] for _ in prompts]
        ended, cache = torch.zeros(size, dtype=torch.bool), None
        with backbone_of(model).select([row for row in (UNPATCHED, *range(len(self.banks))) for _ in prompts]):
            for step in range(decoding.max_new_tokens):
                output = model(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True)
                cache = output.past_key_values
                logs = output.logits[:, -1].float().log_softmax(-1).view(sides, size, -1)
                tokens = draw(self.mix(logs), *fixed, torch.tensor(keys), torch.full((size,), step))
                ended |= torch.isin(tokens, stops)
                for text, token, over in zip(made, tokens.tolist(), ended.tolist(), strict=True):
                    if not over:
                        text.append(token)
                if bool(ended.all()):
                    break
                ids = tokens[:, None].repeat(sides, 1)
                mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        return made


def run(bench: Bench, names: Sequence[str], seeds: int) -> dict[str, list[dict[str, float]]]:
    """By mix and seed, by suite: how much more often it fails than the specialist, or than the base for utility."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in MIXES}
    for seed in range(seeds):
        packages = [bench.specialist(name, seed) for name in names]
        suites = bench.suites(packages)
        best = {label: one for label, one in bench.rates(EMPTY, suites).items() if suites[label].owner is None}
        for package in packages:
            own = {label: suite for label, suite in suites.items() if suite.owner == package.manifest.name}
            best |= bench.rates(package.bank, own)
        banks = tuple(package.bank.always_on for package in packages)
        for name, mix in MIXES.items():
            mixture = Mixture(bench.loaded, banks, mix)
            found[name].append({label: mixture.rate(suite) - best[label] for label, suite in suites.items()})
            change, worst = max((change, label) for label, change in found[name][-1].items())
            print(f"  {len(names)}, seed {seed}, {name}: worst {worst} {change:+.3f}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patches", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("build/composition"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    base = identify(lab_data() / "base", name="lab")
    folder = options.output / weights_digest(base.folder).removeprefix("sha256:")[:12]
    bench = Bench(load_base(base), folder, "benchmark", PROMPTS)
    found = run(bench, PATCHES[: options.patches], options.seeds)
    (folder / f"experts-{options.patches}.json").write_text(json.dumps(found, indent=1))
    for name, seeds in found.items():
        print(f"{name}: " + ", ".join(f"{one} {interval([rates[one] for rates in seeds])}" for one in seeds[0]))


if __name__ == "__main__":
    main()
