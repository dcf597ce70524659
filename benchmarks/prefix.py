"""What a prefix costs, beside the bare base, prepended embeddings and, when it is installed, PEFT's prompt tuning.

One run, everything in turn, medians and ratios: `python benchmarks/prefix.py`.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from ppm.runtime.model import attach, backbone_of

ROUNDS = 15
BATCH, LENGTH, TOKENS, NEW = 16, 40, 50, 32


def make_model() -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=8000,
        hidden_size=384,
        intermediate_size=1024,
        num_hidden_layers=8,
        num_attention_heads=6,
        num_key_value_heads=6,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config).eval().requires_grad_(False)


def in_turn(jobs: dict[str, Callable[[], None]], rounds: int = ROUNDS) -> dict[str, float]:
    """The median seconds of each job."""
    found: dict[str, list[float]] = {name: [] for name in jobs}
    for job in jobs.values():
        job()
    for _ in range(rounds):
        for name, job in jobs.items():
            started = time.perf_counter()
            job()
            found[name].append(time.perf_counter() - started)
    return {name: statistics.median(times) for name, times in found.items()}


def table(title: str, found: dict[str, float], reference: str) -> None:
    print(f"\n{title}")
    for name, seconds in found.items():
        print(f"  {name:<28} {1000 * seconds:>8.1f} ms   {seconds / found[reference]:>5.2f} x {reference}")


def main() -> None:
    model = make_model()
    ids = torch.randint(3, 8000, (BATCH, LENGTH))
    prefix = torch.randn(TOKENS, 384) * 0.02
    trained = attach(model, [prefix], trainable=True)
    served = attach(model, [prefix])
    loose = prefix.clone().requires_grad_()
    bare_input = torch.zeros(1, 1, 384, requires_grad=True)

    def without() -> None:
        embeds = model.get_input_embeddings()(ids) + bare_input
        model(inputs_embeds=embeds, labels=ids).loss.backward()

    def cached() -> None:
        trained(input_ids=ids, labels=ids).loss.backward()
        backbone_of(trained).bank[0].grad = None

    def prepended() -> None:
        embeds = torch.cat([loose.expand(BATCH, -1, -1), model.get_input_embeddings()(ids)], dim=1)
        labels = torch.cat([torch.full((BATCH, TOKENS), -100), ids], dim=1)
        model(inputs_embeds=embeds, labels=labels).loss.backward()

    jobs = {"base without prefix": without, "ppm (cached keys and values)": cached, "prepended embeddings": prepended}
    try:
        from peft import PromptTuningConfig, get_peft_model

        tuned = get_peft_model(make_model(), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=TOKENS))
        mask = torch.ones_like(ids)
        jobs["PEFT prompt tuning"] = lambda: tuned(input_ids=ids, attention_mask=mask, labels=ids).loss.backward()
    except ImportError:
        print("PEFT is not installed: `pip install peft` adds it to the table")
    table(
        f"Training step, {BATCH} sequences of {LENGTH} tokens, {TOKENS} virtual tokens",
        in_turn(jobs),
        "base without prefix",
    )

    options = {"max_new_tokens": NEW, "min_new_tokens": NEW, "do_sample": False}
    attention = torch.ones_like(ids)
    generation = {
        "base": lambda: model.generate(input_ids=ids, attention_mask=attention, **options),
        "ppm": lambda: served.generate(input_ids=ids, attention_mask=attention, **options),
    }
    table(f"Generation, batch {BATCH}, {NEW} new tokens", in_turn(generation), "base")


if __name__ == "__main__":
    main()
