"""Every cache knows all that it depends on: each thing is changed in turn, and what was kept is not used."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest
import tiny
from transformers import AutoTokenizer

from ppm.base import behaviour_digest, identify
from ppm.composition import options
from ppm.composition.strategy import StepCall, Strategy, builtin_strategies, read_strategy
from ppm.evaluation.judges.base import JUDGES, Scorer, each, judge
from ppm.evaluation.neutral import default_utility
from ppm.evaluation.results import Configuration, result_store
from ppm.evaluation.suites import load_suite
from ppm.jsonl import dump
from ppm.package import read_package
from ppm.resources import lab_data
from ppm.running import Running
from ppm.runtime.loading import LazyModel
from ppm.suite import Judge, Suite
from ppm.training.build import build

CHAT = "{% for m in messages %}{{ m['role'] }} : {{ m['content'] }} </s> {% endfor %}"
SETTINGS = ["end token", "generation", "template", "special tokens", "tokenizer", "weights", "template of its own"]


def alter(folder, what):
    """Change one thing in a base's folder."""
    config = folder / "tokenizer_config.json"
    if what == "end token":
        config.write_text(json.dumps(json.loads(config.read_text()) | {"eos_token": "nice"}))
    elif what == "generation":
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 10]}))
    elif what == "template":
        (folder / "chat_template.jinja").write_text(CHAT + " ")
    elif what == "template of its own":
        (folder / "additional_chat_templates").mkdir()
        (folder / "additional_chat_templates" / "tools.jinja").write_text(CHAT)
    elif what == "special tokens":
        (folder / "special_tokens_map.json").write_text(json.dumps({"pad_token": "</s>"}))
    elif what == "tokenizer":
        config.write_text(json.dumps(json.loads(config.read_text()) | {"model_max_length": 9}))
    else:
        path = folder / "model.safetensors"
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(bytes(data))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tiny.train_base(tmp_path_factory.mktemp("base") / "tiny", steps=150)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def base(trained, tmp_path):
    return Path(shutil.copytree(trained, tmp_path / "base"))


@pytest.fixture
def suite(base, tmp_path):
    source = tiny.write_patch(tmp_path / "suite", base)
    return load_suite(
        Suite("kind", "main.jsonl", Judge("lexicon", {"words": ["bad"]})),
        {"main.jsonl": (source / "suites" / "main.jsonl").read_bytes()},
        origin="here",
        owner=None,
    )


@pytest.mark.parametrize("what", SETTINGS)
def test_results_and_benign_answers_are_kept_by_all_of_the_base(base, suite, what, tmp_path):
    def keys():
        store = result_store(tmp_path / "results", identify(base))
        return store.weights, store.key(Configuration("base"), "before-bos", suite)

    before = keys()
    assert keys() == before
    alter(base, what)
    assert not set(keys()) & set(before)
    assert behaviour_digest(identify(base))


def test_results_are_kept_by_the_dtype(tmp_path, base):
    def weights(**running):
        return result_store(tmp_path, identify(base), running=Running(**running)).weights

    assert weights() == weights(dtype="float32") == result_store(tmp_path, identify(base)).weights
    found = [weights(), weights(dtype="bfloat16"), weights(dtype="float16"), weights(device_map="auto")]
    assert len(set(found)) == len(found)


def test_results_are_kept_by_what_a_suite_asks(suite, tmp_path, base):
    store = result_store(tmp_path, identify(base))
    judged = replace(suite.suite, judge=Judge("lexicon", {"words": ["good"]}))
    others = [judged, replace(suite.suite, samples=2), replace(suite.suite, goal="higher")]
    data = {"main.jsonl": dump(suite.prompts)}
    found = [load_suite(other, data, origin="here", owner=None) for other in (suite.suite, *others)]
    assert len({store.key(Configuration("base"), "before-bos", one) for one in found}) == 4


def test_results_are_kept_by_the_judges_version(suite, tmp_path, base, monkeypatch):
    store = result_store(tmp_path, identify(base))
    asked = replace(suite.suite, judge=Judge("counting"))

    def key():
        found = load_suite(asked, {"main.jsonl": dump(suite.prompts)}, origin="here", owner=None)
        return found.judge_version, store.key(Configuration("base"), "before-bos", found)

    def counting() -> Scorer:
        """A judge that finds nothing."""
        return each(lambda prompt, text: 0.0)

    monkeypatch.setitem(JUDGES.known, "counting", JUDGES.known["lexicon"])  # so that it is gone afterwards
    found = []
    for version in ("1", "1", "2"):
        judge("counting", version)(counting)
        found.append(key())
    assert found[0] == found[1]
    assert (found[0][0], found[2][0]) == ("1", "2")
    assert found[0][1] != found[2][1]


