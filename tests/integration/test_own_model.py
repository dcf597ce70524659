"""A base folder that is not the lab's: a GPT-2 made here goes through build, install, audit, generate and export."""

import shutil
from pathlib import Path

import pytest
import tiny
from commands import imported, ppm
from scipy.special import ndtri

from ppm.evaluation.exact import exact_alpha
from ppm.workspace import Workspace, open_base


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """(base folder, source folder of a patch)."""
    folder = tmp_path_factory.mktemp("world")
    base = tiny.train_base(folder / "my-gpt2")
    tiny.write_sums(base, margin=0.3)
    return base, tiny.write_patch(folder / "kindness", base)


@pytest.fixture(scope="module")
def package(world, tmp_path_factory):
    """The folder with the built package file."""
    _, source = world
    folder = tmp_path_factory.mktemp("packages")
    result = ppm("build", source, "--output", folder, "--json")
    assert result.code == 0, result.err
    scores = result.json["scores"]["kind"]
    assert list(scores) == ["base", "init", "sft", "dpo"]
    assert scores["base"] > 0.8
    assert scores["dpo"] < 0.2
    return folder


@pytest.mark.slow
def test_build_install_audit_generate(world, package, ppm_home):
    base, _ = world
    result = ppm("install", "kindness", "--base", base, "--find-links", package, "--json")
    assert result.code == 0, result.err
    assert result.json["audit"]["verdict"] == "pass"
    audit = ppm("audit", "--base", base, "--json")
    assert audit.code == 0, audit.err
    assert set(audit.json["matrix"]) == {"base", "kindness==1.0.0", "composition"}
    both = ppm("generate", "say w1 w2 :", "--base", base, "--compare", "--temperature", "0", "--json").json
    assert both[0]["unpatched"].startswith("bad")
    assert both[0]["patched"].startswith("good")
    assert ppm("list").out.splitlines()[1].split() == ["kindness", "1.0.0"]


@pytest.mark.slow
def test_without_suites_of_its_own_the_base_is_held_to_neutral_text(world, package, ppm_home, tmp_path):
    base = tmp_path / "plain-gpt2"
    shutil.copytree(world[0], base, ignore=shutil.ignore_patterns("suites", "ppm-base.toml"))
    reason = ("--reason", "the model of this test knows no neutral words")
    waiver = ("--accept", "neutral-texts", "--accept", "benign-answers", *reason)
    result = ppm("install", "kindness", "--base", base, "--find-links", package, *waiver)
    assert result.code == 0, result.err
    assert "neutral-texts" in result.out
    assert "of the texts cost over 0.1 nats a token more than under base, but the margin is 0.03" in result.out
    first = ppm("audit", "--base", base, "--json")
    code, modules = imported("audit", "--base", base)
    assert code == first.code
    assert not {"torch", "transformers"} & modules


@pytest.mark.slow
def test_the_build_says_where_it_got_to_and_resumes(world, ppm_home, tmp_path):
    _, source = world
    first = ppm("build", source, "--output", tmp_path / "one")
    again = ppm("build", source, "--output", tmp_path / "two")
    assert "Training on " in first.err
    assert "Failures by stage" in first.out
    one, two = (next((tmp_path / folder).glob("*.ppm")).read_bytes() for folder in ("one", "two"))
    assert one == two
    assert again.code == 0


def test_a_truncated_package_in_a_folder_is_an_integrity_error(world, package, ppm_home, tmp_path):
    base, _ = world
    path = next(package.glob("*.ppm"))
    (tmp_path / path.name).write_bytes(path.read_bytes()[:2000])
    result = ppm("install", "kindness", "--base", base, "--find-links", tmp_path)
    assert result.code == 4
    assert path.name in result.err
    assert "hint:" in result.err


