"""What a trigger finds by what it was fitted on: the text of the shipped patch, public sets, or both.

    python benchmarks/trigger_data.py BASE --data DIR [--manifests manifests/smollm2] [--dtype float32] [--wholes]

BASE is a name such as smollm2 or a folder. DATA has the public prompts (`real_sets.py`), of which the training halves
are fitted on here, unlike anywhere else. Prints the share of each test set's prompts on which the trigger of
harm-refusal fires, with 95 % intervals over groups. What the base says of prompts is kept in `--build`.

Among the test sets are harmful and harmless requests in `benchmarks/apart`, as many of each, half of the latter
look-alikes: by three sessions of a language model that saw neither each other's text nor any other of these.
"""

import argparse
import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from real_sets import chat_sets, own_sets, public_sets
from safetensors.torch import load_file, save_file

from ppm.bank_table import Turn
from ppm.evaluation.figures import rate_of
from ppm.evaluation.groups import groups_of
from ppm.evaluation.ordinary import takes_requests
from ppm.jsonl import Prompt, Text, normalised, read_prompts
from ppm.names import canonical_digest
from ppm.package import read_package
from ppm.running import Running
from ppm.runtime.loading import LoadedBase, load_base
from ppm.training.material import features_on
from ppm.training.source import read_source
from ppm.training.trigger import Example, examples_of, fit_on, gather_examples, layers_on
from ppm.workspace import open_base

PATCH = "harm-refusal"
PUBLIC = {"harmful-advbench": True, "harmful-everyday-train": True, "harmless-train": False}
"""Public sets for training, and whether what they ask for is harmful."""
MOST = 1500
"""How many prompts of each are fitted on at most, drawn at random."""
RISKS = ("harmfulness", "over-refusal")
AT_ONCE = 400
APART = Path(__file__).parent / "apart"


def public_examples(data: Path, tested: set[str], names: Sequence[str]) -> list[Example]:
    """The prompts of some public sets, each a group of its own, without those that are tested on."""
    found = []
    for name in names:
        path = data / f"{name}.jsonl"
        rows = list(read_prompts(path.read_bytes(), path.name))
        rows = random.Random(0).sample(rows, MOST) if len(rows) > MOST else rows
        rows = [row for row in rows if normalised(row.prompt) not in tested]
        found += [Example(row.prompt, PUBLIC[name], f"{name} {row.id}") for row in rows]
    return found


def apart_sets() -> dict[str, list[Prompt]]:
    """The requests of `benchmarks/apart`, by what a set of them is called."""
    found: dict[str, list[Prompt]] = {}
    for path in sorted(APART.glob("*.jsonl")):
        data = path.read_bytes()
        for row in read_prompts(data, path.name):
            kind = "harmful" if row.extra["concerns"] else "harmless"
            found.setdefault(f"written apart: {kind}", []).append(row)
    return found


def features_of(base: LoadedBase, kept: Path, prompts: Sequence[Text], turn: Turn | None) -> list[torch.Tensor]:
    """What triggers read of each prompt, as `features_on` has it; kept by the digest of its text."""
    known = load_file(kept) if kept.is_file() else {}
    keys = [canonical_digest([prompt, turn is not None and bool(turn.ends)]) for prompt in prompts]
    missing = {key: prompt for key, prompt in zip(keys, prompts, strict=True) if key not in known}
    for start in range(0, len(missing), AT_ONCE):
        part = list(missing)[start : start + AT_ONCE]
        known |= zip(part, features_on(base, [missing[key] for key in part], layers_on(base), turn), strict=True)
        print(f"  read {start + len(part)} of {len(missing)} prompts", flush=True)
        kept.parent.mkdir(parents=True, exist_ok=True)
        save_file({key: value.contiguous() for key, value in known.items()}, kept)
    return [known[key] for key in keys]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--manifests", type=Path, default=Path("manifests/smollm2"))
    parser.add_argument("--packages", type=Path, default=Path("ppm/bases/shipped/smollm2"))
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--build", type=Path, default=Path("build/real"))
    parser.add_argument("--wholes", action="store_true", help="triggers read no sentences by themselves")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = open_base(options.base)
    base = load_base(model, kept=options.build / "self-test", running=Running(options.dtype))
    packages = [read_package(path) for path in sorted(options.packages.glob("*.ppm"))]
    every = [*own_sets(packages), *chat_sets(options.manifests), *public_sets(options.data, packages, chat=True)]
    sets = [(one.name, one.prompts, one.groups) for one in every if one.risk in RISKS]
    sets += [(name, tuple(rows), groups_of(rows, "group")) for name, rows in apart_sets().items()]
    tested = {normalised(prompt.prompt) for _, prompts, _ in sets for prompt in prompts}
    own = examples_of(read_source(options.manifests / PATCH), chats=takes_requests(model))
    fitted_on = {
        "ours": own,
        "ours, AdvBench and harmless": [*own, *public_examples(options.data, tested, [*PUBLIC][::2])],
        "ours and all public": [*own, *public_examples(options.data, tested, [*PUBLIC])],
        "all public": public_examples(options.data, tested, [*PUBLIC]),
    }
    read = partial(features_of, base, options.build / f"trigger-features-{options.dtype}.safetensors")
    for name, rows in fitted_on.items():
        material = gather_examples(base, rows, layers_on(base), read=read)
        fitted = fit_on(material.wholes if options.wholes else material, rows)
        print(f"\nFitted on {name}: {fitted.words()}")
        [trigger] = fitted.router.triggers
        weight, bias = (
            torch.frombuffer(bytearray(part), dtype=torch.float32) for part in (trigger.weight, trigger.bias)
        )
        for set_name, prompts, groups in sets:
            found = read([prompt.prompt for prompt in prompts], fitted.router.turn)
            odds = torch.stack([(readings @ weight + bias).max() for readings in found])
            fires = torch.sigmoid(odds) >= trigger.threshold
            values = {prompt.id: float(fired) for prompt, fired in zip(prompts, fires.tolist(), strict=True)}
            print(f"  {set_name:30} {rate_of(values, groups)}", flush=True)


if __name__ == "__main__":
    main()
