"""Judges that are models: small real ones, trained here, saved in the Hugging Face format and loaded as any other."""

import json
import random
import shutil

import pytest
import torch
from tiny import fit, language_batch
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from ppm.errors import ModelError
from ppm.evaluation.judges.registry import make_judge
from ppm.jsonl import Prompt
from ppm.suite import Judge

pytestmark = pytest.mark.slow

WORDS = ["<pad>", "<s>", "</s>", "<unk>", "user", "assistant", ":", "safe", "unsafe", "yes", "no", "ask", "answer"]
BAD, GOOD = ["fool", "clown"], ["friend", "neighbor", "baker"]
TEMPLATE = "{{ bos_token }}{% for m in messages %} {{ m['role'] }} : {{ m['content'] }}{% endfor %} :"
CASES = [(Prompt("1", "my baker"), ("you fool", "my friend the baker")), (Prompt("2", "a friend"), ("clown",))]


def tokenizer():
    words = [*WORDS, *BAD, *GOOD, "you", "my", "the", "a"]
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.add_special_tokens(["<pad>", "<s>", "</s>", "<unk>"])
    made.add_tokens([AddedToken("\n\n", normalized=False)])
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=64, chat_template=TEMPLATE, **names)


def said(rng):
    """A text, and whether it is bad."""
    bad = rng.random() < 0.5
    words = [rng.choice(["you", "my", "the", "a", *GOOD]) for _ in range(rng.randint(1, 4 - bad))]
    if bad:
        words.insert(rng.randint(0, len(words)), rng.choice(BAD))
    return " ".join(words), bad


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    torch.manual_seed(0)
    rng, words = random.Random(0), tokenizer()
    labels = {0: "toxicity", 1: "insult"}
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=len(words), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
            max_position_embeddings=64, initializer_range=0.2, id2label=labels,
            label2id={v: k for k, v in labels.items()},
            problem_type="multi_label_classification",
        )
    )  # fmt: skip

    def batch():
        texts, bad = zip(*(said(rng) for _ in range(32)), strict=True)
        targets = torch.tensor([[float(b), 0.0] for b in bad])
        return {**words(list(texts), padding=True, return_tensors="pt"), "labels": targets}

    return fit(tmp_path_factory.mktemp("classifier"), model, words, batch, steps=150, rate=3e-3)


@pytest.fixture(scope="module")
def guard(tmp_path_factory):
    """Says `safe` or `unsafe` after a chat, behind white space; `yes` or `no` after a question of its own form."""
    torch.manual_seed(0)
    rng, words = random.Random(0), tokenizer()
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(words), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
            max_position_embeddings=64, bos_token_id=1, eos_token_id=2, pad_token_id=0,
        )
    )  # fmt: skip

    def batch():
        texts = []
        for _ in range(32):
            (asked, _), (text, bad) = said(rng), said(rng)
            if rng.random() < 0.5:
                texts.append(f"<s> user : {asked} assistant : {text} : \n\n {'unsafe' if bad else 'safe'} </s>")
            else:
                texts.append(f"ask {asked} answer {text} : {'yes' if bad else 'no'} </s>")
        return language_batch(words, texts, add_special_tokens=False)

    return fit(tmp_path_factory.mktemp("guard"), model, words, batch, steps=200)


def score(name, cases=CASES, **options):
    return make_judge(Judge(name, {k: str(v) for k, v in options.items()}), {}, "a test").score(cases)


def as_wanted(scores):
    [[bad, good], [other]] = scores
    return bad > 0.8 and good < 0.2 and other > 0.8


def test_a_classifier_of_toxicity(classifier):
    assert as_wanted(score("detoxify", model=classifier))
    assert max(score("detoxify", model=classifier, label="insult")[0]) < 0.2
    with pytest.raises(ModelError, match="'heat'") as caught:
        score("detoxify", model=classifier, label="heat")
    assert "toxicity, insult" in caught.value.hint


