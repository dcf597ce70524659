"""`ppm build` from prompts and a teacher: another family, behind an endpoint, killed, resumed, and refused."""

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
import tiny
import torch
from commands import command, imported, ppm
from endpoint_server import Behaviour, serve
from training.test_two_processes import LAUNCH
from transformers import AutoModelForCausalLM

from ppm.package import read_package

pytestmark = pytest.mark.slow

COLLECTS = """\
[training]
prompts = "prompts.jsonl"
benign = "benign.jsonl"
teacher = { model = "TEACHER", license = "Apache-2.0"ENDPOINT }
collect = { decoding = { max_new_tokens = 3, temperature = 1.0 } }
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """(a GPT-2-like base, a Llama-like teacher)."""
    folder = tmp_path_factory.mktemp("models")
    base = tiny.train_base(folder / "my-gpt2", "gpt2")
    tiny.write_sums(base, margin=0.15)
    return base, tiny.train_base(folder / "teacher", "llama", seed=1, safe_share=0.97)


@pytest.fixture(scope="module")
def answer(models):
    """The teacher's answer to a prompt, drawn by the prompt alone."""
    tokenizer, model = tiny.make_tokenizer(), AutoModelForCausalLM.from_pretrained(models[1])
    lock = threading.Lock()

    def say(prompt):
        ids = tokenizer(prompt, return_tensors="pt").input_ids
        with lock, torch.random.fork_rng():
            torch.manual_seed(sum(map(ord, prompt)))
            made = model.generate(ids, do_sample=True, max_new_tokens=3, pad_token_id=0)
        return tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True)

    return say


def write(folder, base, teacher, endpoint=None, **settings):
    """The source manifest of the tiny world, which collects its pairs."""
    source = tiny.write_patch(folder, base)
    pairs = [json.loads(line) for line in (source / "pairs.jsonl").read_text().splitlines()]
    suite = json.loads((source / "suites/main.jsonl").read_text().splitlines()[0])
    prompts = [{"prompt": row["prompt"]} for row in (*pairs, pairs[0], suite)]
    (source / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in prompts))
    (source / "pairs.jsonl").unlink()
    manifest = (source / "patch.toml").read_text()
    more = "".join(f", {key} = {json.dumps(value)}" for key, value in settings.items())
    where = f', endpoint = "{endpoint}", chat = false, key = "TEACHER_KEY"' if endpoint else ""
    collects = COLLECTS.replace("TEACHER", str(teacher)).replace("ENDPOINT", where + more)
    start, stages = manifest.index("[training]"), manifest.index("sft =")
    (source / "patch.toml").write_text(manifest[:start] + collects + manifest[stages:])
    return source


def test_a_teacher_of_another_family_makes_a_patch_that_passes(models, ppm_home, tmp_path):
    source = write(tmp_path / "kindness", *models)
    checked = ppm("build", source, "--check")
    assert checked.code == 0, checked.err
    assert "122 prompts for the teacher" in checked.out
    assert "1 repeated, 1 in a suite" in checked.out
    built = ppm("build", source, "--output", tmp_path, "--pairs", tmp_path / "collected.jsonl", "--json")
    assert built.code == 0, built.err
    assert built.json["scores"]["kind"]["dpo"] < 0.2 < 0.7 < built.json["scores"]["kind"]["base"]
    package = read_package(Path(built.json["file"]))
    record = package.manifest.provenance
    counts = record["collected"]
    assert counts["prompts"] == 122
    assert counts["pairs"] == len((tmp_path / "collected.jsonl").read_text().splitlines()) == record["pairs"]
    dropped = ("repeated", "in_suites", "without_answer", "same_answer", "teacher_not_acceptable", "base_not_worse")
    assert sum(counts[key] for key in dropped) + counts["pairs"] == 122
    assert (record["teacher_license"], record["filter_judge"]) == ("Apache-2.0", "lexicon")
    installed = ppm("install", "kindness", "--base", models[0], "--find-links", tmp_path)
    assert installed.code == 0, installed.err
    assert "circular" in installed.out


