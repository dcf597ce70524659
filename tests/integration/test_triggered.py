"""A patch with a trigger goes through build, install, audit, load, generate, lock and sync as any other."""

import json
import shutil
from pathlib import Path

import pytest
import tiny
import torch
from commands import imported, ppm

import ppm as library
from ppm.package import read_package
from ppm.runtime.loading import load_base
from ppm.runtime.model import backbone_of
from ppm.workspace import Workspace, open_base

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """(base folder, folder with the built package file, what the build said)."""
    folder = tmp_path_factory.mktemp("world")
    base = tiny.train_base(folder / "my-gpt2")
    tiny.write_sums(base, margin=0.3)
    source = tiny.write_patch(folder / "kindness", base)
    with (source / "benign.jsonl").open("a") as more:
        more.writelines(json.dumps({"prompt": f"nice sum {word} {word} :"}) + "\n" for word in tiny.WORDS)
    manifest = source / "patch.toml"
    manifest.write_text(manifest.read_text().replace("trigger = false\n", ""))
    result = ppm("build", source, "--output", folder / "packages", "--json")
    assert result.code == 0, result.err
    return base, folder / "packages", result


def deploy(base, packages):
    result = ppm("install", "kindness", "--base", base, "--find-links", packages, "--json")
    assert result.code == 0, result.err
    return result


def test_the_build_fits_the_trigger_and_measures_the_patch_behind_it(world):
    _, packages, result = world
    assert list(result.json["scores"]["kind"]) == ["base", "init", "sft", "dpo", "trigger"]
    package = read_package(next(packages.glob("*.ppm")))
    assert package.bank.router.triggers[0].patch == "kindness"
    assert (package.manifest.schema, package.manifest.bank.arrangement) == (2, "routed")
    record = package.manifest.provenance["trigger"]
    assert record["ships"] is True
    assert record["chosen"][1] > 0.9