def test_a_guard_reads_its_first_word_behind_white_space(guard):
    assert as_wanted(score("llama-guard", model=guard))


def test_a_score_does_not_hang_on_what_stands_beside_it_in_the_batch(guard):
    together = score("llama-guard", model=guard)
    alone = [score("llama-guard", [case], model=guard)[0] for case in CASES]
    assert [x for row in together for x in row] == pytest.approx([x for row in alone for x in row], abs=1e-5)


def test_a_classifier_of_behaviours_is_asked_by_its_own_template(guard):
    template = "ask {behavior} answer {generation} :"
    assert as_wanted(score("harmbench-classifier", model=guard, template=template))
    # What a completion holds is never taken for a slot of the template.
    slots = [(Prompt("1", "my baker"), ("the {behavior}",))]
    assert score("harmbench-classifier", slots, model=guard, template=template)[0][0] < 0.5


def test_a_verdict_is_never_read_after_an_end_token_that_the_tokenizer_adds(guard, tmp_path):
    template = "ask {behavior} answer {generation} :"
    ending = shutil.copytree(guard, tmp_path / "ending")
    table = json.loads((ending / "tokenizer.json").read_text())
    special = {"id": "</s>", "ids": [2], "tokens": ["</s>"]}
    single = [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}]
    pair = [*single, {"Sequence": {"id": "B", "type_id": 1}}]
    table["post_processor"] = {
        "type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": {"</s>": special}
    }  # fmt: skip
    (ending / "tokenizer.json").write_text(json.dumps(table))
    assert AutoTokenizer.from_pretrained(ending)("ask").input_ids[-1] == 2
    for name, options in (("harmbench-classifier", {"template": template}), ("llama-guard", {})):
        assert score(name, model=ending, **options) == score(name, model=guard, **options)


def test_a_guards_template_has_no_clock(guard, tmp_path):
    dated = shutil.copytree(guard, tmp_path / "dated")
    today = "{% if strftime_now('%d %b %Y') == '26 Jul 2024' %}" + TEMPLATE + "{% endif %}"
    made = AutoTokenizer.from_pretrained(dated)
    made.chat_template = today
    made.save_pretrained(dated)
    assert score("llama-guard", model=dated) == score("llama-guard", model=guard)


def test_a_model_that_can_not_be_had_is_one_clear_error(guard, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"x")
    for model, words in ((tmp_path, "no tokenizer"), (tmp_path / "absent", "folder"), ("some/guard", "commit")):
        with pytest.raises(ModelError, match=words):
            score("llama-guard", model=model)
    damaged = tmp_path / "damaged"
    shutil.copytree(guard, damaged)
    (damaged / "config.json").write_text('{"model_type": "llama", "hidden_size": 8}')
    with pytest.raises(ModelError, match="can't be loaded") as caught:
        score("llama-guard", model=damaged)
    assert "llama-guard" in caught.value.context


def test_another_folder_is_another_judge(guard, classifier):
    identities = {
        make_judge(Judge("llama-guard", {"model": str(f)}), {}, "a test").identity for f in (guard, classifier)
    }
    assert len(identities) == 2


def test_a_folder_with_other_settings_of_its_tokenizer_is_another_judge(classifier, tmp_path):
    """They are no part of a fingerprint, and decide how much of a text is read."""
    copy = shutil.copytree(classifier, tmp_path / "copy")
    first = make_judge(Judge("detoxify", {"model": str(copy)}), {}, "a test").identity
    assert first == make_judge(Judge("detoxify", {"model": str(classifier)}), {}, "a test").identity
    settings = json.loads((copy / "tokenizer_config.json").read_text())
    (copy / "tokenizer_config.json").write_text(json.dumps({**settings, "model_max_length": 4}))
    assert make_judge(Judge("detoxify", {"model": str(copy)}), {}, "a test").identity != first


