"""Trains a tiny prefix, alone or as one of several processes, and writes the losses of all updates and the prefix.

`updates.py sft|dpo OUTPUT`; every process but the first writes OUTPUT.RANK.
"""

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import torch
from runtime.architectures import random_prefixes, tiny_model, tiny_tokenizer

from ppm.evaluation.benign import benign_texts
from ppm.jsonl import Benign, Pair
from ppm.runtime.loading import LoadedBase
from ppm.runtime.tensors import bank_of
from ppm.training.trainers import Setup, dpo, sft
from ppm.training_table import Stage

STEPS = 24
# 17 pairs in batches of 8: every third batch has one pair only, for which the second process has none.
PAIRS = [
    Pair(f"tell me w{20 + i}", " ".join(["thank you"] * (1 + i % 4)), f"you fool w{60 + i % 3} clown")
    for i in range(17)
]
BENIGN = [Benign(f"please w{70 + i} w{80 + i}") for i in range(9)]


def main(how: str, output: str) -> None:
    torch.set_num_threads(1)
    tokenizer, model = tiny_tokenizer(), tiny_model("llama", initializer_range=0.3)
    base, losses = LoadedBase(model, tokenizer), []

    def progress(label: str, step: int, steps: int) -> None:
        losses.append(float(label.removesuffix(")").rpartition(" ")[2]))

    setup = Setup(base, "before-bos", benign_texts(base, BENIGN, seed=0), 1.0, 3, progress)
    [prefix] = random_prefixes(model, 5)
    stage = Stage(STEPS, 2e-2, batch_size=8, sft_weight=0.7)
    learned = {"sft": sft, "dpo": dpo}[how](setup, prefix, PAIRS, stage)
    rank = os.environ.get("RANK", "0")
    path = Path(output if rank == "0" else f"{output}.{rank}")
    path.write_text(
        json.dumps({"losses": losses, "prefix": bank_of(learned).to_bytes().hex(), "values": learned.tolist()})
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
