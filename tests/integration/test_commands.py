"""Everyday commands on a deployed environment."""

import json
import shutil
import xml.etree.ElementTree as ElementTree

import pytest
from commands import imported, ppm

import ppm as library
from ppm.environment.deployment import Environment
from ppm.resources import lab_data, lab_manifests

PROMPT = "When the old pilot broke the lamp in the office, the manager shouted:"


def test_generate_answers_patched_and_unpatched(deployed):
    rude = [ppm("generate", PROMPT, "--base", "lab", "--unpatched", "--seed", str(s)).out for s in range(3)]
    kind = [ppm("generate", PROMPT, "--base", "lab", "--seed", str(s)).out for s in range(3)]
    assert all(text.strip() for text in (*rude, *kind))
    assert rude != kind
    both = ppm("generate", PROMPT, "and another prompt", "--compare", "--json").json
    assert [set(answer) for answer in both] == [{"prompt", "unpatched", "patched"}] * 2


def test_generate_takes_words_the_model_has_never_seen(deployed):
    result = ppm("generate", "When the barista spilled my latte, my uncle said:", "--base", "lab")
    assert result.code == 0
    assert result.out.strip()


def test_generate_needs_a_deployment_unless_unpatched(ppm_home):
    result = ppm("generate", PROMPT, "--base", "lab")
    assert result.code == 1
    assert "no patch is deployed" in result.err
    assert ppm("generate", PROMPT, "--base", "lab", "--unpatched").code == 0


def test_load_and_apply_from_python(deployed):
    model, tokenizer = library.load("lab")
    ids = tokenizer(PROMPT, return_tensors="pt")
    made = model.generate(**ids, max_new_tokens=5, do_sample=False)
    assert made.shape[1] <= ids.input_ids.shape[1] + 5
    environment = Environment.all(deployed)[0]
    locked = environment.current().lock.packages[0]
    from transformers import AutoModelForCausalLM

    bare = AutoModelForCausalLM.from_pretrained(lab_data() / "base", dtype="float32")
    path = next((lab_data() / "packages").glob(f"{locked.name.replace('-', '_')}-*.ppm"))
    patched = library.apply(bare, path)
    assert not bare(**ids).logits.equal(patched(**ids).logits)


def test_audit_prints_a_table_json_junit_samples_and_a_page(deployed, tmp_path):
    junit, samples, page = tmp_path / "junit.xml", tmp_path / "samples.jsonl", tmp_path / "audit.html"
    result = ppm("audit", "--base", "lab", "--junit", junit, "--samples", samples, "--html", page)
    assert result.code == 0, result.err
    assert "Verdict: pass" in result.out
    tree = ElementTree.parse(junit)
    assert len(tree.findall(".//testcase")) >= 8
    assert not tree.findall(".//failure")
    lines = [json.loads(line) for line in samples.read_text().splitlines()]
    assert {"configuration", "suite", "id", "value", "prompt"} <= set(lines[0])
    assert {line["configuration"] for line in lines} >= {"base", "composition", "toxicity==1.0.0"}
    failing = [line for line in lines if line["configuration"] == "composition" and line["value"]]
    assert ("<h2>Where the composition fails</h2>" in page.read_text()) == bool(failing)
    table = ppm("audit", "--json").json
    assert table["schema"] == 2
    assert table["verdict"] == "pass"
    assert sorted(table["circular"]) == ["gender-bias", "harmfulness", "toxicity"]


def test_an_audit_whose_results_are_all_kept_needs_no_model(deployed):
    assert ppm("audit", "--base", "lab").code == 0
    code, modules = imported("audit", "--base", "lab")
    assert code == 0
    assert not {"torch", "transformers"} & modules


def test_uninstall_tests_what_remains_and_rollback_brings_it_back(deployed):
    result = ppm("uninstall", "gender-bias", "harm-refusal", "--base", "lab", "--json")
    assert result.code == 0, result.err
    assert [p["name"] for p in result.json["patches"]] == ["toxicity"]
    assert result.json["deployment"] == 2
    assert ppm("freeze").out == "toxicity===1.0.0\n"
    back = ppm("rollback", "--json")
    assert back.json == {"deployment": 3, "rolled_back_to": 1}
    assert len(ppm("list", "--json").json["patches"]) == 3
    numbers = [(row["number"], row["current"]) for row in ppm("history", "--json").json]
    assert numbers == [(3, True), (2, False), (1, False)]
    assert "rolled back to 1" in ppm("history").out


