"""What a fallback block would save: a prompt for which no trigger fires, but one nearly does, would meet it.

    python benchmarks/fallback.py BASE PACKAGES DATA MANIFESTS [--results FOLDER] [--dtype bfloat16]

PACKAGES is a folder of patches with triggers, and the results are those of benchmarks/real.py for them. Each of
their rows that is always on is tried as the fallback block, with the answers that are kept. A prompt is unsure if its
nearest trigger is at most so far below its threshold, in log odds. Prints the shares of harmful requests answered and
of ordinary ones refused, by that distance; at 0 they are the composition's own.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from real import digest_of
from real_sets import TestSet, chat_sets, own_sets, public_sets

from ppm.bank import Router
from ppm.base import behaviour_digest
from ppm.composition.compose import make_context
from ppm.composition.recipe import run_strategy
from ppm.composition.strategy import read_strategy
from ppm.names import canonical_digest
from ppm.package import read_package
from ppm.running import Running
from ppm.runtime.loading import LoadedBase, load_base
from ppm.runtime.model import attach, backbone_of
from ppm.runtime.router import probabilities
from ppm.runtime.text import encoder_of
from ppm.workspace import open_base

DISTANCES = (0.0, 0.5, 1.0, 2.0, 3.0, 4.0)
JUDGE = "refusal"
LEAST_GROUPS = 250
ROUTED = "routed, triggered"


def below(base: LoadedBase, router: Router, sets: Sequence[TestSet]) -> dict[str, torch.Tensor]:
    """By set, how far each prompt's nearest trigger is below its threshold in log odds; 0 or less where it fires."""
    limits = torch.tensor([trigger.threshold for trigger in router.triggers], dtype=torch.double).logit()
    encoder, inner = encoder_of(base), backbone_of(attach(base.model)).inner
    found = {}
    for one in sets:
        odds = probabilities(inner, router, [encoder.prompt(prompt.prompt) for prompt in one.prompts]).double().logit()
        found[one.name] = (limits - odds).min(1).values
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base")
    for name in ("packages", "data", "manifests"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/smollm2"))
    parser.add_argument("--dtype", default="bfloat16")
    options = parser.parse_args()
    torch.set_num_threads(1)
    base = open_base(options.base)
    loaded = load_base(base, running=Running(options.dtype))
    packages = [read_package(path) for path in sorted(options.packages.glob("*.ppm"))]
    bank = run_strategy(read_strategy("routed"), make_context(packages, loaded, seed=0))
    assert bank.router is not None
    sets = [*own_sets(packages), *chat_sets(options.manifests), *public_sets(options.data, packages, chat=True)]
    sets = [one for one in sets if one.judges[0].name == JUDGE and len(set(one.groups.values())) >= LEAST_GROUPS]
    kept = [json.loads(path.read_text()) for path in options.results.glob("*.json")]
    rows = {row["row"]: row["sets"] for row in kept}
    composed = next((row for row in kept if row["row"] == ROUTED), None)
    weights = canonical_digest([behaviour_digest(base), options.dtype])
    if composed is None or composed["identity"] != canonical_digest([weights, bank.digest, "", ""]):
        parser.error(f"the results are of other packages, another base or dtype, or have no row {ROUTED!r}")
    sets = [one for one in sets if rows[ROUTED].get(one.name, {}).get("digest") == digest_of(one)]
    distances = below(loaded, bank.router, sets)
    blocks = sorted(name for name, own in rows.items() if "always on" in name and all(one.name in own for one in sets))
    for one in sets:
        far = distances[one.name]
        unsure = [(far > 0) & (far <= most) for most in DISTANCES]
        print(f"\n{one.name}: {'answered' if one.failing == 'miss' else 'refused'}, by distance")
        print(f"{'':34}" + "".join(f"{most:>8g}" for most in DISTANCES))
        print(f"{'share that is unsure':34}" + "".join(f"{float(own.float().mean()):8.3f}" for own in unsure))
        routed = torch.tensor([bit == "1" for bit in rows[ROUTED][one.name]["failures"][JUDGE]])
        for name in blocks:
            block = torch.tensor([bit == "1" for bit in rows[name][one.name]["failures"][JUDGE]])
            shares = [float(torch.where(own, block, routed).float().mean()) for own in unsure]
            print(f"{name:34}" + "".join(f"{share:8.3f}" for share in shares))


if __name__ == "__main__":
    main()