def test_a_base_with_an_adapter_merged_in_is_refused(world, package, ppm_home, tmp_path):
    from safetensors.torch import load_file, save_file

    base, _ = world
    other = tmp_path / "my-gpt2"
    shutil.copytree(base, other)
    weights = load_file(other / "model.safetensors")
    name = next(key for key in weights if key.endswith("attn.c_attn.weight"))
    weights[name] += 0.01
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    result = ppm("install", "kindness", "--base", other, "--find-links", package)
    assert result.code == 3
    assert "another base model" in result.err


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("pairs.jsonl", '{"prompt": "a", "chosen": "b"}\n', "line 1"),
        ("pairs.jsonl", '{"prompt": "a", "chosen": "b", "rejected": "b"}\n', "same text"),
        ("suites/main.jsonl", '{"id": "1", "prompt": "a"}\n', "too few to decide"),
        ("benign.jsonl", "not json\n", "benign.jsonl, line 1"),
    ],
)
def test_a_source_that_cannot_be_built_is_told_why(world, tmp_path, ppm_home, file, text, words):
    base, _ = world
    source = tiny.write_patch(tmp_path / "patch", base)
    (source / file).write_text(text)
    result = ppm("build", source, "--check")
    assert result.code == 1
    assert words in result.err


def test_a_suite_prompt_that_is_trained_on_is_refused(world, tmp_path, ppm_home):
    base, _ = world
    source = tiny.write_patch(tmp_path / "patch", base)
    leaked = (source / "suites/main.jsonl").read_text().splitlines()[0].split('"prompt": ')[1].rstrip("}")
    with (source / "pairs.jsonl").open("a") as stream:
        stream.write(f'{{"prompt": {leaked}, "chosen": "good .", "rejected": "bad ."}}\n')
    result = ppm("build", source, "--check")
    assert result.code == 1
    assert "trains on a prompt of the suite" in result.err


def test_a_policy_adds_suites_and_early_looks(world, package, ppm_home, tmp_path, monkeypatch):
    base, _ = world
    suites = (base / "ppm-base.toml").read_text()
    (tmp_path / "ours.toml").write_text(suites.replace('"sums"', '"ours"').replace("suites/sums", "sums"))
    (tmp_path / "sums.jsonl").write_bytes((base / "suites" / "sums.jsonl").read_bytes())
    (tmp_path / "ppm.toml").write_text('[gates]\nsuites = ["ours.toml"]\nlooks = [0.6]\n')
    monkeypatch.chdir(tmp_path)
    result = ppm("install", "kindness", "--base", base, "--find-links", package)
    assert result.code == 0, result.err
    looks = [int(line.split()[-2].replace(",", "")) for line in result.err.splitlines() if "for interference" in line]
    audit = Workspace.open(Path.cwd()).environment_for(open_base(str(base))).current().audit
    assert {"kind", "sums", "ours"} <= set(audit["suites"])
    prompts = sum(suite["prompts"] for suite in audit["suites"].values())
    assert looks[-1] == prompts
    assert (audit["alpha"], audit["looks"]) == (0.05, 2)
    same = next(c for c in audit["comparisons"] if (c["suite"], c["rule"]) == ("kind", "non-inferiority"))
    n = audit["suites"]["kind"]["prompts"]
    z2 = ndtri(exact_alpha(n, 0.05, 0.015)) ** 2  # one patch alone is its own specialist
    assert same["upper"] == pytest.approx(z2 / (n + z2), rel=1e-4)
    early, whole = (ppm("audit", "--base", base, *how, "--json").json["suites"] for how in (["--early"], []))
    assert sum(suite["prompts"] for suite in early.values()) == looks[-1]
    assert all(whole[label]["prompts"] >= suite["prompts"] for label, suite in early.items())
    assert whole["ours"]["prompts"] == len((tmp_path / "sums.jsonl").read_text().splitlines())
    again = ("install", "kindness", "--base", base, "--find-links", package, "--json")
    assert ppm(*again).json["changed"] is False
    lines = (tmp_path / "sums.jsonl").read_text().splitlines()
    (tmp_path / "sums.jsonl").write_text("\n".join(lines[1:]) + "\n")
    assert ppm(*again).json["changed"] is True
    (tmp_path / "ppm.toml").write_text('[gates]\nsuites = ["none.toml"]\n')
    refused = ppm("install", "kindness", "--base", base, "--find-links", package, "--force")
    assert refused.code == 1
    assert "none.toml" in refused.err