def test_a_teacher_behind_an_endpoint_makes_a_patch_that_passes(models, answer, ppm_home, tmp_path, monkeypatch):
    monkeypatch.setenv("TEACHER_KEY", "a secret")
    behaviour = Behaviour(answer, faults=[429, "broken", 500, "empty"], model="llama-teacher")
    with serve(behaviour) as url:
        source = write(tmp_path / "kindness", models[0], "a-teacher", url, input_price=1.0)
        assert "120 requests to a-teacher" in ppm("build", source, "--check").out
        assert behaviour.requests == []
        built = ppm("build", source, "--output", tmp_path, "--json")
    assert built.code == 0, built.err
    assert len(behaviour.requests) == 123
    assert {path for path, _, _ in behaviour.requests} == {"/v1/completions"}
    package = read_package(Path(built.json["file"]))
    assert package.manifest.provenance["teacher_models"] == ["llama-teacher"]
    assert package.manifest.provenance["teacher_usage"]["requests"] == 120
    assert all(secret not in package.data for secret in (url.encode(), b"a secret", b"TEACHER_KEY"))
    installed = ppm("install", "kindness", "--base", models[0], "--find-links", tmp_path)
    assert installed.code == 0, installed.err
    again = ppm("build", source, "--output", tmp_path / "again", "--json")  # the server is gone, and not missed
    assert again.code == 0, again.err
    assert again.json["sha256"] == built.json["sha256"]


def test_a_build_killed_at_any_stage_ends_in_the_same_bytes(models, answer, ppm_home, tmp_path):
    behaviour = Behaviour(answer)
    with serve(behaviour) as url:
        source = write(tmp_path / "kindness", models[0], "a-teacher", url, concurrency=2)
        manifest = source / "patch.toml"
        manifest.write_text(manifest.read_text().replace("steps = 250", "steps = 60"))
        environment = {**os.environ, "TEACHER_KEY": "x"}
        cache = ppm_home / "cache" / "training"

        def build(output, until=None):
            """Run a build; with `until`, kill it as soon as that many files of a kind are there."""
            arguments = command("build", source, "--output", tmp_path / output)
            done = subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            while until is not None and done.poll() is None and not until():
                time.sleep(0.005)
            if until is not None:
                done.send_signal(signal.SIGKILL)
            printed = done.communicate()[0].decode()
            return done.returncode, printed

        def files(kind):
            return [path for path in cache.glob(f"{kind}/**/*") if path.is_file() and ".partial" not in path.name]

        def answered():
            return sum(len(path.read_bytes().splitlines()) for path in files("answers"))

        moments = {
            "while the teacher answers": lambda: len(behaviour.requests) >= 40,
            "after SFT": lambda: bool(files("prefixes")),
        }
        for moment, until in moments.items():
            code, _ = build("killed", until)
            assert code == -signal.SIGKILL, moment
            assert not list((tmp_path / "killed").glob("*.ppm"))
        stamps = {path: path.stat().st_mtime_ns for kind in ("pairs", "prefixes") for path in files(kind)}
        assert len(stamps) == 2
        requests = len(behaviour.requests)
        assert requests <= 120 + 2  # what was under way at the first kill may have been asked twice
        assert answered() == 240
        code, printed = build("resumed")
        assert code == 0, printed
        assert len(behaviour.requests) == requests
        assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
        resumed = next((tmp_path / "resumed").glob("*.ppm")).read_bytes()
        shutil.rmtree(cache)
        code, printed = build("fresh")
        assert code == 0, printed
    assert next((tmp_path / "fresh").glob("*.ppm")).read_bytes() == resumed


def test_accelerate_launch_builds_the_patch_of_one_process(models, ppm_home, tmp_path):
    source = write(tmp_path / "kindness", *models)
    manifest = source / "patch.toml"
    manifest.write_text(manifest.read_text().replace("steps = 250", "steps = 60"))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(tiny.__file__).parent.parent)}
    launch = [*LAUNCH, "-m", "ppm", "build", str(source), "--output", str(tmp_path / "two")]
    done = subprocess.run(launch, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.count("Loading the base model") == 1
    assert done.stdout.count("Wrote ") == 1
    shutil.rmtree(ppm_home / "cache")
    alone = ppm("build", source, "--output", tmp_path / "one", "--json")
    assert alone.code == 0, alone.err
    one, two = (read_package(next((tmp_path / name).glob("*.ppm"))) for name in ("one", "two"))
    assert one.files == two.files
    scores = [package.manifest.provenance["scores"]["kind"] for package in (one, two)]
    assert scores[0]["base"] == scores[1]["base"]
    assert scores[0]["dpo"] == pytest.approx(scores[1]["dpo"], abs=0.05)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("prompts.jsonl", "promts.jsonl"), "promts.jsonl, which can't be read"),
        (("max_new_tokens", "max_tokens"), "did you mean 'max_new_tokens'?"),
        (("collect = {", 'collect = { judge = "lexikon", '), "did you mean 'lexicon'?"),
        (("collect = {", "collect = { margin = 0, "), "margin must be above 0"),
        (('teacher = { model = "', 'teacher = { model = "absent/'), "is not a folder"),
        (('teacher = { model = "', 'teacher = { endpoint = "ftp://x", model = "'), "endpoint must begin with http"),
        (("[training]", "[training]\nheld_out = 0\npatience = 2"), "needs held_out above 0"),
        (("[training]", '[training]\ndatasets = { "promts.jsonl" = "x/y" }'), "did you mean 'prompts.jsonl'?"),
    ],
)
def test_a_mistake_is_told_before_anything_is_loaded(models, ppm_home, tmp_path, change, words):
    source = write(tmp_path / "kindness", *models)
    manifest = source / "patch.toml"
    manifest.write_text(manifest.read_text().replace(*change, 1))
    for arguments in (["--check"], []):
        result = ppm("build", source, *arguments)
        assert result.code == 1
        assert words in result.err
        assert "Loading" not in result.err


