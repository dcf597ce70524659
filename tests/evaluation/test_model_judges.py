"""Judges that are models: small real ones, trained here, saved in the Hugging Face format and loaded as any other."""

import random
import shutil

import pytest
import torch
from tiny import fit, language_batch
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import (
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
