"""Answers to prompts as they come: through the base's template, from standard input, empty, or too long."""

import subprocess

import pytest
import tiny
import torch
from commands import command, ppm
from transformers import AutoModelForCausalLM

from ppm.serving.generate import answer_prompts
from ppm.suite import Decoding
from ppm.workspace import Workspace

TEMPLATE = "{% for m in messages %}say {{ m['content'] }} {% endfor %}{% if add_generation_prompt %}nice :{% endif %}"


@pytest.fixture
def base(tmp_path):
    """A model of random weights with a chat template, and its tokenizer."""
    torch.manual_seed(0)
    tokenizer = tiny.make_tokenizer()
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(tmp_path / "base")
    model = AutoModelForCausalLM.from_config(tiny.config())
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(20)
    model.save_pretrained(tmp_path / "base")
    return tmp_path / "base", model.eval(), tokenizer


def greedy(base, ids):
    """What transformers itself goes on with."""
    _, model, tokenizer = base
    made = model.generate(torch.tensor([ids]), max_new_tokens=6, do_sample=False, pad_token_id=0)
    return tokenizer.decode(made[0, len(ids) :], skip_special_tokens=True).strip()


def asked(base, *arguments):
    options = ("--base", base[0], "--unpatched", "--temperature", "0", "--max-new-tokens", "6")
    return ppm("generate", *arguments, *options)


def test_a_base_with_a_chat_template_is_asked_through_it(base):
    tokenizer = base[2]
    rendered = tokenizer.apply_chat_template([{"role": "user", "content": "w1 w2"}], add_generation_prompt=True)
    in_chat, bare = greedy(base, rendered["input_ids"]), greedy(base, tokenizer("w1 w2").input_ids)
    assert in_chat != bare
    assert asked(base, "w1 w2").out == asked(base, "w1 w2", "--chat").out == f"{in_chat}\n"
    assert asked(base, "w1 w2", "--raw").out == asked(base, "w1 w2", "--no-chat").out == f"{bare}\n"


def test_a_base_without_one_is_asked_plainly(base):
    (base[0] / "chat_template.jinja").unlink()
    assert asked(base, "w1 w2").out == f"{greedy(base, base[2]('w1 w2').input_ids)}\n"
    refused = asked(base, "w1 w2", "--chat")
    assert (refused.code, "has no chat template" in refused.err) == (1, True)


def test_it_says_how_far_it_is(base, ppm_home):
    seen = []
    answers = answer_prompts(
        Workspace(ppm_home, ppm_home, progress=lambda *step: seen.append(step)),
        ["w1 w2", "w3"],
        base=str(base[0]),
        env=None,
        sides=["unpatched"],
        chat=None,
        decoding=Decoding(max_new_tokens=3),
    )
    assert len(answers["unpatched"]) == 2
    assert seen[:2] == [("loading the model", 0, 1), ("loading the model", 1, 1)]
    assert seen[-1] == ("completions", 2, 2)


def from_input(data, base):
    line = command("generate", "-", "--base", base[0], "--unpatched", "--raw", "--temperature", "0")
    return subprocess.run(line, input=data, capture_output=True)


def test_standard_input_is_text_or_one_message(base):
    plain = from_input(b"w1 w2\n", base)
    assert plain.returncode == 0
    assert plain.stdout == from_input(b"\xef\xbb\xbfw1 w2", base).stdout
    refused = from_input(b"w1 \xff\x00\x1b[2J", base)
    assert refused.returncode == 1
    assert refused.stderr.decode() == (
        "error: standard input: is not UTF-8 text: byte 4 is 0xff\nhint: convert it to UTF-8 first\n"
    )


@pytest.mark.parametrize("prompt", ["", " \n"])
def test_an_empty_prompt_is_one_message(base, prompt):
    refused = asked(base, prompt)
    assert (refused.code, len(refused.err.splitlines())) == (1, 2)
    assert "the prompt is empty" in refused.err
    assert from_input(prompt.encode(), base).returncode == 1


def test_a_prompt_longer_than_the_context_is_one_message(base):
    refused = asked(base, " ".join(["w1"] * 100))
    assert (refused.code, len(refused.err.splitlines())) == (1, 2)
    assert "the base model's context has room for 64" in refused.err


def test_that_a_prefix_is_exact_on_the_model_is_kept_and_can_be_pruned(base, ppm_home):
    assert asked(base, "w1 w2").code == 0
    assert len(list((ppm_home / "cache" / "self-test").iterdir())) == 1
    assert {row["name"]: row["files"] for row in ppm("cache", "info", "--json").json}["self-test"] == 1
    assert ppm("cache", "prune", "self-test").code == 0
    assert not list((ppm_home / "cache").rglob("*.json"))
