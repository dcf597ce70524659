"""A deployer's further prompts for a vendor's suite: tested with it, kept with the deployment, one look more."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
from commands import ppm

from ppm.evaluation.suites import package_suites, with_more
from ppm.jsonl import Prompt
from ppm.package import read_package

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """(base folder, folder of packages, lines of prompts that the patch's suite does not have)."""
    folder = tmp_path_factory.mktemp("world")
    base = tiny.train_base(folder / "my-gpt2")
    tiny.write_sums(base, margin=0.3)
    source = tiny.write_patch(folder / "kindness", base)
    built = ppm("build", source, "--output", folder / "packages")
    assert built.code == 0, built.err
    texts = [(source / name).read_text() for name in ("suites/main.jsonl", "pairs.jsonl")]
    taken = {json.loads(line)["prompt"] for text in texts for line in text.splitlines()}
    asked = [f"say {a} {b} :" for a in tiny.WORDS for b in tiny.WORDS]
    fresh = [json.dumps({"id": str(i), "prompt": p}) for i, p in enumerate(asked) if p not in taken]
    return base, folder / "packages", fresh


@pytest.fixture
def install(world, tmp_path, monkeypatch):
    base, packages, _ = world
    monkeypatch.chdir(tmp_path)
    return lambda *more: ppm("install", "kindness", "--base", base, "--find-links", packages, "--json", *more)


def prompts(result):
    assert result.code == 0, result.err
    audit = result.json.get("audit", result.json)
    return audit["suites"]["kind"]["prompts"]


def test_they_are_tested_with_the_suite_and_kept_with_the_deployment(world, install, tmp_path):
    base, _, fresh = world
    assert prompts(install()) == 240
    Path("more.jsonl").write_text("\n".join(fresh[:60]))
    grown = install("--force", "--more-prompts", "kind=more.jsonl")
    assert prompts(grown) == 300
    assert grown.json["audit"]["suites"]["kind"]["attempt"] == 2  # one more look at the old prompts
    assert prompts(ppm("audit", "--base", base, "--json")) == 300
    assert prompts(install("--force")) == 300
    Path("more.jsonl").rename("moved.jsonl")
    gone = ppm("audit", "--base", base)
    assert gone.code == 1
    assert "more.jsonl: no longer exists, but deployment" in gone.err
    assert "[gates] more_prompts" in gone.err
    stuck = install("--force")
    assert stuck.code == 1
    assert "--more-prompts kind=" in stuck.err + stuck.out
    assert prompts(install("--force", "--more-prompts", "kind=moved.jsonl")) == 300
    assert prompts(install("--force", "--more-prompts", "kind=")) == 240


def test_they_go_with_the_patch_that_they_were_for(world, install):
    base, _, fresh = world
    Path("more.jsonl").write_text("\n".join(fresh[:60]))
    assert prompts(install("--more-prompts", "kind=more.jsonl")) == 300
    gone = ppm("uninstall", "kindness", "--base", base)
    assert gone.code == 0, gone.err
    assert prompts(install()) == 240


def test_a_project_names_them(world, install):
    Path("more.jsonl").write_text("\n".join(world[2][:60]))
    Path("ppm.toml").write_text('[gates.more_prompts]\n"kindness/kind" = "more.jsonl"\n"other/harm" = "none.jsonl"\n')
    refused = install()
    assert refused.code == 1
    assert "none.jsonl: can't be read" in refused.err + refused.out
    Path("none.jsonl").write_text("not read")  # for a patch that is not installed
    assert prompts(install()) == 300
    Path("more.jsonl").write_text("\n".join(world[2][:80]))
    assert prompts(install()) == 320  # other prompts are another policy


@pytest.mark.parametrize(
    ("option", "lines", "message"),
    [
        ("kid=more.jsonl", 60, "there is no suite 'kid' to bring more prompts to"),
        ("kind=none.jsonl", 60, "none.jsonl: can't be read"),
        ("kind", 60, "is not SUITE=FILE"),
        ("kind=more.jsonl", 0, "more.jsonl"),
    ],
)
def test_what_makes_no_sense_is_one_message(world, install, option, lines, message):
    Path("more.jsonl").write_text("\n".join(world[2][:lines]))
    refused = install("--more-prompts", option)
    assert refused.code in (1, 2)
    assert message in refused.err + refused.out


def test_their_ids_are_free(world):
    [package] = world[1].glob("*.ppm")
    [suite] = package_suites([read_package(package)])
    suite = replace(suite, prompts=(*suite.prompts, Prompt("more-0", "say no more")))
    path = world[1] / "ids.jsonl"
    path.write_text('{"id": "0", "prompt": "say a lot more"}\n')
    [grown] = with_more([suite], {"kind": str(path)})
    assert len({prompt.id for prompt in grown.prompts}) == len(suite.prompts) + 1


def test_a_prompt_that_the_suite_has_is_refused(world, install):
    fresh = world[2]
    taken = json.loads(fresh[0])["prompt"].upper()
    Path("more.jsonl").write_text("\n".join([fresh[0], json.dumps({"id": "x", "prompt": taken})]))
    refused = install("--more-prompts", "kind=more.jsonl")
    assert refused.code == 1
    assert "has the same prompt twice" in refused.err + refused.out
