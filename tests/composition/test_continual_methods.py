"""The methods of `benchmarks/continual.py`: each method keeps of earlier patches what it is known to keep."""

from dataclasses import replace

import pytest
import torch

from benchmarks.continual_methods import BATCH, METHODS, POOL_SIZE, Pool, Settings, Term, World, stages
from ppm.composition.compose import make_context
from ppm.package import read_package
from ppm.resources import lab_data
from ppm.runtime.loading import load_base
from ppm.runtime.model import attach, backbone_of
from ppm.runtime.router import picks
from ppm.runtime.tensors import prefix_of
from ppm.runtime.text import encoder_of
from ppm.training.material import features_on
from ppm.workspace import open_base

FEW = Settings(steps=3)


@pytest.fixture(scope="module")
def lab():
    return load_base(open_base("lab"))


@pytest.fixture(scope="module")
def packages():
    names = ("toxicity", "gender_bias")
    return [read_package(next((lab_data() / "packages").glob(f"{name}-*.ppm"))) for name in names]


@pytest.fixture(scope="module")
def world(lab, packages):
    return World(make_context(packages, lab, seed=0), FEW, 0, (packages[0].bank,))


@pytest.mark.parametrize("name", METHODS)
def test_only_progressive_prompts_keep_what_is_there_and_grow(world, packages, name):
    before = packages[0].bank
    after = METHODS[name](replace(world, settings=FEW), before)
    start, end = prefix_of(before), prefix_of(after)
    assert len(end) == len(start) * (2 if name == "progressive" else 1)
    assert torch.equal(end[: len(start)], start) is (name == "progressive")


def test_what_is_replayed_or_held_is_forgotten_less(world, packages):
    def forgotten(name):
        settings = Settings(steps=10, weight=20.0)
        bank = METHODS[name](replace(world, settings=settings), packages[0].bank)
        texts = world.earlier[:60]
        return float(Term(texts).loss(world.reader(bank), texts))

    assert max(map(forgotten, ("replay", "derpp", "lwf"))) < forgotten("sequential")


def test_a_pool_gives_each_prompt_the_block_whose_key_is_nearest(lab, world):
    pool = Pool.new(world)
    pool.learn(world)
    prompts = [pair.prompt for patch in world.patches for pair in patch.replay[:20]]
    away = torch.cat(features_on(lab, prompts, pool.layers, None)) - pool.middle
    nearest = (away @ torch.nn.functional.normalize(pool.keys).T).argmax(1).tolist()
    inner = backbone_of(attach(lab.model)).inner
    met = picks(inner, [pool.bank.router] * len(prompts), [encoder_of(lab).prompt(p) for p in prompts])
    assert met == [(block,) for block in nearest]
    assert float(pool.used.sum()) - POOL_SIZE == FEW.steps * 2 * BATCH


def test_all_but_the_pool_begin_with_the_first_patch_and_routing_keeps_its_block(lab, packages):
    found = list(stages("routed", lab, packages, FEW, 0))
    assert found[0] == packages[0].bank
    assert found[1].blocks == tuple(package.bank.blocks[0] for package in packages)
    for method, alike in (("lwf", True), ("continued", True), ("pool", False)):
        assert (next(stages(method, lab, packages, FEW, 0)) == packages[0].bank) is alike