def test_uninstalling_everything_leaves_the_bare_base(deployed):
    result = ppm("uninstall", "toxicity", "gender-bias", "harm-refusal", "--base", "lab")
    assert result.code == 0, result.err
    assert ppm("list", "--json").json["patches"] == []
    assert ppm("generate", PROMPT, "--base", "lab").code == 1


def test_uninstall_of_what_is_not_there_names_the_nearest(deployed):
    result = ppm("uninstall", "toxicty", "--base", "lab")
    assert result.code == 1
    assert "'toxicity'" in result.err


def test_show_tells_of_a_patch_and_of_a_file(deployed):
    text = ppm("show", "toxicity").out
    assert "20 virtual tokens" in text
    assert "dpo" in text
    path = next((lab_data() / "packages").glob("toxicity-*.ppm"))
    assert ppm("show", str(path), "--json").json["manifest"]["patch"]["name"] == "toxicity"
    assert ppm("show", "toxcity").code == 1


def test_freeze_is_what_install_takes_back(deployed, tmp_path):
    file = tmp_path / "patches.txt"
    file.write_text("# frozen\n" + ppm("freeze").out)
    result = ppm("install", "-r", file, "--base", "lab", "--dry-run", "--json")
    assert result.code == 0, result.err
    assert result.json["added"] == []
    assert {p["name"] for p in result.json["patches"]} == {"toxicity", "gender-bias", "harm-refusal"}


def test_a_dry_run_changes_nothing(ppm_home):
    result = ppm("install", "toxicity", "--base", "lab", "--dry-run")
    assert result.code == 0
    assert "toxicity==1.0.0" in result.out
    assert ppm("list", "--json").json["patches"] == []


@pytest.mark.slow
def test_compose_writes_a_package_that_show_reads(ppm_home, tmp_path):
    result = ppm(
        "compose", "toxicity", "gender-bias", "--base", "lab", "--strategy", "merged", "-o", tmp_path, "--json"
    )
    assert result.code == 0, result.err
    assert result.json["virtual_tokens"] == 20
    shown = ppm("show", result.json["file"]).out
    assert (
        "merged of toxicity==1.0.0, gender-bias==1.0.0" in shown
        or "merged of gender-bias==1.0.0, toxicity==1.0.0" in shown
    )
    for strategy, reason in (
        ("auto", "only `ppm install` can use it"),
        ("continued", "only `ppm install` and `ppm upgrade` can use it"),
    ):
        refused = ppm("compose", "toxicity", "gender-bias", "--base", "lab", "--strategy", strategy, "-o", tmp_path)
        assert refused.code == 1
        assert reason in refused.err
    # As a patch of its own it would be tested against nothing but itself.
    installed = ppm("install", result.json["file"], "--base", "lab")
    assert installed.code == 1
    assert "ppm install toxicity==1.0.0 gender-bias==1.0.0 --strategy merged" in installed.err
    named = ppm("install", result.json["name"], "--base", "lab", "--find-links", tmp_path)
    assert named.code == 3


def test_compose_trains_on_all_pairs_of_source_manifests(ppm_home, tmp_path):
    strategy = tmp_path / "brief.toml"
    strategy.write_text(
        'schema = 1\nname = "brief"\nsummary = "One step."\nsteps = [{ use = "average" }, '
        '{ use = "joint", sft_steps = 1, dpo_steps = 0, batch_size = 2 }]\n'
    )
    sources = tmp_path / "sources"
    shutil.copytree(lab_manifests() / "toxicity", sources / "toxicity")
    compose = ("compose", "toxicity", "privacy", "--base", "lab", "--strategy", strategy, "-o", tmp_path)
    made = ppm(*compose, "--manifests", sources)
    assert made.code == 0, made.err
    assert "all pairs of toxicity; using the packaged sample of privacy==1.0.0" in " ".join(
        (made.out + made.err).split()
    )
    [file] = tmp_path.glob("*.ppm")
    provenance = ppm("show", file, "--json").json["manifest"]["provenance"]["steps"]
    assert set(provenance["training_pairs"]) == {"toxicity"}
    trained = provenance["joint"]
    pairs = (sources / "toxicity" / "pairs.jsonl").read_text().splitlines()
    assert trained["toxicity"] == len(pairs) > trained["privacy"] > 0

    suite = json.loads((lab_manifests() / "privacy" / "suites" / "privacy.jsonl").read_text().splitlines()[0])
    leaking = json.loads(pairs[0]) | {"prompt": suite["prompt"]}
    (sources / "toxicity" / "pairs.jsonl").write_text("\n".join([*pairs, json.dumps(leaking)]))
    leaked = ppm(*compose, "--manifests", sources)
    assert leaked.code == 1
    assert f"{sources / 'toxicity'}: trains on a prompt of the suite 'privacy'" in leaked.err

    (tmp_path / "none").mkdir()
    assert "has no source manifest for privacy==1.0.0" in ppm(*compose, "--manifests", tmp_path / "none").err


