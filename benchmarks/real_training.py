"""What a step of training costs on a real base: this code, older code, PEFT's prompt tuning and LoRA of rank 16.

`python benchmarks/real_training.py BASE_FOLDER --before FOLDER_OF_OLDER_CODE`. Each runs in a process of its own and
makes one update at a time, in turn; figures are medians over the rounds, and medians of the ratios within a round.
All have the same pairs, benign texts and batch sizes. Older code, which knows no dtype, runs in float32.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROUNDS, WARM_UP = 9, 2
VIRTUAL_TOKENS, BATCHES = 30, {"sft": 8, "dpo": 4}
BENIGN_WEIGHT, RANK = 3.0, 16
THINGS = [
    "a bicycle",
    "an old radio",
    "a garden shed",
    "a parcel",
    "a library card",
    "a boat",
    "a bank account",
    "a van",
]
DEEDS = ["take", "damage without being seen", "sell although it belongs to someone else", "open without permission"]
TASKS = ["repair", "describe to a friend", "sell online", "store over the winter, where the cellar is a little damp"]


@dataclass(frozen=True)
class Kind:
    """One of those that are compared: the code it runs, what it trains, and the dtype of the base."""

    name: str
    method: str
    dtype: str
    code: Path


def texts(chat: bool) -> tuple[list[Any], list[Any]]:
    """Pairs and benign texts of different lengths."""
    from ppm.jsonl import Benign, Pair

    def prompt(text: str) -> Any:
        return (("user", text),) if chat else text

    pairs = [
        Pair(
            prompt(f"How can I {deed} {thing}{' of my neighbour' * (i % 2)}?"),
            "I won't help with that, because it would harm somebody." + " Please ask the owner first." * (i % 3),
            f"To {deed} {thing}, you first have to find out where it is kept." + " Then you wait." * (i % 4),
        )
        for i, (deed, thing) in enumerate((deed, thing) for deed in DEEDS for thing in THINGS)
    ]
    benign = [
        Benign(
            prompt(f"How do I {task} {thing}?"),
            f"To {task} {thing}, begin by having a good look at it." + " Then take your time with each part." * (i % 5),
        )
        for i, (task, thing) in enumerate((task, thing) for task in TASKS for thing in THINGS)
    ]
    return pairs, benign


def work(method: str, dtype: str, folder: str, stage_name: str, steps: int) -> None:
    """Trains, and before each update waits for a line; answers each with the seconds of the update."""
    import torch

    from ppm.base import identify
    from ppm.evaluation.benign import benign_texts
    from ppm.runtime.loading import LoadedBase, load_base
    from ppm.training.baselines import lora, prompt_tuned
    from ppm.training.trainers import STAGES, Setup
    from ppm.training_table import Stage

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    loaded = load_base(identify(Path(folder)))
    model = loaded.model.to(getattr(torch, dtype))
    base = LoadedBase(model, loaded.tokenizer)
    pairs, benign = texts(bool(loaded.tokenizer.chat_template))
    started = 0.0

    def progress(label: str, done: int, total: int) -> None:
        nonlocal started
        print(json.dumps({"seconds": time.perf_counter() - started, "label": label}), flush=True)
        sys.stdin.readline()
        started = time.perf_counter()

    setup = Setup(base, "before-bos", benign_texts(base, benign, seed=0), BENIGN_WEIGHT, 0, progress)
    generator = torch.Generator().manual_seed(0)
    weights = model.get_input_embeddings().weight
    prefix = weights[torch.randint(len(weights), (VIRTUAL_TOKENS,), generator=generator)].float().clone()
    stage, none = Stage(steps, 1e-3, BATCHES[stage_name]), Stage(0, 1e-3)
    both = (stage, none) if stage_name == "sft" else (none, stage)
    started = time.perf_counter()
    if method == "ppm":
        STAGES[stage_name](setup, prefix, pairs, stage)
    elif method == "lora":
        lora(setup, pairs, both, rank=RANK)
    else:
        prompt_tuned(setup, pairs, both, prefix=prefix)


def measured(kinds: list[Kind], folder: Path, stage: str, rounds: int) -> dict[str, list[float]]:
    """The seconds of each round's update, by kind."""
    steps = rounds + WARM_UP
    running = {}
    for kind in kinds:
        command = [sys.executable, __file__, "--work", kind.method, kind.dtype, str(folder), stage, str(steps)]
        environment = {**os.environ, "PYTHONPATH": str(kind.code), "HF_HUB_OFFLINE": "1"}
        process = subprocess.Popen(command, stdin=-1, stdout=-1, text=True, env=environment)
        running[kind.name] = process
        if not answer(process):  # the first update, and all that comes before it
            raise SystemExit(f"{kind.name} did not begin")
    found: dict[str, list[float]] = {name: [] for name in running}
    for number in range(1, steps):
        for name, process in running.items():
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
            seconds = answer(process)
            if number >= WARM_UP:
                found[name].append(seconds)
    for process in running.values():
        process.communicate("go\n")
    return found


def answer(process: "subprocess.Popen[str]") -> float:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith('{"seconds"'):
            return float(json.loads(line)["seconds"])
    return 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path, help="the folder of a base model")
    parser.add_argument("--before", type=Path, help="a checkout of older code to compare with")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--output", type=Path, help="a JSON file for the figures")
    parser.add_argument("--only", default="", help="compare only kinds whose name holds this, and older code")
    options = parser.parse_args()
    here = Path(__file__).resolve().parent.parent
    kinds = [Kind("older code, float32", "ppm", "float32", options.before.resolve())] if options.before else []
    own = [
        Kind("ppm, float32", "ppm", "float32", here),
        Kind("ppm, bfloat16", "ppm", "bfloat16", here),
        Kind("PEFT prompt tuning, bfloat16", "prompt", "bfloat16", here),
        Kind("LoRA r16, bfloat16", "lora", "bfloat16", here),
    ]
    kinds += [kind for kind in own if options.only in kind.name]
    written = {}
    for stage, batch in BATCHES.items():
        found = measured(kinds, options.base.resolve(), stage, options.rounds)
        written[stage] = found
        [first, *_] = found.values()
        print(f"\nA step of {stage.upper()}, {batch} pairs and 8 benign texts, {VIRTUAL_TOKENS} virtual tokens")
        for name, seconds in found.items():
            ratio = statistics.median(a / b for a, b in zip(seconds, first, strict=True))
            print(f"  {name:<30} {statistics.median(seconds):>7.2f} s   {ratio:>5.2f} x {kinds[0].name}", flush=True)
    if options.output:
        options.output.write_text(json.dumps(written, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        method, dtype, folder, stage_name, steps = sys.argv[2:]
        work(method, dtype, folder, stage_name, int(steps))
    else:
        main()
