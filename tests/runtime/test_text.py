"""From text to tokens: end tokens, templates of all sorts, and what the base can't read."""

import json
import tempfile
from pathlib import Path

import pytest
import tiny
from datasets import Dataset
from runtime.architectures import tiny_model, tiny_tokenizer
from tokenizers import processors
from transformers import AutoTokenizer, GenerationConfig
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from ppm.base import identify
from ppm.errors import ModelError
from ppm.jsonl import Pair
from ppm.package import read_package
from ppm.resources import lab_data
from ppm.runtime.text import TextEncoder, continuation, encode, encoder_of_folder, join, stop_tokens
from ppm.training.trainers import dpo_rows, sft_rows

TURNS = "{% for m in messages %}{{ m['role'] }} : {{ m['content'] }} </s> {% endfor %}"
CHAT = TURNS + "{% if add_generation_prompt %}assistant :{% endif %}"
QUESTION = (("user", "say w1 w2"),)
END = 2


def tokenizer(template=None, *, ends=False, extra=()):
    """One token a word; roles are words too. With `ends`, an end token is put after every text."""
    made = tiny.make_tokenizer()
    made.add_tokens(["user", "assistant", "system", "think", *extra])
    if ends:
        single = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", END)])
        made.backend_tokenizer.post_processor = single
    made.chat_template = template
    return made


def encoder(template=None, *, context=64, **options):
    made = tokenizer(template, **options)
    return TextEncoder(made, len(tiny.VOCABULARY) + 4, context, frozenset({END}))


def words(encoder, ids):
    return " ".join(encoder.tokenizer.convert_ids_to_tokens(list(ids)))


@pytest.mark.parametrize("text", ["say w1 w2 :", "say </s>", "<s> <s>", ""])
def test_an_end_token_that_the_tokenizer_appends_is_left_out_and_one_of_the_texts_own_is_not(text):
    assert encode(tokenizer(ends=True), text) == encode(tokenizer(), text) == tuple(tokenizer()(text).input_ids)


def test_an_answer_follows_its_prompt_and_ends_once():
    for ends in (False, True):
        reader = encoder(ends=ends)
        assert words(reader, reader.answer("say w1 :", "good .")) == "good . </s>"
        assert words(reader, reader.answer("say w1 :", "good . </s>")) == "good . </s>"
        assert words(reader, continuation(reader.tokenizer, "say w1 :", "good .")) == "good ."


def test_a_generation_prompt_that_is_no_beginning_of_the_conversation_is_what_training_sees_too():
    reader = encoder(TURNS + "{% if add_generation_prompt %}assistant : think{% endif %}")
    row = sft_rows(reader, [Pair(QUESTION, "good .", "bad .")])[0]
    asked = encode(reader.tokenizer, QUESTION)
    assert words(reader, row["input_ids"]) == "user : say w1 w2 </s> assistant : think good . </s>"
    assert row["input_ids"][: len(asked)] == list(asked)
    assert row["labels"] == [-100] * len(asked) + row["input_ids"][len(asked) :]


def test_a_turn_of_the_assistant_is_continued():
    reader = encoder(CHAT)
    begun = (*QUESTION, ("assistant", "good"))
    assert words(reader, reader.prompt(begun)) == "user : say w1 w2 </s> assistant : good"
    assert words(reader, reader.answer(begun, "w3 .")) == "w3 . </s>"


@pytest.mark.parametrize(
    ("template", "ending"),
    [
        (CHAT, "good . </s>"),
        ("{% for m in messages %}{{ m['content'] }} {% endfor %}", "good . </s>"),  # which ends no turn
        (CHAT.replace("</s>", "nice"), "good . nice </s>"),  # which ends it where the model does not stop
        ("{% for m in messages %}{% if m['role'] == 'user' %}{{ m['content'] }} :{% endif %}{% endfor %}", "</s>"),
        (
            "{% for m in messages %}{% if m['role'] == 'assistant' %}{{ raise_exception('no') }}{% endif %}"
            "{{ m['content'] }} :{% endfor %}",
            "good . </s>",
        ),
    ],
)
def test_an_answer_in_a_chat_ends_where_the_model_stops(template, ending):
    reader = encoder(template)
    answer = words(reader, reader.answer(QUESTION, "good ."))
    assert answer.endswith(ending)
    assert answer.count("</s>") == 1


def test_a_turn_ends_with_the_templates_own_token_where_the_model_stops_at_it():
    made = tokenizer(CHAT.replace("</s>", "nice"))
    nice = made.convert_tokens_to_ids("nice")
    reader = TextEncoder(made, 100, None, stop_tokens(made, GenerationConfig(eos_token_id=[nice])))
    assert reader.stops == {END, nice}
    assert words(reader, reader.answer(QUESTION, "good .")) == "good . nice"
    assert (reader.ending(QUESTION), reader.ending("say")) == ((nice,), (END,))


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ("{{ raise_exception('System role not supported') }}", "System role not supported"),
        ("{{ messages[0]['content'].nothing() }}", "no attribute 'nothing'"),
        ("{{ 1 // 0 }}", "zero"),
        ("{% for %}", "Expected|expected|unexpected"),
        ("{{ messages['a'] + 1 }}", "no attribute 'a'"),
    ],
)
def test_whatever_a_template_raises_is_one_error_that_says_where(broken, reason):
    reader = encoder("{% if messages[0]['role'] == 'system' %}" + broken + "{% endif %}" + CHAT)
    with pytest.raises(ModelError, match=reason) as caught:
        reader.prompt((("system", "nice"), *QUESTION), "pairs.jsonl, line 7")
    assert caught.value.context == "pairs.jsonl, line 7"
    assert "chat template" in caught.value.message