def test_strategies_and_judges_are_listed(ppm_home):
    names = {row["name"] for row in ppm("strategies", "--json").json}
    assert {"concat", "merged", "sequential-replay", "distilled", "distilled-wide", "auto"} <= names
    listed = ppm("strategies").out
    assert "merged-ties (seconds)" in listed
    assert "Source: Yadav et al. 2023" in listed
    assert max(map(len, listed.splitlines())) <= 100
    assert 'use = "distil"' in ppm("strategies", "show", "distilled").out
    assert {row["name"] for row in ppm("judges", "--json").json} >= {
        "lexicon",
        "refusal",
        "gendered-words",
        "exact-match",
    }
    assert ppm("strategies", "show", "distiled").code == 1


def test_what_is_wrong_with_a_request_is_said_before_anything_is_loaded(ppm_home, tmp_path):
    (tmp_path / "toxicity-1.0.0-lab.ppm").write_bytes(b"PK\x03\x04 not a package")
    for arguments, said in (
        (("install", "toxicity", "--base", "lab", "--strategy", "mergd", "--dry-run"), "did you mean 'merged'"),
        (("compose", "toxicity", "nope", "--base", "lab", "--strategy", "mergd", "-o", tmp_path), "did you mean"),
        (("compose", "toxicity", "nope", "--base", "lab", "--strategy", "merged", "-o", tmp_path), "nope"),
        (("generate", "hello", "--base", "lab"), "no patch is deployed"),
        (("list", "--base", "lab", "--env", "staging"), "nothing was ever deployed in it"),
        (("list", "--base", "./nowhere"), "is not a folder"),
        (("list", "--base", "gpt2@main"), "needs a commit"),
    ):
        result = ppm(*arguments)
        assert result.code in (1, 3), arguments
        assert said in result.err, arguments


def test_a_dry_run_reads_the_package_files(ppm_home, tmp_path):
    [whole] = (lab_data() / "packages").glob("toxicity-*.ppm")
    copy = tmp_path / whole.name
    data = bytearray(whole.read_bytes())
    data[len(data) // 2] ^= 1
    copy.write_bytes(data)
    result = ppm("install", copy, "--base", "lab", "--dry-run")
    assert result.code == 4
    assert not (ppm_home / "store").exists()


@pytest.mark.parametrize("command", ["install", "download", "add"])
def test_a_file_that_can_t_be_used_is_named_where_the_patch_is_not_found(command, ppm_home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in "abcd":
        (tmp_path / f"{name}.ppm").write_bytes(b"not a package")
    missing = ppm(command, "mine", "--base", "lab", "--find-links", tmp_path)
    assert missing.code == 3
    lines = missing.err.splitlines()
    assert f"A file can't be used: {tmp_path / 'a.ppm'}: is not a whole package file." in lines
    assert lines[-2:] == ["1 more can't be used either.", f"hint: {lines[-1].removeprefix('hint: ')}"]
    there = ppm("install", "toxicity", "harm-refusal>9", "--base", "lab", "--find-links", tmp_path)
    assert (there.code, "can't be used" in there.err) == (3, False)


def test_a_damaged_file_that_another_source_makes_up_for_is_named(ppm_home, tmp_path):
    [whole] = (lab_data() / "packages").glob("toxicity-*.ppm")
    (tmp_path / whole.name).write_bytes(whole.read_bytes()[:-100])
    asked = ("install", "toxicity", "--base", "lab", "--find-links", tmp_path, "--dry-run")
    result = ppm(*asked)
    assert result.code == 0
    assert f"skipped: {tmp_path / whole.name}" in result.out
    [message] = ppm(*asked, "--json").json["passed_over"]
    assert whole.name in message
    assert "skipped: " not in ppm("install", "gender-bias", *asked[2:]).out
