"""Compositions as packages: what they carry, and which patches go together."""

import json
from dataclasses import replace

import pytest
import tiny
from packages import make_bank, make_package, make_trigger

from ppm.bank import Router
from ppm.bank_table import BankTable
from ppm.base import identify
from ppm.composition.compose import check_together, compose, make_context
from ppm.composition.strategy import read_strategy
from ppm.errors import ModelError, RequestError
from ppm.manifest import Base
from ppm.package import Package, read_package, write_package
from ppm.runtime.loading import load_base


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return identify(tiny.train_base(tmp_path_factory.mktemp("base") / "tiny", "llama", steps=1), name="tiny")


def patch(base, name, **changes):
    package = make_package(name, fingerprint=base.fingerprint, model="tiny", **changes)
    return Package(package.manifest, make_bank(2, 48, 0.1), package.files)


def triggered(base, name):
    package = patch(base, name)
    bank = package.bank.routed(Router((make_trigger(48),), (1,)))
    return Package(package.manifest.with_bank(bank.table), bank, package.files)


def test_a_composition_carries_suites_pairs_and_pins(base, tmp_path):
    packages = [patch(base, "one"), patch(base, "two")]
    check_together(packages, base)
    context = make_context(packages, load_base(base), seed=0)
    made = compose(packages, read_strategy("concat"), context, chosen_by="auto")
    read = read_package(write_package(made, tmp_path))
    assert read.manifest.prefix.virtual_tokens == 4
    assert {suite.name for suite in read.manifest.suites} == {"main", "two-main"}
    assert len(read.replay) == 4
    assert {pair.extra["patch"] for pair in read.replay} == {"one", "two"}
    record = read.manifest.composition
    assert record is not None
    assert [(c.name, c.sha256) for c in record.components] == [(p.manifest.name, p.sha256) for p in packages]
    assert (record.strategy, record.chosen_by) == ("concat", "auto")
    assert read.manifest.patch.provides == ("one", "two")


def test_suites_in_groups_are_composed_as_such(base, tmp_path):
    grouped, plain = patch(base, "one"), patch(base, "two")
    suites = tuple(replace(suite, group="group") for suite in grouped.manifest.suites)
    lines = grouped.files["suites/main.jsonl"].decode().splitlines()
    prompts = "".join(json.dumps({**json.loads(line), "group": f"g-{i}"}) + "\n" for i, line in enumerate(lines))
    files = {**grouped.files, "suites/main.jsonl": prompts.encode()}
    packages = [Package(replace(grouped.manifest, schema=2, suites=suites), grouped.bank, files), plain]
    made = compose(packages, read_strategy("concat"), make_context(packages, load_base(base), seed=0))
    read = read_package(write_package(made, tmp_path))
    assert {suite.name: suite.group for suite in read.manifest.suites} == {"main": "group", "two-main": None}


def test_a_routed_composition_is_read_with_all_its_blocks(base, tmp_path):
    packages = [triggered(base, "one"), triggered(base, "two")]
    made = compose(packages, read_strategy("routed"), make_context(packages, load_base(base), seed=0))
    read = read_package(write_package(made, tmp_path))
    assert [block.shape for block in read.bank.blocks] == [(2, 48), (2, 48)]
    assert [(t.block, t.patch) for t in read.bank.router.triggers] == [(0, "one"), (1, "two")]
    assert read.bank == made.bank


@pytest.mark.parametrize("names", [["one"], ["one", "two"]])
def test_what_can_be_exported_is_one_block_that_is_always_on(base, names):
    packages, loaded = [triggered(base, name) for name in names], load_base(base)

    def bank(strategy):
        context = make_context(packages, loaded, seed=0, conditional=strategy.triggers)
        return compose(packages, read_strategy("concat"), context).bank

    exportable = bank(read_strategy("exportable"))
    assert (exportable.arrangement, exportable.router, len(exportable.blocks)) == ("joined", None, 1)
    assert bank(read_strategy("concat")).always_on == exportable
    assert bank(read_strategy("concat")).router is not None


def test_an_isolated_composition_is_read_as_one(base, tmp_path):
    packages = [patch(base, "one"), patch(base, "two")]
    made = compose(packages, read_strategy("isolated"), make_context(packages, load_base(base), seed=0))
    read = read_package(write_package(made, tmp_path))
    assert (read.bank, read.bank.arrangement) == (made.bank, "isolated")
    assert [block.values for block in read.bank.blocks] == [p.bank.blocks[0].values for p in packages]
    assert read.manifest.bank == BankTable("isolated")
    assert read.manifest.prefix.virtual_tokens == 4


def test_one_patch_is_its_own_composition(base):
    packages = [patch(base, "one")]
    context = make_context(packages, load_base(base), seed=0)
    made = compose(packages, read_strategy("distilled"), context)
    assert made.bank == packages[0].bank
    assert made.manifest.composition.strategy == "single"


@pytest.mark.parametrize("seed", [10**30, -1, "7", None])
def test_a_seed_that_no_generator_takes_is_not_known(base, seed):
    package = patch(base, "one")
    package = Package(replace(package.manifest, provenance={"seed": seed}), package.bank, package.files)
    assert make_context([package], load_base(base), seed=0).specialists[0].initial is None
    known = Package(replace(package.manifest, provenance={"seed": 7}), package.bank, package.files)
    assert make_context([known], load_base(base), seed=0).specialists[0].initial is not None


def test_patches_of_different_placement_are_refused(base):
    other = patch(base, "two")
    manifest = other.manifest
    moved = Base(manifest.base.model, fingerprint=manifest.base.fingerprint, placement="after-bos")
    packages = [patch(base, "one"), Package(replace(manifest, base=moved), other.bank, other.files)]
    with pytest.raises(RequestError, match="different placements"):
        check_together(packages, base)


def test_patches_of_another_base_or_width_are_refused(base):
    with pytest.raises(ModelError, match="not that model"):
        check_together([make_package("one")], base)
    narrow = make_package("one", fingerprint=base.fingerprint, model="tiny")
    with pytest.raises(ModelError, match="wide"):
        make_context([narrow], load_base(base), seed=0)