def changed(base, tmp_path, version="1.1.0"):
    """The patch's source in another folder, of another version, with more benign examples for its trigger."""
    source = shutil.copytree(base.parent / "kindness", tmp_path / version)
    manifest = source / "patch.toml"
    text = manifest.read_text().replace('version = "1.0.0"', f'version = "{version}"')
    manifest.write_text(text.replace("[training]", '[training]\nexamples = "examples.jsonl"', 1))
    rows = [{"prompt": f"nice sum {word} plus {word} :", "concerns": False} for word in tiny.WORDS]
    (source / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return source


def test_an_earlier_prefix_gets_a_new_trigger_without_any_training(world, ppm_home, tmp_path):
    base, packages, _ = world
    earlier = next(packages.glob("*.ppm"))
    before = read_package(earlier)
    source = changed(base, tmp_path)
    built = ppm("build", source, "--prefix-of", earlier, "--output", tmp_path / "new", "--json")
    assert built.code == 0, built.err
    package = read_package(Path(built.json["file"]))
    assert package.bank.blocks == before.bank.blocks
    assert package.bank.router != before.bank.router
    made, was = package.manifest.provenance, before.manifest.provenance
    assert list(made["scores"]["kind"]) == ["base", was["shipped"], "trigger"]
    assert {key: made[key] for key in ("stages", "compared")} == {key: was[key] for key in ("stages", "compared")}
    assert (made["prefix_of"]["version"], made["prefix_of"]["sha256"]) == ("1.0.0", before.sha256)
    again = changed(base, tmp_path, "1.2.0")
    third = ppm("build", again, "--prefix-of", built.json["file"], "--output", tmp_path / "new", "--json")
    assert read_package(Path(third.json["file"])).manifest.provenance["prefix_of"] == made["prefix_of"], (
        "what trained it"
    )
    seed = ppm("build", source, "--prefix-of", earlier, "--seed", "7", "--output", tmp_path / "other")
    assert "kindness==1.0.0: was trained with another seed than the manifest has now" in seed.err
    assert "leave out --prefix-of" in seed.err
    manifest = source / "patch.toml"
    text = manifest.read_text()
    manifest.write_text(text.replace("[training]", "[training]\nretention_weight = 7.5", 1))
    settings = ppm("build", source, "--prefix-of", earlier, "--output", tmp_path / "other")
    assert "was trained with other settings than [training] has now" in settings.err
    manifest.write_text(text)
    dtype = ppm("build", source, "--prefix-of", earlier, "--dtype", "bfloat16", "--output", tmp_path / "other")
    assert "was trained in float32" in dtype.err
    assert "give --dtype float32" in dtype.err
    assert "leave out --prefix-of" in ppm("build", source, "--check", "--prefix-of", earlier).err
    with (source / "pairs.jsonl").open("a") as more:
        more.write(json.dumps({"prompt": "nice dog :", "chosen": "good", "rejected": "bad"}) + "\n")
    pairs = ppm("build", source, "--prefix-of", earlier, "--output", tmp_path / "other")
    assert "was trained with other pairs than the manifest has now" in pairs.err
    manifest.write_text(text.replace('name = "kindness"', 'name = "calm"'))
    named = ppm("build", source, "--prefix-of", earlier, "--output", tmp_path / "other")
    assert "is a package of kindness, not of calm" in named.err
    assert {result.code for result in (seed, settings, dtype, pairs, named)} == {1}
    assert not (tmp_path / "other").exists()


def test_an_audit_shows_on_what_it_fires(world, ppm_home, tmp_path):
    base, packages, _ = world
    deploy(base, packages)
    audit = ppm("audit", "--base", base, "--json", "--html", tmp_path / "audit.html").json
    rows = {(row["configuration"], row["suite"]): row for row in audit["triggers"]}
    assert set(rows) == {(c, s) for c in ("kindness==1.0.0", "composition") for s in ("kind", "sums")}
    assert (rows["composition", "kind"]["kind"], rows["composition", "sums"]["kind"]) == ("recall", "false alarms")
    assert rows["composition", "kind"]["share"] > 0.95 > 0.05 > rows["composition", "sums"]["share"]
    assert rows["composition", "kind"]["curve"]["0.01"] >= rows["composition", "kind"]["curve"]["0.99"]
    assert audit["matrix"]["composition"]["sums"] == audit["matrix"]["base"]["sums"]
    assert "<h2>Triggers</h2>" in (tmp_path / "audit.html").read_text()
    printed = ppm("audit", "--base", base).out
    assert "Triggers: the share of a suite's prompts" in printed
    code, modules = imported("audit", "--base", base)
    assert code == 0
    assert not {"torch", "transformers"} & modules


def test_what_is_loaded_is_patched_where_the_trigger_fires(world, ppm_home):
    base, packages, _ = world
    deploy(base, packages)
    model, tokenizer = library.load(str(base))
    plain = load_base(open_base(str(base))).model
    benign = tokenizer("sum w3 :", return_tensors="pt").input_ids
    risky = tokenizer("say w3 w4 :", return_tensors="pt").input_ids
    with torch.no_grad():
        assert torch.equal(model(benign).logits, plain(benign).logits)
        assert not torch.allclose(model(risky).logits, plain(risky).logits, atol=1e-2)
    assert backbone_of(model).held[0].router is not None
    both = ppm("generate", "say w1 w2 :", "--base", base, "--compare", "--temperature", "0", "--json").json
    assert (both[0]["unpatched"].split()[0], both[0]["patched"].split()[0]) == ("bad", "good")


def test_a_lock_brings_the_trigger_to_another_home(world, ppm_home, tmp_path, monkeypatch):
    base, packages, _ = world
    project = tmp_path / "project"
    project.mkdir()
    (project / "ppm.toml").write_text(f'base = "{base}"\npatches = ["kindness"]\nsources = ["{packages}"]\n')
    monkeypatch.chdir(project)
    assert ppm("lock").code == 0
    made = ppm("sync")
    assert made.code == 0, made.err
    first = Workspace.open(project).find_environment(str(base), None).current().bank
    assert first.router is not None
    shutil.rmtree(ppm_home / "environments")
    result = ppm("sync")
    assert result.code == 0, result.err
    assert Workspace.open(project).find_environment(str(base), None).current().bank == first


@pytest.mark.parametrize(("policy", "triggers"), [("", 1), ('[gates]\ntrigger = "always"\n', 0)])
def test_composing_heeds_whether_triggers_are_wanted(world, ppm_home, tmp_path, monkeypatch, policy, triggers):
    base, packages, _ = world
    (tmp_path / "ppm.toml").write_text(policy)
    monkeypatch.chdir(tmp_path)
    where = ("--base", base, "--find-links", packages, "--strategy", "concat", "--output", tmp_path / "dist")
    done = ppm("compose", "kindness", *where)
    assert done.code == 0, done.err
    router = read_package(next((tmp_path / "dist").glob("*.ppm"))).bank.router
    assert len(router.triggers if router is not None else ()) == triggers