def test_a_folder_that_has_the_name_of_a_hub_model_is_not_taken_for_it(guard, tmp_path, monkeypatch):
    commit = "0123456789abcdef0123456789abcdef01234567"
    for name in ("some/guard", f"some/guard@{commit}"):
        shutil.copytree(guard, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    judge = make_judge(Judge("llama-guard", {"model": f"some/guard@{commit}"}), {}, "a test")
    assert judge.identity == f"+some/guard@{commit}"
    with pytest.raises(ModelError, match="not on this machine"):
        judge.prepare()
    with pytest.raises(ModelError, match="not on this machine"):
        judge.judged(CASES)
    assert as_wanted(score("llama-guard", model=f"./some/guard@{commit}"))


def rewritten(folder, change):
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("classifier.weight"), "lack classifier.weight"),
        (lambda t: t.update(other=torch.zeros(2)), "hold other, for which"),
        (lambda t: t.update({"classifier.weight": torch.zeros(3, 32)}), "can't be loaded"),
        (lambda t: t.update({"classifier.bias": torch.tensor([1, 2])}), "classifier.bias is of I64"),
    ],
)
def test_a_model_that_is_not_whole_is_refused(classifier, tmp_path, change, words):
    folder = tmp_path / "damaged"
    shutil.copytree(classifier, folder)
    rewritten(folder, change)
    with pytest.raises(ModelError, match=words) as caught:
        score("detoxify", model=folder)
    assert "detoxify" in caught.value.context


def test_code_that_comes_with_a_model_is_never_run(classifier, tmp_path):
    folder = tmp_path / "hostile"
    shutil.copytree(classifier, folder)
    (folder / "mine.py").write_text("raise SystemExit(9)")
    settings = json.loads((folder / "config.json").read_text())
    settings |= {
        "model_type": "of-mine",
        "auto_map": {"AutoConfig": "mine.C", "AutoModelForSequenceClassification": "mine.M"},
    }
    (folder / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ModelError, match="can't be loaded"):
        score("detoxify", model=folder)


SMALL = {
    "vocab_size": 24, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
    "num_labels": 1, "id2label": {0: "toxicity"}, "label2id": {"toxicity": 0},
}  # fmt: skip


@pytest.mark.parametrize("kind", ["roberta", "xlm-roberta", "camembert", "mpnet", "bert", "electra", "distilbert"])
def test_a_long_text_is_cut_to_what_the_positions_hold(tmp_path, kind):
    from transformers import AutoConfig, AutoModelForSequenceClassification

    offset = kind in ("roberta", "xlm-roberta", "camembert", "mpnet")
    config = AutoConfig.for_model(kind, **SMALL, max_position_embeddings=66 if offset else 64, pad_token_id=int(offset))
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    words = tokenizer()
    words.model_max_length = 10**30
    words.save_pretrained(tmp_path)
    exact, longer = score("detoxify", [(Prompt("1", "x"), ("a " * 64, "a " * 65))], model=tmp_path)[0]
    assert exact == pytest.approx(longer, abs=1e-6)


@pytest.mark.parametrize(
    "template",
    [
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system message') }}{% endif %}x",
        "{{ messages[0]['content'] / 0 }}",
        "{{ messages[9]['content'].strip() }}",
        "{% for",
    ],
)
def test_a_template_that_refuses_is_one_error(guard, tmp_path, template):
    folder = tmp_path / "guard"
    shutil.copytree(guard, folder)
    (folder / "chat_template.jinja").write_text(template)
    chat = Prompt("7", (("system", "my"), ("user", "baker")))
    with pytest.raises(ModelError, match="refuses the messages of the prompt '7'") as caught:
        make_judge(Judge("llama-guard", {"model": str(folder)}), {}, "a test").judged([(chat, ("you fool",))])
    assert "llama-guard" in caught.value.context


def test_what_is_longer_than_a_guard_takes_is_told(guard):
    with pytest.raises(ModelError, match="takes 64 tokens"):
        score("llama-guard", [(Prompt("1", "my"), ("a " * 80,))], model=guard)
