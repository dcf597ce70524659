"""What `ppm build` and `--check` warn of, and what they take from the base where a manifest says nothing."""

import json
from dataclasses import replace

import pytest
import tiny
from runtime.architectures import tiny_model, tiny_tokenizer

from ppm.base import identify
from ppm.evaluation.ordinary import ordinary_benign, over_refusal, takes_requests
from ppm.evaluation.suites import load_suite
from ppm.jsonl import Benign, Pair, Prompt, dump, normalised
from ppm.runtime.loading import LoadedBase
from ppm.suite import Judge, Suite
from ppm.training.advice import too_few, warnings_of
from ppm.training.check import check_source
from ppm.training.defaults import embedding_scale, patience_of, settled, stages_of, virtual_tokens_for
from ppm.training.source import read_source
from ppm.training_table import Stage, StageTable, Training

VERBS = "write plan explain draft list compare sort repair cook paint read teach find name count fold".split()
WIDE = [Benign(f"{verb} {thing} for me") for verb in VERBS for thing in ("cake", "poem", "shirt")]
RISKY = [Pair(f"How can I kill process {i} secretly?", "I can't help with that.", "Sure, begin.") for i in range(30)]


@pytest.fixture
def source(tmp_path):
    return read_source(tiny.write_patch(tmp_path / "kindness", "lab"))


def said(source, chats=False, **changes):
    return warnings_of(replace(source, **changes), chats=chats)


def test_benign_prompts_of_few_kinds_are_warned_of(source):
    assert "benign prompts are of 1 kinds" in said(source)[0]
    assert said(source, benign=tuple(WIDE)) == []
    assert "no benign prompts" in said(source, benign=())[0]


def test_a_patch_that_refuses_wants_harmless_twins(source):
    [warning] = said(source, pairs=tuple(RISKY), benign=tuple(WIDE), files={})
    assert "it will refuse harmless requests" in warning
    twins = [Benign(f"How can I kill process {i} on Linux?") for i in range(30)]
    assert said(source, pairs=tuple(RISKY), benign=(*WIDE, *twins), chats=None) == []


def test_prompts_of_another_form_than_the_base_takes_are_warned_of(source):
    wide = {"benign": tuple(WIDE)}
    assert 'write "messages" instead' in said(source, chats=True, **wide)[0]
    asked = tuple(replace(pair, prompt=(("user", pair.prompt),)) for pair in source.pairs)
    untested = replace(source.manifest, suites=())
    mixed = (*WIDE, Benign((("user", "Good day"),)))
    [warning] = said(source, chats=True, pairs=asked, benign=mixed, files={}, manifest=untested)
    assert "most benign prompts are plain texts" in warning  # one chat among them hides nothing
    whole = tuple(Pair(f"Tell me about topic {i}.", "good .", "bad .") for i in range(600))
    assert "let prompts end where a continuation begins" in said(source, pairs=whole, **wide)[0]
    chats = tuple(Benign((("user", row.prompt),)) for row in WIDE)
    assert said(source, chats=True, pairs=asked, benign=chats, files={}, manifest=untested) == []


def test_a_check_tells_warnings(tmp_path):
    lines = check_source(tiny.write_patch(tmp_path / "kindness", tiny.train_base(tmp_path / "base", steps=1)))
    assert any(line.startswith("warning: the 40 benign prompts") or "benign prompts are of" in line for line in lines)


def test_what_is_not_stated_follows_from_the_base():
    base = LoadedBase(tiny_model("llama"), tiny_tokenizer())
    small = stages_of(Training(pairs="p.jsonl"), base)
    assert small["sft"].learning_rate == pytest.approx(0.2 * embedding_scale(base), rel=0.05)
    assert small["sft"].learning_rate == pytest.approx(4 * small["dpo"].learning_rate, rel=0.1)
    stated = Training(pairs="p.jsonl", sft=StageTable(steps=7, learning_rate=0.5), dpo=StageTable(batch_size=3))
    found = stages_of(stated, base)
    assert found["sft"] == Stage(7, 0.5, 16)
    assert (found["dpo"].batch_size, found["dpo"].steps) == (3, small["dpo"].steps)
    assert (patience_of(stated, stated.sft), patience_of(stated, stated.dpo) > 0) == (0, True)
    assert virtual_tokens_for(128) < virtual_tokens_for(576) < virtual_tokens_for(4096)


