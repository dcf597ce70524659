"""What routing costs a request: reading the prompt and writing the answer, against the base by itself, in pairs.

    python benchmarks/routed_speed.py BASE PACKAGE... [--dtype float32] [--tokens 64 256 1024] [--pairs 9]

BASE is a folder in the Hugging Face format, the package files have triggers. A prompt on which none fires is one thing,
one on which the block of some patch is picked another. All are the same chat of so many tokens: thresholds
are moved. Prints medians of ratios; one thread.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from ppm.bank import Bank
from ppm.package import read_package
from ppm.runtime.model import attach

NEW = 32
"""How many tokens of an answer are timed."""


def routed(paths: Sequence[Path]) -> Bank:
    """The packages' blocks, each behind its own trigger."""
    banks = [read_package(path).bank for path in paths]
    found = [bank.router for bank in banks]
    routers = [router for router in found if router is not None]
    if len(routers) < len(banks):
        raise SystemExit("each package needs a trigger")
    triggers = tuple(replace(router.triggers[0], block=i) for i, router in enumerate(routers))
    only = tuple(i for i, router in enumerate(routers) if router.answers_only)
    router = replace(routers[0], triggers=triggers, answers_only=only)
    return Bank(tuple(bank.blocks[0] for bank in banks)).routed(router)


def firing(bank: Bank, block: int | None) -> Bank:
    """A routed bank of whose triggers that of one block fires for every prompt, and no other does."""
    assert bank.router is not None
    triggers = tuple(replace(t, threshold=0.0 if t.block == block else 1.0) for t in bank.router.triggers)
    return bank.routed(replace(bank.router, triggers=triggers))


def chat(bank: Bank, tokens: int) -> torch.Tensor:
    """What a user says, in so many tokens with those that the template puts around it, (1, tokens)."""
    assert bank.router is not None
    turn = bank.router.turn
    before, after = ([], []) if turn is None else (list(turn.opening), list(turn.closing))
    said = range(1000, 1000 + tokens - len(before) - len(after))
    return torch.tensor([[*before, *said, *after]])


@torch.inference_mode()
def seconds(model: Any, ids: torch.Tensor) -> tuple[float, float]:
    """Of reading a prompt, and of a token of the answer."""
    began = time.perf_counter()
    output = model(input_ids=ids, use_cache=True, logits_to_keep=1)
    read = time.perf_counter() - began
    began = time.perf_counter()
    for _ in range(NEW):
        token = output.logits[:, -1].argmax(-1, keepdim=True)
        output = model(input_ids=token, past_key_values=output.past_key_values, use_cache=True, logits_to_keep=1)
    return read, (time.perf_counter() - began) / NEW


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path)
    parser.add_argument("packages", type=Path, nargs="+")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--tokens", type=int, nargs="+", default=[64, 256, 1024])
    parser.add_argument("--pairs", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(options.base, dtype=getattr(torch, options.dtype)).eval()
    bank = routed(options.packages)
    names = [read_package(path).manifest.name for path in options.packages]
    ways = {"silent": attach(model, [firing(bank, None)])}
    ways |= {f"{name} picked": attach(model, [firing(bank, i)]) for i, name in enumerate(names)}
    assert bank.router is not None
    print(f"triggers read after {bank.router.layers} of {model.config.num_hidden_layers} layers; against the base:")
    print(f"{'':24} {'prompt':>8} {'a token':>8}")
    for tokens in options.tokens:
        ids = chat(bank, tokens)
        for name, patched in ways.items():
            ratios = []
            for _ in range(options.pairs + 1):
                own, other = seconds(model, ids), seconds(patched, ids)
                ratios.append([b / a for a, b in zip(own, other, strict=True)])
            read, written = (statistics.median(column) for column in zip(*ratios[1:], strict=True))
            print(f"{tokens:>5} tokens, {name:22} {read:>8.2f} {written:>8.2f}", flush=True)


if __name__ == "__main__":
    main()
