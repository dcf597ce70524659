"""What the gate must never let through: a patch that does nothing, a worse version, and luck by repetition."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from commands import ppm

from ppm.audit.gate import alpha_of_attempt
from ppm.environment.attempts import ELSEWHERE, ledgers, read_ledger
from ppm.jsonl import dump
from ppm.lock import Lock
from ppm.manifest import PrefixShape
from ppm.package import Package, read_package, write_package
from ppm.resources import lab_data, lab_manifests
from ppm.runtime.loading import load_base
from ppm.runtime.tensors import bank_of, initial_prefix, prefix_of
from ppm.workspace import Workspace, open_base

pytestmark = pytest.mark.usefixtures("answered")
TWO = ("toxicity", "gender-bias")
RETRIES = 3


@pytest.fixture
def as_elsewhere(monkeypatch):
    """The lab's suites keep their prompts, as those of other bases do."""
    monkeypatch.setattr("ppm.install.choose.drawn_anew", lambda suites, draw: list(suites))


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
@pytest.mark.usefixtures("as_elsewhere")
def test_retries_with_other_seeds_are_each_refused_and_have_less_alpha(ppm_home, tmp_path):
    recipe = tmp_path / "hasty.toml"
    recipe.write_text(
        'schema = 1\nname = "hasty"\n[[steps]]\nuse = "average"\n'
        '[[steps]]\nuse = "distil"\nsteps = 3\nsamples = 1\nmax_new_tokens = 4\n'
    )
    alphas = []
    for seed in range(RETRIES):
        result = ppm("install", *TWO, "--base", "lab", "--strategy", recipe, "--seed", seed, "--json")
        assert result.code in (5, 6), result.err
        [attempt] = result.json["audit"]["attempts"]
        alphas.append(attempt["alpha"])
    assert alphas == [alpha_of_attempt(0.05, k) for k in range(1, RETRIES + 1)]
    again = ppm("install", *TWO, "--base", "lab", "--strategy", recipe, "--seed", 0, "--json")
    assert again.json["audit"]["attempts"][0]["alpha"] == 0.03
    [ledger] = ledgers(ppm_home)
    assert len(read_ledger(ledger)) == RETRIES


def renamed(package, name, folder):
    """The same patch under another name, a little changed, with its suite's prompts in another order."""
    [suite] = package.manifest.suites
    prompts = list(package.prompts(suite))[::-1]
    manifest = replace(package.manifest, patch=replace(package.manifest.patch, name=name))
    prefix = prefix_of(package.bank)
    files = {**package.files, suite.prompts: dump(prompts)}
    return write_package(Package(manifest, bank_of(prefix + 1e-4), files), folder)


@pytest.mark.usefixtures("as_elsewhere")
def test_another_name_does_not_bring_fresh_alpha_and_a_lost_count_voids_the_guarantee(ppm_home, tmp_path):
    assert ppm("install", "toxicity", "--base", "lab").code == 0
    renamed(shipped("toxicity"), "kindness", tmp_path)
    again = ppm("install", "kindness", "--base", "lab", "--env", "staging", "--find-links", tmp_path, "--json")
    suites = again.json["audit"]["suites"]
    assert {label: suite["attempt"] for label, suite in suites.items()} == dict.fromkeys(suites, 2)
    assert {c["alpha"] for c in again.json["audit"]["comparisons"]} == {alpha_of_attempt(0.05, 2)}
    assert "all attempts on its prompts together" in again.json["audit"]["guarantee"]
    counted = ppm("attempts", "--base", "lab", "--env", "staging")
    assert re.search(r"toxicity +340 +2 +0.038 +0.0034 +141 +238", counted.out), counted.out
    shutil.rmtree(ppm_home / "attempts")
    audit = ppm("audit", "--base", "lab", "--env", "staging")
    assert "nothing is shown, because the count of attempts lacks some that deployment 1 was tested after" in audit.out
    assert "Nothing was tested on lab here yet." in ppm("attempts", "--base", "lab").err
    staged = ppm("attempts", "--base", "lab", "--env", "staging")
    assert "What is deployed brings a count of 2 attempts with it" in staged.err


@pytest.mark.usefixtures("as_elsewhere")
def test_a_lock_carries_the_count_into_a_fresh_home(tmp_path, monkeypatch):
    changed(toxicity := shipped("toxicity"), "2.0.0", prefix_of(toxicity.bank) + 1e-4, tmp_path / "dist")
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    (project / "ppm.toml").write_text('base = "lab"\npatches = ["toxicity<2"]\nsources = ["../dist"]\n')
    assert ppm("lock").code == 0
    for home in ("first", "second"):  # the very composition again: it has been seen before
        monkeypatch.setenv("PPM_HOME", str(tmp_path / home))
        assert ppm("sync", "--recompose").code == 0
        assert set(Lock.read(project / "ppm.lock").attempts.values()) == {1}
    monkeypatch.setenv("PPM_HOME", str(tmp_path / "third"))
    (project / "ppm.toml").write_text('base = "lab"\npatches = ["toxicity"]\nsources = ["../dist"]\n')
    assert ppm("lock", "--upgrade").code == 0
    done = ppm("sync", "--json")
    assert done.code in (0, 5, 6), done.err
    assert Lock.read(project / "ppm.lock").attempts
    [(_, counted)] = [(path, read_ledger(path)) for path in ledgers(tmp_path / "third")]
    assert [(attempt.verdict == ELSEWHERE, attempt.times) for attempt in counted[:-1]] == [(True, 1)] * (
        len(counted) - 1
    )
    assert {row["attempts"] for row in ppm("attempts", "--base", "lab", "--json").json["suites"]} == {2}


def test_playing_with_the_lab_never_uses_up_its_alpha(ppm_home, monkeypatch):
    monkeypatch.setattr("ppm.lab.prompts.TOGETHER", 2)
    tried = ("concat", "merged", "isolated")
    for strategy, attempt in zip(tried, (1, 2, 1), strict=True):  # the third is tested on other prompts
        result = ppm("test", *TWO, "--base", "lab", "--strategy", strategy, "--json")
        assert {suite["attempt"] for suite in result.json["audit"]["suites"].values()} == {attempt}, result.err
    [ledger] = ledgers(ppm_home)
    assert len(read_ledger(ledger)) == len(tried)
    counted = [row for row in ppm("attempts", "--base", "lab", "--json").json["suites"] if row["suite"] == "toxicity"]
    assert [(row["set"], row["attempts"]) for row in counted] == [(1, 2), (2, 1)]
    shown = ppm("attempts", "--base", "lab").out
    assert re.search(r"toxicity, set 1 +340 +2 ", shown)
    assert re.search(r"toxicity, set 2 +340 +1 ", shown)
    waived = ("--accept", "toxicity", "--accept", "gender-bias", "--reason", "a test")
    again = ppm("install", *TWO, "--base", "lab", "--strategy", "isolated", *waived, "--json")
    assert again.code == 0, again.err
    assert {suite["attempt"] for suite in again.json["audit"]["suites"].values()} == {1}
    audited = ppm("audit", "--base", "lab", "--json")
    assert not any("has changed" in note for note in audited.json["notes"])
    digests = [{label: s["digest"] for label, s in r["suites"].items()} for r in (again.json["audit"], audited.json)]
    assert digests[0] == digests[1]