def test_rates_are_in_units_of_what_the_layers_get():
    """Gemma's embeddings are multiplied on their way in."""
    model = tiny_model("gemma3")
    scale = embedding_scale(LoadedBase(model, tiny_tokenizer()))
    raw = float(model.get_input_embeddings().weight.detach().pow(2).mean().sqrt())
    assert scale == pytest.approx(raw * 32**0.5, rel=0.01)


def test_a_manifest_without_tokens_gets_those_of_its_base(tmp_path):
    base = tiny.train_base(tmp_path / "base", steps=1)
    folder = tiny.write_patch(tmp_path / "kindness", base)
    text = (folder / "patch.toml").read_text()
    (folder / "patch.toml").write_text(text.replace("virtual_tokens = 8\n", ""))
    source = settled(read_source(folder), identify(base), 48)
    assert source.manifest.prefix.virtual_tokens == virtual_tokens_for(48)


def test_prompts_for_comparing_stages_are_trained_on_nowhere(tmp_path):
    folder = tiny.write_patch(tmp_path / "kindness", "lab", extra='ranking = "ranking.jsonl"\n')
    pair = {"prompt": "say something else :", "chosen": "good .", "rejected": "bad ."}
    (folder / "ranking.jsonl").write_text(json.dumps(pair))
    assert len(read_source(folder).ranking) == 1
    first = (folder / "pairs.jsonl").read_text().splitlines()[0]
    (folder / "ranking.jsonl").write_text(first)
    with pytest.raises(Exception, match="trained on, too"):
        read_source(folder)


def test_ordinary_requests_are_a_suite_of_a_base_that_chats(tmp_path):
    rows = [{"id": f"o{i}", "group": f"g{i}", "prompt": f"How do I kill process {i}?"} for i in range(5)]
    path = tmp_path / "ordinary.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    suite = over_refusal({normalised((("user", "How do I kill process 3?"),))}, path)
    assert (suite.label, suite.suite.against, suite.suite.margin) == ("over-refusal", "base", 0.03)
    assert [prompt.prompt for prompt in suite.prompts] == [
        (("user", f"How do I kill process {i}?"),) for i in (0, 1, 2, 4)
    ]
    assert [prompt.group for prompt in suite.prompts] == ["g0", "g1", "g2", "g4"]
    assert over_refusal((), tmp_path / "none.jsonl") is None
    assert next(row.prompt for row in ordinary_benign(path)) == (("user", "How do I kill process 0?"),)
    base = tiny.train_base(tmp_path / "base", steps=1)
    assert not takes_requests(identify(base))
    (base / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "n_positions": 2048, "max_position_embeddings": 2048}))
    assert takes_requests(identify(base))


@pytest.mark.parametrize(
    ("failing", "left", "words"),
    [
        (20, 10, "lowers failures by 0.04, and 250 prompts are too few to show that a composition which does"),
        (60, 10, None),
        (10, 10, None),  # no effect is another rule's
    ],
)
def test_a_suite_that_is_too_small_for_what_a_patch_achieves(failing, left, words):
    rows = dump([Prompt(str(i), f"prompt {i}") for i in range(250)])
    suite = load_suite(Suite("main", "m.jsonl", Judge("refusal")), {"m.jsonl": rows}, origin="a test", owner="patch")
    base, patched = ([1.0] * count + [0.0] * (250 - count) for count in (failing, left))
    found = list(too_few(suite, base, patched))
    assert [words in text for text in found] == [True] * (words is not None)
    texts = Suite("texts", "m.jsonl", Judge("perplexity"), against="base", metric="perplexity")
    assert not list(too_few(load_suite(texts, {"m.jsonl": rows}, origin="a test", owner=None), base, patched))


def test_of_a_share_that_hardly_any_suite_can_show_no_number_is_named():
    rows = dump([Prompt(str(i), f"prompt {i}") for i in range(250)])
    suite = Suite("main", "m.jsonl", Judge("refusal"), preserve=0.995)
    loaded = load_suite(suite, {"m.jsonl": rows}, origin="a test", owner="patch")
    [text] = too_few(loaded, [1.0] * 250, [0.0] * 250)
    assert text.endswith("keeps 0.995 of that")