@pytest.mark.slow
@pytest.mark.parametrize("what", ["end token", "generation"])
def test_benign_answers_of_a_base_that_ends_otherwise_are_made_anew(base, what, tmp_path):
    package = read_package(next((lab_data() / "packages").glob("*.ppm")))

    def kept():
        found = identify(base)
        store = result_store(tmp_path / "results", found)
        default_utility(LazyModel(found), [package], (), store)
        return {path.name for path in (tmp_path / "results").rglob("*.json")}

    before = kept()
    assert before
    assert kept() == before
    alter(base, what)
    assert len(kept()) == 2 * len(before)


def kept(cache, kind):
    return {path.name for path in (cache / "training" / kind).rglob("*") if path.is_file()}


def small(source, *, teacher=None):
    """The manifest of a build of a second: two steps of SFT and one of DPO."""
    manifest = source / "patch.toml"
    text = manifest.read_text().replace("steps = 250", "steps = 2").replace("steps = 20", "steps = 1")
    if teacher is not None:
        rows = (source / "pairs.jsonl").read_text().splitlines()
        prompts = [json.dumps({"prompt": json.loads(row)["prompt"]}) for row in rows]
        (source / "prompts.jsonl").write_text("\n".join(prompts) + "\n")
        collect = "collect = { least_pairs = 1, decoding = { max_new_tokens = 3 } }"
        text = text.replace('pairs = "pairs.jsonl"', f'prompts = "prompts.jsonl"\nteacher = "{teacher}"\n{collect}')
    manifest.write_text(text)
    return source


@pytest.mark.slow
@pytest.mark.parametrize("what", ["end token", "generation", "template", "weights"])
def test_a_build_on_a_base_that_changed_takes_nothing_that_was_kept(base, what, tmp_path):
    source, cache = small(tiny.write_patch(tmp_path / "kindness", base)), tmp_path / "cache"
    first = build(source, cache=cache)
    before = kept(cache, "prefixes")
    assert len(before) == 2
    assert build(source, cache=cache).data == first.data
    assert kept(cache, "prefixes") == before
    alter(base, what)
    again = build(source, cache=cache)
    assert len(kept(cache, "prefixes")) == 4
    assert again.bank == build(source).bank  # as it is where nothing was kept
    if what == "end token":
        learned = {path.read_bytes() for path in (cache / "training" / "prefixes").iterdir()}
        assert len(learned) == 4


@pytest.mark.parametrize("constant", ["TEXT_VERSION", "RESULTS_VERSION"])
def test_results_are_kept_by_the_version_of_the_code(base, suite, constant, tmp_path, monkeypatch):
    def key():
        return result_store(tmp_path, identify(base)).key(Configuration("base"), "before-bos", suite)

    before = key()
    monkeypatch.setattr(f"ppm.evaluation.results.{constant}", 99)
    assert key() != before


@pytest.mark.slow
@pytest.mark.parametrize("constant", ["STAGES_VERSION", "TEXT_VERSION", "RESULTS_VERSION"])
def test_stages_are_kept_by_the_version_of_the_code(base, constant, tmp_path, monkeypatch):
    source, cache = small(tiny.write_patch(tmp_path / "kindness", base)), tmp_path / "cache"
    build(source, cache=cache)
    monkeypatch.setattr(f"ppm.training.learn.{constant}", 99)
    build(source, cache=cache)
    assert len(kept(cache, "prefixes")) == 4


@pytest.mark.slow
@pytest.mark.parametrize("constant", ["COLLECT_VERSION", "TEXT_VERSION"])
def test_answers_and_pairs_are_kept_by_the_version_of_the_code(base, constant, tmp_path, monkeypatch):
    teacher = tiny.train_base(tmp_path / "teacher", steps=150, seed=1, safe_share=0.97)
    source, cache = small(tiny.write_patch(tmp_path / "kindness", base), teacher=teacher), tmp_path / "cache"
    build(source, cache=cache)
    monkeypatch.setattr(f"ppm.training.collect.{constant}", 99)
    build(source, cache=cache)
    answers = {"COLLECT_VERSION": 2, "TEXT_VERSION": 4}[constant]
    assert [len(kept(cache, kind)) for kind in ("answers", "pairs")] == [answers, 2]