@pytest.mark.parametrize("start", ["", "\n", "  "])
def test_a_template_that_writes_todays_date_writes_the_same_one_every_day(start):
    body = "{% if messages %}{{ messages[0]['content'] }}{% endif %}"
    plain, dated = tokenizer(start + body), tokenizer(start + body + " {{ strftime_now('%d %b %Y %-d %H') }}")
    chat = (("user", "say"),)
    without, written = (
        made.apply_chat_template([{"role": "user", "content": "say"}], tokenize=False) for made in (plain, dated)
    )
    dated.add_tokens(["26", "Jul", "2024", "00"])
    assert encode(dated, chat) == tuple(dated(without + " 26 Jul 2024 26 00", add_special_tokens=False).input_ids)
    assert written.startswith(without)


def test_what_the_base_can_not_read_is_told_with_its_place():
    reader = encoder(extra=["<|sys|>"])
    with pytest.raises(ModelError, match=r"'<\|sys\|>', token \d+ of the tokenizer") as caught:
        reader.prompt("<|sys|> say", "pairs.jsonl, line 2")
    assert caught.value.context == "pairs.jsonl, line 2"
    with pytest.raises(ModelError, match="embeddings"):
        reader.answer("say", "<|sys|>")
    with pytest.raises(ModelError, match="no chat template"):
        reader.prompt(QUESTION)
    with pytest.raises(
        ModelError, match="takes 65 tokens with the prefix, but the base model's context has room for 64"
    ):
        reader.check_room(65)
    reader.check_room(64)
    silent = tokenizer()
    silent.eos_token = None
    with pytest.raises(ModelError, match="no end token") as caught:
        TextEncoder(silent, 60, 64, frozenset()).answer("say", "good .", "pairs.jsonl, line 1")
    assert caught.value.context == "pairs.jsonl, line 1"


def test_a_prompt_without_any_token_is_an_error():
    bare = tokenizer()
    bare.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 2)]
    )
    with pytest.raises(ModelError, match="has no tokens"):
        encode(bare, "")


def test_a_folder_is_read_without_its_weights(tmp_path):
    base = tiny.train_base(tmp_path / "base", steps=1)
    (base / "generation_config.json").write_text(json.dumps({"eos_token_id": [5, 2]}))
    reader = encoder_of_folder(identify(base))
    assert (reader.embeddings, reader.context, reader.stops) == (len(tiny.VOCABULARY), 64, {2, 5})
    (base / "generation_config.json").unlink()
    assert encoder_of_folder(identify(base)).stops == {2}


def lab_pairs():
    packages = sorted((lab_data() / "packages").glob("*.ppm"))
    return [pair for path in packages[:2] for pair in read_package(path).replay[:20]]


def as_trl_wants(pair):
    def said(answer):
        if isinstance(pair.prompt, str):
            return join(pair.prompt, answer)
        return [{"role": "assistant", "content": answer}]

    asked = pair.prompt if isinstance(pair.prompt, str) else [{"role": r, "content": c} for r, c in pair.prompt]
    return {"prompt": asked, "chosen": said(pair.chosen), "rejected": said(pair.rejected)}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lab", "chat"])
def test_rows_are_those_that_trl_made_of_the_text(kind):
    """Where TRL's own way from text to tokens is right, ours gives the same rows."""
    if kind == "lab":
        made, pairs = AutoTokenizer.from_pretrained(Path(lab_data()) / "base"), lab_pairs()
    else:
        made = tokenizer(CHAT)
        pairs = [Pair((("user", f"say w{i}"),), "good .", "bad .") for i in range(4)]
        pairs.append(Pair((*pairs[0].prompt, ("assistant", "good ."), ("user", "say w9")), "nice .", "bad ."))
    assert pairs
    reader = TextEncoder(made, len(made), None, frozenset({made.eos_token_id}))
    texts = [as_trl_wants(pair) for pair in pairs]
    options = {"output_dir": tempfile.mkdtemp(), "max_length": None, "use_cpu": True, "bf16": False}
    options |= {"report_to": "none", "per_device_train_batch_size": 2}
    sft = SFTTrainer(
        model=tiny_model("llama"),
        args=SFTConfig(**options),
        train_dataset=Dataset.from_list([{"prompt": t["prompt"], "completion": t["chosen"]} for t in texts]),
        processing_class=made,
    )
    dpo = DPOTrainer(
        model=tiny_model("llama"),
        ref_model=tiny_model("llama"),
        args=DPOConfig(**options),
        train_dataset=Dataset.from_list(texts),
        processing_class=made,
    )
    kept = ("input_ids", "labels"), ("prompt_ids", "chosen_ids", "rejected_ids")
    theirs = [
        [{key: row[key] for key in keys} for row in trainer.train_dataset]
        for trainer, keys in zip((sft, dpo), kept, strict=True)
    ]
    assert [sft_rows(reader, pairs), dpo_rows(reader, pairs)] == theirs


def test_the_same_words_are_read_alike_by_a_tokenizer_that_ends_texts():
    """What stands in a batch of training is what generation is asked with."""
    plain, ending = (encoder(CHAT, ends=ends) for ends in (False, True))
    for pair in (Pair("say w1 :", "good .", "bad ."), Pair(QUESTION, "good .", "bad .")):
        assert sft_rows(plain, [pair]) == sft_rows(ending, [pair])
        assert dpo_rows(plain, [pair]) == dpo_rows(ending, [pair])


def test_words_that_merge_with_a_prompt_keep_the_prompt_as_it_is_asked():
    made = tiny_tokenizer()
    asked = encode(made, "thank yo")
    assert asked + continuation(made, "thank yo", "u") == (*asked, *made("u", add_special_tokens=False).input_ids)
