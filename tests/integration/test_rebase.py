"""`ppm rebase`: a patch for the next base, as it is, distilled, or trained anew."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
from commands import ppm

from ppm.bank import Router, Trigger
from ppm.environment.attempts import ledgers, read_ledger
from ppm.package import SKETCH, read_package, write_package
from ppm.runtime.derived import sketch_of
from ppm.workspace import open_base

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """(the old base, the package file made for it, a base of another family)."""
    folder = tmp_path_factory.mktemp("world")
    old = tiny.train_base(folder / "my-llama", "llama")
    tiny.write_sums(old, margin=0.6)
    built = ppm("build", tiny.write_patch(folder / "kindness", old), "--output", folder / "dist")
    assert built.code == 0, built.err
    other = tiny.train_base(folder / "my-gpt2", "gpt2", seed=3)  # which forgets its sums under the patch as it is
    tiny.write_sums(other, margin=0.3)
    return old, next((folder / "dist").glob("*.ppm")), other


def test_an_update_takes_the_patch_as_it_is_and_it_installs_there(world, tmp_path):
    old, package, _ = world
    new = tiny.updated(old, tmp_path / "my-llama-2")
    done = ppm("rebase", package, "--onto", new, "--output", tmp_path / "dist", "--json")
    assert done.code == 0, done.err
    assert [(one["way"], one["verdict"]) for one in done.json["tried"]] == [("as it is", "pass")]
    assert done.json["before"]["kind"] == pytest.approx(done.json["tried"][0]["rates"]["kind"], abs=0.1)
    moved = read_package(tmp_path / "dist" / done.json["file"].rpartition("/")[2])
    assert moved.bank == read_package(package).bank
    assert moved.manifest.base.fingerprint == open_base(str(new)).fingerprint
    assert moved.manifest.provenance["rebased"]["way"] == "as it is"
    installed = ppm("install", "kindness", "--base", new, "--find-links", tmp_path / "dist")
    assert installed.code == 0, installed.err


def test_what_was_measured_on_the_old_base_is_left_behind(world, tmp_path):
    """The sketch, by which bases are accepted as derived ones, and the curve of a trigger."""
    old, package, _ = world
    built = read_package(package)
    manifest = replace(
        built.manifest,
        schema=2,
        base=replace(built.manifest.base, accepts=("derived",)),
        provenance={**built.manifest.provenance, "trigger": {"ships": False}},
    )
    files = {**built.files, SKETCH: sketch_of(open_base(str(old))).to_bytes()}
    derived = write_package(replace(built, manifest=manifest, files=files), tmp_path / "derived")
    new = tiny.updated(old, tmp_path / "my-llama-2")
    done = ppm("rebase", derived, "--onto", new, "--way", "as-is", "--output", tmp_path / "dist", "--json")
    assert done.code == 0, done.err
    moved = read_package(tmp_path / "dist" / done.json["file"].rpartition("/")[2])
    assert moved.files[SKETCH] == sketch_of(open_base(str(new))).to_bytes() != files[SKETCH]
    assert not {"scores", "trigger"} & set(moved.manifest.provenance)


def test_another_family_gets_it_distilled_and_without_the_old_base_retrained(world, tmp_path):
    _, package, other = world
    done = ppm("rebase", package, "--onto", other, "--output", tmp_path / "dist")
    assert done.code == 0, done.err
    rows = [line.split() for line in done.out.splitlines()]
    assert ["as", "it", "is", "fail"] in [row[:4] for row in rows]
    assert ["distilled", "pass"] in [row[:2] for row in rows]
    assert "(distilled)" in done.err + done.out

    alone = tmp_path / "alone.ppm"
    shutil.copy(package, alone)
    hidden = world[0].rename(world[0].with_name("away"))
    try:
        again = ppm("rebase", alone, "--onto", other, "--output", tmp_path / "again", "--json")
    finally:
        hidden.rename(world[0])
    assert again.code == 0, again.err
    assert "not at hand" in again.err
    assert "is not on this machine" in again.json["skipped"]["distilled"]
    assert again.json["tried"][-1]["way"] == "retrained"
    assert set(again.json["before"]) == {"kind"}


def test_what_is_trained_again_has_the_settings_of_its_publisher(world, tmp_path):
    """Of its stages and its trigger; rates that were stated follow the embeddings."""
    _, package, other = world
    done = ppm("rebase", package, "--onto", other, "--way", "retrained", "--output", tmp_path / "dist", "--json")
    assert done.code == 0, done.err
    told = read_package(package).manifest.provenance
    made = read_package(tmp_path / "dist" / done.json["file"].rpartition("/")[2])
    for name, before in told["stages"].items():
        found = made.manifest.provenance["stages"][name]
        assert {**found, "learning_rate": 0} == {**before, "learning_rate": 0}
        assert found["learning_rate"] / before["learning_rate"] == pytest.approx(2, abs=0.2)  # as GPT-2's to Llama's
    assert made.bank.router is None  # as trigger = false asks


def test_the_policy_of_the_project_holds_on_the_new_base(world, tmp_path, monkeypatch):
    old, package, _ = world
    new = tiny.updated(old, tmp_path / "my-llama-2")
    (tmp_path / "ppm.toml").write_text("[gates]\nalpha = 1e-9\n")
    monkeypatch.chdir(tmp_path)
    done = ppm("rebase", package, "--onto", new, "--way", "as-is", "--output", tmp_path / "dist")
    assert done.code == 6, done.err
    assert not (tmp_path / "dist").exists()


def test_what_passes_in_no_way_writes_nothing(world, tmp_path):
    _, package, other = world
    done = ppm("rebase", package, "--onto", other, "--way", "as-is", "--output", tmp_path / "dist")
    assert done.code == 5
    assert "so nothing was written" in done.err
    assert "hint: build it from its source manifest" in done.err
    assert not (tmp_path / "dist").exists()
    [ledger] = ledgers(Path(os.environ["PPM_HOME"]))
    assert [(attempt.strategy, attempt.verdict) for attempt in read_ledger(ledger)][-1] == ("as it is", "fail")


def test_a_trigger_that_reads_deeper_than_the_new_base_rules_out_one_way_only(world, tmp_path):
    old, package, _ = world
    found = read_package(package)
    size = 3 * found.bank.hidden_size
    deep = found.bank.routed(Router((Trigger(0.5, bytes(4 * size), bytes(4)),), (40,)))
    manifest = replace(found.manifest, schema=2).with_bank(deep.table)
    made = write_package(replace(found, manifest=manifest, bank=deep), tmp_path)
    new = tiny.updated(old, tmp_path / "my-llama-2")
    done = ppm("rebase", made, "--onto", new, "--output", tmp_path / "dist", "--way", "as-is")
    assert done.code == 1
    assert "as it is: not possible: has 2 layers, but a trigger reads after 40" in done.err
    assert "can't be moved to" in done.err


def test_what_a_policy_asks_of_triggers_is_not_known_on_a_base_where_none_was_fitted(world, tmp_path, monkeypatch):
    old, package, _ = world
    found = read_package(package)
    size = 3 * found.bank.hidden_size
    routed = found.bank.routed(Router((Trigger(0.5, bytes(4 * size), bytes(4)),), (1,)))
    curve = {"shares": ["threshold", "recall", "false_alarms"], "curve": [[0.5, 1.0, 0.0]]}
    manifest = replace(found.manifest, schema=2, provenance={**found.manifest.provenance, "trigger": curve})
    made = write_package(replace(found, manifest=manifest.with_bank(routed.table), bank=routed), tmp_path)
    new = tiny.updated(old, tmp_path / "my-llama-2")
    (tmp_path / "ppm.toml").write_text("[gates]\ntrigger_recall = 0.9\n")
    monkeypatch.chdir(tmp_path)
    done = ppm("rebase", made, "--onto", new, "--output", tmp_path / "dist", "--way", "as-is")
    assert done.code == 1
    assert "as it is: not possible: does not say at which threshold its trigger finds 0.9 of the risk" in done.err


def test_what_can_not_be_moved_is_one_message(world, tmp_path):
    old, package, other = world
    assert "is already made for" in ppm("rebase", package, "--onto", old).err
    wrong = ppm("rebase", package, "--onto", other, "--from", other)
    assert wrong.code == 1
    assert "is not that model" in wrong.err
    assert "is not a folder" in ppm("rebase", package, "--onto", tmp_path / "nowhere").err
