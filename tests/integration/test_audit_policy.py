"""An audit of what is deployed is under the deployment's own policy and runs its suites, wherever it is called."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
from commands import ppm

from ppm.environment.deployment import POLICY_FILE, RECORD_FILE
from ppm.install.current import audit_of
from ppm.jsonl import dump
from ppm.package import Package, read_package, write_package
from ppm.workspace import Workspace, open_base

POLICY = '[gates]\nmax_margin = 0.2\nsuites = ["ours.toml"]\n'


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(base folder, folder of packages, home with a deployment, folder of the project that it was made in)."""
    folder = tmp_path_factory.mktemp("world")
    base = tiny.train_base(folder / "my-gpt2")
    tiny.write_sums(base, margin=0.3)
    packages, home, project = folder / "packages", folder / "home", folder / "project"
    built = ppm("build", tiny.write_patch(folder / "kindness", base), "--output", packages)
    assert built.code == 0, built.err
    project.mkdir()
    (project / "ppm.toml").write_text(POLICY)
    suites = (base / "ppm-base.toml").read_text()
    (project / "ours.toml").write_text(suites.replace('"sums"', '"ours"').replace("suites/sums", "sums"))
    (project / "sums.jsonl").write_bytes((base / "suites" / "sums.jsonl").read_bytes())
    before = os.environ["PPM_HOME"], Path.cwd()
    try:
        os.environ["PPM_HOME"] = str(home)
        os.chdir(project)
        done = ppm("install", "kindness", "--base", base, "--find-links", packages)
        assert done.code == 0, done.err
    finally:
        os.environ["PPM_HOME"] = before[0]
        os.chdir(before[1])
    return base, packages, home, project


@pytest.fixture
def world(made, ppm_home, tmp_path, monkeypatch):
    """The same with a home and a project of the test's own, seen from a folder without a ppm.toml."""
    base, packages, home, project = made
    shutil.copytree(home, ppm_home, dirs_exist_ok=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    return base, packages, project, elsewhere


def audited(base):
    done = ppm("audit", "--base", base, "--json")
    assert done.code == 0, done.err
    return done.json


def widest(audit, rule):
    return max(c["margin"] for c in audit["comparisons"] if c["rule"] == rule)


@pytest.mark.slow
def test_from_another_folder_the_deployers_suites_are_run_under_their_policy(world):
    base, _, _, _ = world
    audit = audited(base)
    assert {"kind", "sums", "ours"} == set(audit["suites"])
    assert widest(audit, "utility") == 0.2
    assert audit["notes"] == []


@pytest.mark.slow
def test_an_audit_spends_the_alpha_of_the_attempt_that_is_deployed(world):
    """And so it guarantees what the install did."""
    base, _, _, _ = world
    deployment = Workspace.open(Path.cwd()).environment_for(open_base(str(base))).current()
    shipped = audit_of(deployment)
    again = audited(base)
    assert shipped.attempts[-1].alpha == again["comparisons"][0]["alpha"] == 0.03
    assert (again["alpha"], again["comparisons"][0]["lower"]) == (0.05, shipped.comparisons[0].lower)


@pytest.mark.slow
def test_another_policy_in_the_folder_is_named_and_not_used(world):
    base, _, _, elsewhere = world
    (elsewhere / "ppm.toml").write_text("[gates]\nmax_margin = 0.01\n")
    audit = audited(base)
    assert widest(audit, "utility") == 0.2
    [note] = audit["notes"]
    assert "max_margin: 0.2 there, 0.01 here; suites: ours.toml there, none here" in note
    assert note in ppm("audit", "--base", base).out


@pytest.mark.slow
def test_suites_that_are_gone_are_named_and_found_where_the_folder_names_them(world):
    base, _, project, elsewhere = world
    away = project.with_name("away")
    project.rename(away)
    try:
        refused = ppm("audit", "--base", base)
        assert refused.code == 1
        assert "ours.toml: no longer exists, but deployment 1 was tested with it" in refused.err
        for file in away.iterdir():
            shutil.copy(file, elsewhere)
        audit = audited(base)
        assert "ours" in audit["suites"]
        assert audit["notes"] == []
    finally:
        away.rename(project)


@pytest.mark.slow
def test_a_suite_that_changed_since_is_named(world):
    base, _, project, _ = world
    prompts = project / "sums.jsonl"
    before = prompts.read_text()
    try:
        prompts.write_text("".join(before.splitlines(keepends=True)[1:]))
        assert audited(base)["notes"] == ["the suite ours has changed since deployment 1"]
    finally:
        prompts.write_text(before)


@pytest.mark.slow
def test_a_deployment_of_an_older_ppm_kept_no_policy(world, monkeypatch):
    base, _, project, _ = world
    deployment = Workspace.open(Path.cwd()).environment_for(open_base(str(base))).current()
    files = {name: digest for name, digest in deployment.record.files.items() if name != POLICY_FILE}
    (deployment.path / RECORD_FILE).write_text(replace(deployment.record, files=files).render())
    (deployment.path / POLICY_FILE).unlink()
    notes = audited(base)["notes"]
    assert "which an older ppm did not record: this audit uses ppm's own policy" in notes[0]
    assert "the suite ours can't be run again" in notes[1]
    monkeypatch.chdir(project)
    audit = audited(base)
    assert (audit["notes"], "ours" in audit["suites"]) == ([], True)


@pytest.mark.slow
def test_the_suites_of_a_replaced_version_are_run_again_while_its_package_is_there(world, tmp_path, monkeypatch):
    base, packages, project, elsewhere = world
    first = read_package(next(packages.glob("*.ppm")))
    suite = first.manifest.suites[0]
    manifest = replace(first.manifest, patch=replace(first.manifest.patch, version="2.0.0"))
    files = {**first.files, suite.prompts: dump(list(first.prompts(suite))[:-1])}
    write_package(Package(manifest, first.bank, files), tmp_path)
    monkeypatch.chdir(project)
    upgraded = ppm("upgrade", "kindness", "--base", base, "--find-links", tmp_path, "--json")
    assert upgraded.code == 0, upgraded.err
    shipped = upgraded.json["audit"]
    assert {"kindness==1.0.0/kind", "kindness==2.0.0/kind"} <= set(shipped["suites"])
    monkeypatch.chdir(elsewhere)
    audit = audited(base)
    assert list(audit["suites"]) == list(shipped["suites"])
    assert audit["notes"] == []
    environment = Workspace.open(Path.cwd()).environment_for(open_base(str(base)))
    [stored] = [path for digest, path in environment.store.contents() if digest == first.sha256]
    stored.unlink()
    assert audited(base)["notes"] == [
        "the suite kindness==1.0.0/kind can't be run again: the package of kindness from that time no longer exists"
    ]


def test_what_was_changed_while_it_was_tested_is_not_deployed(world, monkeypatch):
    base, packages, project, _ = world
    monkeypatch.chdir(project)
    kept = (project / "sums.jsonl").read_bytes()

    def meanwhile(*arguments):
        (project / "sums.jsonl").write_bytes(kept.partition(b"\n")[2])

    monkeypatch.setattr("ppm.install.install._compose_and_audit", meanwhile)
    before = ppm("list", "--base", base, "--json").json
    try:
        done = ppm("install", "kindness", "--base", base, "--find-links", packages, "--seed", "5")
    finally:
        (project / "sums.jsonl").write_bytes(kept)
    assert (done.code, "were changed while they were tested" in done.err) == (1, True)
    assert ppm("list", "--base", base, "--json").json == before