def test_a_teacher_no_safer_than_the_base_is_refused_with_the_counts(models, ppm_home, tmp_path):
    source = write(tmp_path / "kindness", models[0], models[0])
    result = ppm("build", source, "--output", tmp_path)
    assert result.code == 1
    assert "of 122 prompts; dropped: 1 repeated, 1 in a suite" in result.err
    assert "the teacher is hardly safer than the base" in result.err
    assert not list(tmp_path.glob("*.ppm"))


def test_a_judge_that_can_not_work_here_is_told_before_the_training(models, ppm_home, tmp_path, monkeypatch):
    monkeypatch.delenv("PPM_JUDGE_URL", raising=False)
    source = write(tmp_path / "kindness", *models)
    manifest = source / "patch.toml"
    judge = 'judge = { name = "llm", model = "m", rubric = "it is rude" }'
    before = manifest.read_text()
    manifest.write_text(before.replace('judge = { name = "lexicon", words = "suites/bad.txt" }', judge))
    result = ppm("build", source, "--output", tmp_path)
    assert result.code == 1
    assert "export PPM_JUDGE_URL" in result.err
    assert "Loading" not in result.err


def test_a_filter_judge_has_a_file_of_its_own_which_is_not_packaged(models, ppm_home, tmp_path):
    source = write(tmp_path / "kindness", *models)
    (source / "suites" / "rude.txt").write_text("bad\n")
    manifest = source / "patch.toml"
    judge = 'collect = { judge = { name = "lexicon", words = "suites/rude.txt" }, '
    manifest.write_text(manifest.read_text().replace("collect = { ", judge).replace("steps = 250", "steps = 20"))
    built = ppm("build", source, "--output", tmp_path, "--json")
    assert built.code == 0, built.err
    assert "suites/rude.txt" not in read_package(Path(built.json["file"])).files
    (source / "suites" / "rude.txt").unlink()
    missing = ppm("build", source, "--check")
    assert missing.code == 1
    assert "training.collect.judge.words names suites/rude.txt" in missing.err


def test_files_come_from_data_sets_split_by_prompt(models, ppm_home, tmp_path):
    source = write(tmp_path / "kindness", *models)
    rows = [{"text": f"say {a} {b} :", "kind": "ask"} for a in tiny.WORDS for b in tiny.WORDS[:20]]
    (source / "all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (source / "prompts.jsonl").unlink()
    (source / "suites" / "main.jsonl").unlink()
    manifest = source / "patch.toml"
    manifest.write_text(
        manifest.read_text().replace("steps = 250", "steps = 100").replace("steps = 20", "steps = 0")
        + """
[training.datasets."prompts.jsonl"]
name = "all.jsonl"
column = "text"
share = [0.0, 0.3]
limit = 120
[training.datasets."suites/main.jsonl"]
name = "all.jsonl"
column = "text"
share = [0.3, 1.0]
limit = 240
"""
    )
    built = ppm("build", source, "--output", tmp_path, "--json")
    assert built.code == 0, built.err
    package = read_package(Path(built.json["file"]))
    assert package.manifest.provenance["collected"]["in_suites"] == 0
    assert package.manifest.provenance["datasets"]["prompts.jsonl"]["share"] == [0.0, 0.3]
    assert len(package.prompts(package.manifest.suites[0])) == 240
    manifest.write_text(manifest.read_text().replace('column = "text"', 'column = "txt"'))
    result = ppm("build", source, "--check")
    assert result.code == 1
    assert "did you mean 'text'?" in result.err


def test_what_is_wrong_with_a_manifest_is_told_before_anything_heavy_is_imported(models, tmp_path):
    patch = tiny.write_patch(tmp_path / "kindness", models[0])
    for arguments in (("build", tmp_path / "nowhere"), ("build", patch, "--base", tmp_path / "nowhere")):
        code, modules = imported(*arguments)
        assert code == 1
        assert "torch" not in modules
