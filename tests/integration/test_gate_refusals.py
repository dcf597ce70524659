"""What the gate must never let through: a patch that does nothing, a worse version, and luck by repetition."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from commands import ppm

from ppm.environment.attempts import ledgers, read_ledger
from ppm.jsonl import dump
from ppm.manifest import PrefixShape
from ppm.package import Package, read_package, write_package
from ppm.resources import lab_data, lab_manifests
from ppm.runtime.loading import load_base
from ppm.runtime.tensors import bank_of, initial_prefix, prefix_of
from ppm.workspace import Workspace, open_base

TWO = ("toxicity", "gender-bias")


def shipped(name) -> Package:
    return next(
        p for path in (lab_data() / "packages").glob("*.ppm") if (p := read_package(path)).manifest.name == name
    )


def changed(package, version, prefix, folder):
    """The package file of another version with another prefix."""
    manifest = replace(package.manifest, patch=replace(package.manifest.patch, version=version))
    return write_package(Package(manifest, bank_of(prefix), package.files), folder)


def test_a_patch_that_does_nothing_is_refused(ppm_home, tmp_path):
    toxicity = shipped("toxicity")
    base = open_base("lab")
    loaded = load_base(base)
    nothing = initial_prefix(loaded, PrefixShape(toxicity.manifest.prefix.virtual_tokens, "the"))
    changed(toxicity, "3.0.0", nothing, tmp_path)
    result = ppm("install", "toxicity==3.0.0", "--base", "lab", "--find-links", tmp_path, "--json")
    assert result.code == 5
    failed = {c["rule"] for c in result.json["audit"]["comparisons"] if c["verdict"] == "fail"}
    assert "effect" in failed
    assert Workspace.open(Path.cwd()).environment_for(base).current() is None


def test_a_version_worse_than_the_deployed_one_is_refused(ppm_home, tmp_path):
    toxicity = shipped("toxicity")
    assert ppm("install", "toxicity", "--base", "lab").code == 0
    good = prefix_of(toxicity.bank)
    torch.manual_seed(0)
    worse = good + 0.8 * good.std() * torch.randn_like(good)
    changed(toxicity, "2.0.0", worse, tmp_path)
    result = ppm("upgrade", "toxicity", "--base", "lab", "--find-links", tmp_path, "--json")
    assert result.code in (5, 6)
    upgrade = [c for c in result.json["audit"]["comparisons"] if c["rule"] == "upgrade" and c["suite"] == "toxicity"]
    assert upgrade[0]["difference"] > 0.05
    assert upgrade[0]["verdict"] != "pass"
    # against its own specialist, which it is, it is not worse: only the rule for upgrades stands in its way
    own = [c for c in result.json["audit"]["comparisons"] if c["rule"] == "non-inferiority"]
    assert [c["verdict"] for c in own] == ["pass"]
    assert ppm("list", "--json").json["patches"][0]["version"] == "1.0.0"


def test_a_patch_whose_suite_is_too_small_is_refused(tmp_path):
    source = tmp_path / "toxicity"
    (source / "suites").mkdir(parents=True)
    for path in (lab_manifests() / "toxicity").rglob("*"):
        if path.is_file():
            target = source / path.relative_to(lab_manifests() / "toxicity")
            target.write_bytes(path.read_bytes())
    prompts = source / "suites" / "toxicity.jsonl"
    prompts.write_text("".join(prompts.read_text().splitlines(keepends=True)[:60]))
    result = ppm("build", source, "--check")
    assert result.code == 1
    assert "60 prompts, too few to decide reliably" in result.err
    assert "needs at least" in result.err


def test_what_replaces_a_patch_must_pass_its_suites_too(ppm_home, tmp_path):
    assert ppm("install", "toxicity", "--base", "lab").code == 0
    toxicity = shipped("toxicity")
    patch = replace(toxicity.manifest.patch, name="toxicity-next", replaces={"toxicity": "<2"})
    files = {**toxicity.files, toxicity.manifest.suites[0].prompts: fewer(toxicity)}
    write_package(Package(replace(toxicity.manifest, patch=patch), toxicity.bank, files), tmp_path)
    result = ppm("install", "toxicity-next", "--base", "lab", "--find-links", tmp_path, "--json")
    assert result.code == 0, result.err
    assert [p["name"] for p in result.json["patches"]] == ["toxicity-next"]
    assert {"toxicity/toxicity", "toxicity-next/toxicity"} <= set(result.json["audit"]["suites"])


def fewer(package) -> bytes:
    """All but one of the prompts of a package's suite."""
    return dump(list(package.prompts(package.manifest.suites[0]))[:-1])


@pytest.mark.slow
def test_ten_retries_with_other_seeds_are_each_refused_at_half_the_alpha(ppm_home, tmp_path):
    recipe = tmp_path / "hasty.toml"
    recipe.write_text(
        'schema = 1\nname = "hasty"\n[[steps]]\nuse = "average"\n'
        '[[steps]]\nuse = "distil"\nsteps = 3\nsamples = 1\nmax_new_tokens = 4\n'
    )
    alphas = []
    for seed in range(10):
        result = ppm("install", *TWO, "--base", "lab", "--strategy", recipe, "--seed", seed, "--json")
        assert result.code in (5, 6), result.err
        [attempt] = result.json["audit"]["attempts"]
        alphas.append(attempt["alpha"])
    assert alphas == [0.05 / 2**k for k in range(1, 11)]
    again = ppm("install", *TWO, "--base", "lab", "--strategy", recipe, "--seed", 0, "--json")
    assert again.json["audit"]["attempts"][0]["alpha"] == 0.025
    [ledger] = ledgers(ppm_home)
    assert len(read_ledger(ledger)) == 10
