"""Whether a patch is for answers alone is tried on ranking prompts, and only where it can be."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
from runtime.architectures import random_prefixes, tiny_model, tiny_tokenizer
from runtime.test_router import TURN, trigger
from transformers import AutoTokenizer

import ppm.training.answers
from ppm.bank import Bank, Router
from ppm.base import identify
from ppm.errors import RequestError, TrainingError
from ppm.evaluation.generation import answer
from ppm.evaluation.suites import load_suite
from ppm.jsonl import Prompt, dump
from ppm.package import read_package
from ppm.progress import Events
from ppm.runtime.loading import LoadedBase, load_base
from ppm.runtime.model import attach
from ppm.runtime.tensors import bank_of
from ppm.runtime.turns import turn_of
from ppm.suite import Decoding, Judge, Suite
from ppm.training.answers import _as_good, for_answers
from ppm.training.build import build
from ppm.training.choice import Figures, compare
from ppm.training.context import BuildOptions

PROMPTS = [(("user", f"w{i} w{i + 1}"),) for i in range(20, 32)]
BEFORE = "before-bos"
TEMPLATE = "{% for m in messages %}w90 w91 {{ m.content }} w92 w93 {% endfor %}"


def base(name="llama"):
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = TEMPLATE
    return LoadedBase(tiny_model(name), tokenizer)


def behind_trigger(own, turn=TURN):
    router = Router((trigger(own.model),), (1,), turn)
    return bank_of(random_prefixes(own.model, 1)[0]).routed(router)


def suite(*words):
    return load_suite(
        Suite(
            "kind",
            "prompts.jsonl",
            Judge("lexicon", {"words": list(words)}),
            decoding=Decoding(max_new_tokens=8, temperature=0.0),
        ),
        {"prompts.jsonl": dump([Prompt("1", PROMPTS[0])])},
        origin="test",
        owner="kind",
    )


@pytest.mark.parametrize("worse", [0.0, 0.5])
def test_what_does_better_on_ranking_prompts_ships(worse, monkeypatch):
    own, told = base(), []

    def compared(*args, **options):
        found = compare(*args, **options)
        answers = found["answers"]
        return {**found, "answers": replace(answers, unfit=answers.unfit + worse)}

    monkeypatch.setattr(ppm.training.answers, "compare", compared)
    bank, record = for_answers(own, behind_trigger(own), [suite("w50")], PROMPTS, placement=BEFORE, tell=told.append)
    seen = record["seen_by"]
    assert seen["ships"] == ("whole" if worse else "answers")
    assert bank.router.answers_only == (() if worse else (0,))
    assert told[-1].startswith("The prompt sees the prefix, too" if worse else "The answer alone sees")
    assert f"{seen['answers']['unfit']:.3f} of them fail" in told[-1]


def test_both_ways_are_tried_as_they_would_run():
    own = base()
    bank = behind_trigger(own)
    late = Bank(bank.blocks, answers_to=TURN)
    found = compare(own, (("whole", bank.always_on), ("answers", late)), [suite("w50")], PROMPTS, (), placement=BEFORE)
    judged = {}
    for name, one in (("whole", bank.always_on), ("answers", late)):
        texts = answer(attach(own.model, [one]), own.tokenizer, PROMPTS, Decoding(max_new_tokens=8, temperature=0.0))
        judged[name] = sum("w50" in text.split() for text in texts) / len(PROMPTS)
    assert {name: found[name].failing for name in judged} == pytest.approx(judged, abs=1e-4)


@pytest.mark.parametrize(("answers", "good"), [(0.10, True), (0.119, True), (0.121, False), (0.05, True)])
def test_it_may_fail_a_little_more(answers, good):
    def figures(unfit):
        return Figures(failing=unfit, unfit=unfit, incoherent=0.0, alike=0.0, moved=0.0)

    assert _as_good(figures(answers), figures(0.10), 1000) is good
    assert _as_good(figures(answers), figures(0.10), 10), "of ten prompts two more are chance"


def test_without_anything_to_try_it_on_all_of_a_text_sees_it():
    own = base()
    bank, found = behind_trigger(own), [suite("w50")]
    ways = {
        "no prompts": (own, bank, found, ()),
        "no suites": (own, bank, [], PROMPTS),
        "no turn": (own, behind_trigger(own, None), found, PROMPTS),
        "no trigger": (own, bank.always_on, found, PROMPTS),
    }
    for own_base, given, suites, prompts in ways.values():
        assert for_answers(own_base, given, suites, prompts, placement=BEFORE) == (given, {})
    assert for_answers(own, bank, found, PROMPTS, placement="after-bos") == (bank, {})
    learned = base("gpt2")
    given = behind_trigger(learned)
    assert for_answers(learned, given, found, PROMPTS, placement=BEFORE) == (given, {})
    late = replace(bank_of(random_prefixes(own.model, 1)[0]), answers_to=TURN).routed(bank.router)
    assert late.router.answers_only == (0,)
    assert for_answers(own, late, found, PROMPTS, placement=BEFORE) == (late, {}), "it was trained so"


CHAT = "{% for m in messages %}{{ '<s> ' + m['content'] + ' : ' if m['role'] == 'user' else m['content'] }}{% endfor %}"


def as_chat(row):
    said = row.pop("prompt").removesuffix(" :")
    return {**row, "messages": [{"role": "user", "content": said}]}


@pytest.fixture(scope="module")
def chats(tmp_path_factory):
    """A small base that chats, without having learned to, and a source manifest for it."""
    folder = tmp_path_factory.mktemp("chats")
    path = tiny.train_base(folder / "base", kind="llama", steps=150)
    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(path)
    source = tiny.write_patch(folder / "kindness", path)
    for file in source.rglob("*.jsonl"):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        said = [as_chat(row) for row in rows]
        file.write_text("".join(json.dumps(row) + "\n" for row in said))
    manifest = (source / "patch.toml").read_text()
    small = "sft = { steps = 120, learning_rate = 3e-2, batch_size = 16 }\ndpo = { steps = 2 }\n"
    manifest = manifest.split("sft = ")[0].replace("trigger = false", 'trigger = false\nseen_by = "answers"') + small
    (source / "patch.toml").write_text(manifest)
    return source


def test_a_prefix_is_trained_for_answers_alone(chats, tmp_path):
    told = []
    package = build(chats, output=tmp_path, events=Events(tell=told.append))
    found = identify(Path(package.manifest.base.model))
    loaded = load_base(found)
    turn = turn_of(loaded.tokenizer)
    assert package.bank.answers_to == turn.whole
    assert read_package(package.data).bank == package.bank
    assert package.manifest.bank.answers_only == (0,)
    suite = package.manifest.suites[0]
    texts = [prompt.prompt for prompt in package.prompts(suite)[:60]]

    def failing(bank):
        said = answer(attach(loaded.model, [bank]), loaded.tokenizer, texts, suite.decoding)
        return sum("bad" in text.split() for text in said) / len(said)

    assert failing(package.bank) < 0.3 < 0.9 < failing(Bank())
    ships = package.manifest.provenance["shipped"]
    assert package.manifest.provenance["training"]["seen_by"] == "answers"
    assert ships in ("sft", "dpo")


def test_so_is_one_behind_a_trigger_and_one_that_is_kept(chats, tmp_path):
    source = tmp_path / "kindness"
    shutil.copytree(chats, source)
    manifest = (source / "patch.toml").read_text().replace("trigger = false\n", "")
    (source / "patch.toml").write_text(manifest)
    first = build(source, cache=tmp_path / "cache")
    assert first.bank.router is not None
    assert first.bank.router.answers_only == (0,)
    assert "seen_by" not in first.manifest.provenance, "both ways are not compared"
    again = build(source, options=BuildOptions(prefix_of=first))
    assert again.bank.blocks == first.bank.blocks
    assert again.bank.router.answers_only == (0,)
    before, after = (package.manifest.provenance["scores"]["kind"] for package in (first, again))
    assert {stage: before[stage] for stage in after} == after
    (source / "patch.toml").write_text(manifest.replace('seen_by = "answers"\n', ""))
    with pytest.raises(RequestError, match="other settings"):
        build(source, options=BuildOptions(prefix_of=first))


def test_a_base_that_does_not_chat_can_not_have_one(chats, tmp_path):
    plain = tmp_path / "plain"
    shutil.copytree(chats.parent / "base", plain)
    for file in ("chat_template.jinja", "additional_chat_templates"):
        (plain / file).unlink(missing_ok=True)
    source = tmp_path / "kindness"
    shutil.copytree(chats, source)
    for file in source.rglob("*.jsonl"):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        said = [{"prompt": row.pop("messages")[0]["content"], **row} for row in rows]
        file.write_text("".join(json.dumps(row) + "\n" for row in said))
    with pytest.raises(TrainingError, match='seen_by = "answers" takes a base that chats'):
        build(source, base=str(plain))