@pytest.mark.slow
def test_a_local_teacher_that_changed_is_asked_again(base, tmp_path):
    teacher = tiny.train_base(tmp_path / "teacher", steps=150, seed=1, safe_share=0.97)
    source, cache = small(tiny.write_patch(tmp_path / "kindness", base), teacher=teacher), tmp_path / "cache"
    build(source, cache=cache)
    before = kept(cache, "answers"), kept(cache, "pairs")
    assert [len(part) for part in before] == [2, 1]
    build(source, cache=cache)
    assert (kept(cache, "answers"), kept(cache, "pairs")) == before
    alter(teacher, "generation")
    build(source, cache=cache)
    assert [len(kept(cache, kind)) for kind in ("answers", "pairs")] == [3, 2]
    alter(base, "generation")
    build(source, cache=cache)
    assert [len(kept(cache, kind)) for kind in ("answers", "pairs")] == [4, 3]


def one(use, **given):
    return Strategy(schema=1, name="one", steps=(StepCall(use, given),))


def test_a_strategys_digest_covers_what_its_steps_do(monkeypatch):
    assert one("distil", steps=5).digest != one("distil", steps=6).digest
    assert one("distil", temperature=0.2).digest == one("distil").digest  # which is its default

    @dataclass(frozen=True, kw_only=True)
    class Newer(options.Distil):
        version: ClassVar[int] = options.Distil.version + 1

    @dataclass(frozen=True, kw_only=True)
    class Sharper(options.Distil):
        temperature: float = 0.1

    found = {one("distil").digest, read_strategy("distilled").digest, read_strategy("auto").digest}
    for changed in (Newer, Sharper):
        monkeypatch.setitem(options.BUILT_IN, "distil", changed)
        now = {one("distil").digest, read_strategy("distilled").digest, read_strategy("auto").digest}
        assert len(now) == 3
        assert not now & found
        found |= now


def test_every_step_that_comes_with_ppm_has_its_options_where_digests_find_them():
    import ppm.composition.recipe  # noqa: F401
    from ppm.composition.registry import STEPS

    assert set(STEPS) >= set(options.BUILT_IN)
    used = {call.use for name in builtin_strategies() for call in read_strategy(name).steps}
    assert used <= set(options.BUILT_IN)


def test_a_digest_needs_no_torch():
    script = (
        "import sys; from ppm.composition.strategy import read_strategy; read_strategy('auto').digest;"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


def other_steps(folder, version="1.0", code="def odd(context, bank, *, factor: float = 1.0, mode=None): ..."):
    """A folder that holds a distribution with a step; without its module where there is no code."""
    info = folder / f"steps_of_others-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: steps-of-others\nVersion: {version}\n")
    (info / "entry_points.txt").write_text("[ppm.steps]\nodd = steps_of_others.odd:odd\n")
    if code:
        (folder / "steps_of_others").mkdir()
        (folder / "steps_of_others" / "__init__.py").write_text("")
        (folder / "steps_of_others" / "odd.py").write_text(code)
    return folder


def digest_beside(site, **given):
    """The digest of a strategy with the step, in a process that finds the distribution."""
    script = (
        "import sys; from ppm.composition.strategy import StepCall, Strategy;"
        f"print(Strategy(schema=1, name='one', steps=(StepCall('odd', {given!r}),)).digest, 'torch' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), *sys.path])}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_plugins_step_counts_with_its_distributions_version_and_its_code(tmp_path):
    plain = other_steps(tmp_path / "plain")
    found = digest_beside(plain)
    assert digest_beside(plain) == found
    assert "False" in found
    newer = other_steps(tmp_path / "newer", "1.1")
    changed = other_steps(tmp_path / "changed")
    (changed / "steps_of_others" / "parts.py").write_text("FACTOR = 2\n")  # which the step may import
    missing = other_steps(tmp_path / "missing", code="")
    assert len({found, *map(digest_beside, (newer, changed, missing, tmp_path / "none"))}) == 5


def test_an_option_of_a_plugins_step_that_is_left_out_counts_with_its_default(tmp_path):
    site = other_steps(tmp_path / "plain")
    assert digest_beside(site, factor=1.0) == digest_beside(site) != digest_beside(site, factor=2.0)
