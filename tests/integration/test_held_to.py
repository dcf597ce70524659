"""What later deployments are held to: the first that was approved, and the suites of every version before."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from commands import ppm
from integration.test_gate_refusals import shipped

from ppm.install.earlier import anchors_of
from ppm.package import Package, write_package
from ppm.runtime.tensors import bank_of, prefix_of
from ppm.workspace import Workspace, open_base

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("answered")]


def version(number, folder, *, noise=0.0, prompts=None):
    """The package file of another version of toxicity: with noise on its prefix, or fewer prompts in its suite."""
    package = shipped("toxicity")
    generator = torch.Generator().manual_seed(int(number[0]))
    prefix = prefix_of(package.bank)
    prefix += noise * prefix.std() * torch.randn(prefix.shape, generator=generator)
    files = dict(package.files)
    [path] = {suite.prompts for suite in package.manifest.suites}
    if prompts is not None:
        files[path] = b"".join(files[path].splitlines(keepends=True)[prompts])
    manifest = replace(package.manifest, patch=replace(package.manifest.patch, version=number))
    return write_package(Package(manifest, bank_of(prefix), files), folder)


def upgraded(folder, *options, code=0):
    done = ppm("upgrade", "--base", "lab", "--find-links", folder, *options, "--json")
    assert done.code == code, done.err
    return done.json["audit"]


def anchors(audit):
    return {label.rpartition("/")[2]: suite["anchor"] for label, suite in audit["suites"].items()}


def test_what_was_waived_is_no_anchor_and_the_first_approved_one_stays(ppm_home, tmp_path):
    first = ppm("install", "toxicity", "--base", "lab", "--json").json["audit"]
    assert len(set(anchors(first).values())) == 1
    version("2.0.0", tmp_path, noise=0.8)
    waived = upgraded(tmp_path, "--accept", "toxicity", "--reason", "a trial")
    assert waived["verdict"] == "waived"
    assert anchors(waived)["toxicity"] == anchors(first)["toxicity"]
    assert "anchor" not in {c["rule"] for c in waived["comparisons"]}  # it is what is deployed
    version("3.0.0", tmp_path, noise=0.01)
    audit = upgraded(tmp_path)
    [held] = [c for c in audit["comparisons"] if (c["rule"], c["suite"]) == ("anchor", "toxicity")]
    assert (held["against"], held["verdict"]) == ("deployment 1", "pass")
    assert abs(held["difference"]) < 0.02
    assert anchors(audit)["toxicity"] == anchors(first)["toxicity"]
    environment = Workspace.open(Path.cwd()).environment_for(open_base("lab"))
    before = anchors_of(environment)
    assert before["toxicity", "toxicity"].digest == anchors(first)["toxicity"]
    assert ppm("rollback", "2", "--base", "lab").code == 0  # to the one that was waived
    assert anchors_of(environment) == before
    dict(environment.store.contents())[before["toxicity", "toxicity"].digest.removeprefix("sha256:")].unlink()
    lost = anchors_of(environment)["toxicity", "toxicity"]
    assert (lost.digest, lost.bank) == (before["toxicity", "toxicity"].digest, None)


def test_suites_of_replaced_versions_are_run_until_they_are_retired(ppm_home, tmp_path, monkeypatch):
    version("1.1.0", tmp_path, prompts=slice(0, 240))
    assert ppm("install", "toxicity", "--base", "lab", "--find-links", tmp_path).code == 0
    version("2.0.0", tmp_path, noise=0.01, prompts=slice(50, 290))
    upgraded(tmp_path)
    version("3.0.0", tmp_path, noise=0.01, prompts=slice(100, 340))
    old = [f"toxicity=={number}/toxicity" for number in ("1.1.0", "2.0.0")]
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "ppm.toml").write_text(f"[gates]\nretired = {json.dumps(old[:1])}\n")
    assert set(upgraded(tmp_path)["suites"]) >= {*old, "toxicity==3.0.0/toxicity"}
    version("4.0.0", tmp_path, noise=0.02, prompts=slice(100, 340))
    monkeypatch.chdir(folder)
    suites = set(upgraded(tmp_path)["suites"])
    assert old[1] in suites
    assert old[0] not in suites
