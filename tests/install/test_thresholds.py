"""A trigger on the next base: its threshold is as far above ordinary prompts as on the base it was fitted on."""

import math
from dataclasses import replace

import pytest
import tiny
import torch
from packages import make_package
from transformers import AutoModelForCausalLM

from ppm.bank import Router, Trigger
from ppm.evaluation.neutral import is_held_back
from ppm.install.thresholds import on_next_base
from ppm.jsonl import Benign, Pair, dump
from ppm.runtime.loading import LoadedBase
from ppm.runtime.model import attach, backbone_of
from ppm.runtime.router import probabilities
from ppm.runtime.tensors import bank_of
from ppm.runtime.text import encoder_of

PROMPTS = [f"w{i} w{j}" for i in range(1, 9) for j in range(1, 9)]
SEEN = [prompt for prompt in PROMPTS if not is_held_back(Benign(prompt))]


def base(seed, shift=0.0):
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(tiny.config("llama")).eval().requires_grad_(False)
    if shift:
        torch.manual_seed(seed + 1)
        for parameter in model.parameters():
            parameter += shift * torch.randn(parameter.shape)
    return LoadedBase(model, tiny.make_tokenizer())


def package(threshold=0.9, prompts=PROMPTS, triggers=1):
    width = tiny.config("llama").hidden_size
    torch.manual_seed(5)
    one = Trigger(threshold, (2 * torch.randn(3 * width)).numpy().tobytes(), bytes(4))
    made = make_package()
    files = {**made.files, "retention.jsonl": dump([Benign(prompt) for prompt in prompts])}
    bank = bank_of(torch.ones(2, width)).routed(Router((one,) * triggers, (1,)))
    manifest = replace(make_package().manifest, schema=2)
    files["replay.jsonl"] = dump([Pair("w1", "thank you", "you fool")])
    return replace(made, files=files, bank=bank, manifest=manifest.with_bank(bank.table))


def odds(loaded, router):
    encoder = encoder_of(loaded)
    inner = backbone_of(attach(loaded.model)).inner
    return probabilities(inner, router, [encoder.prompt(prompt) for prompt in SEEN])[:, 0].double().logit()


@pytest.mark.parametrize("threshold", [0.9, 0.5, 0.02])
def test_a_threshold_keeps_its_distance_from_ordinary_prompts(threshold):
    old, new, given = base(0), base(0, shift=0.05), package(threshold)
    moved = on_next_base(given, old, new)
    router = moved.bank.router
    assert router.triggers[0].threshold != threshold
    assert moved.manifest.bank.threshold == (router.triggers[0].threshold,)
    assert moved.bank.blocks == given.bank.blocks
    before, after = odds(old, router), odds(new, router)
    assert (before - after).abs().max() > 0.1
    distances = [
        (math.log(limit / (1 - limit)) - float(found.mean())) / float(found.std())
        for limit, found in ((threshold, before), (router.triggers[0].threshold, after))
    ]
    assert distances[0] == pytest.approx(distances[1], abs=1e-3)


@pytest.mark.parametrize("given", [package(prompts=PROMPTS[:20]), package(triggers=2), make_package()])
def test_where_too_little_is_known_a_package_stays_as_it_is(given):
    assert on_next_base(given, base(0), base(0, shift=0.05)) is given


def test_on_the_same_weights_nothing_moves():
    given = package()
    assert on_next_base(given, base(0), base(0)) is given


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_a_trigger_that_always_or_never_fires_goes_on_so(threshold):
    moved = on_next_base(package(threshold), base(0), base(0, shift=0.05)).bank.router
    assert moved.triggers[0].threshold == pytest.approx(threshold, abs=1e-6)
