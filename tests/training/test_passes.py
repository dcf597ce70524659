"""A pass over texts that begin alike and differ in length says what one padded batch says, gradients included."""

import pytest
import torch
from datasets import Dataset
from runtime.architectures import random_prefixes, tiny_model, tiny_tokenizer
from training.test_trainers import BENIGN, PAIRS
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from ppm.evaluation.benign import benign_texts
from ppm.evaluation.scoring import ScoredText, log_probabilities
from ppm.jsonl import Pair
from ppm.runtime.loading import LoadedBase
from ppm.runtime.model import attach, backbone_of
from ppm.runtime.text import encoder_of
from ppm.training import passes
from ppm.training.losses import DPO, SFT
from ppm.training.passes import View, divergences, log_probabilities_of, parts_of, reader_of
from ppm.training.trainers import Setup, sft, sft_rows
from ppm.training_table import Stage

TEXTS = [
    ScoredText((1, 7, 8, 9), (10, 11, 2)),
    ScoredText((1, 7, 8, 9, 12, 13), (14, 15, 16, 17, 18, 2)),
    ScoredText((1, 7, 8, 9, 12), (20, 21) * 20),
    ScoredText((1, 7, 8, 9), (30, 2)),
]
TOKENS = torch.tensor([token for text in TEXTS for token in text.completion])


def said(patched, by):
    """The log-probabilities of the texts' tokens, and their gradient on the prefix."""
    block = backbone_of(patched).bank[0]
    block.grad = None
    found = by(patched)
    found.sum().backward()
    return found.detach(), block.grad.clone()


def padded(patched):
    return log_probabilities(patched, TEXTS).gather(1, TOKENS[:, None])[:, 0]


def passed(patched):
    reader = reader_of(patched)
    return log_probabilities_of(reader, reader.hidden(TEXTS), TOKENS)


@pytest.mark.parametrize("placement", ["before-bos", "after-bos"])
@pytest.mark.parametrize(
    ("name", "attention"),
    [("llama", "sdpa"), ("gpt2", "sdpa"), ("gemma2", "eager"), ("gemma3", "sdpa"), ("cohere", "sdpa"), ("opt", "sdpa")],
)
def test_a_pass_says_what_a_padded_batch_says(name, attention, placement, monkeypatch):
    monkeypatch.setattr(passes, "PART_COST", 1)  # so that even so few tokens make several parts
    model = tiny_model(name, attention)
    patched = attach(model, random_prefixes(model, 5), trainable=True, placement=placement)
    (one, first), (other, second) = (said(patched, by) for by in (padded, passed))
    assert torch.allclose(one, other, atol=1e-4)
    assert torch.allclose(first, second, rtol=1e-3, atol=1e-3 * float(first.abs().max()))


def test_more_logits_than_are_held_at_once_change_nothing(monkeypatch):
    model = tiny_model("llama")
    patched = attach(model, random_prefixes(model, 5), trainable=True)
    one, first = said(patched, passed)
    monkeypatch.setattr(passes, "LOGITS_AT_ONCE", 700)
    other, second = said(patched, passed)
    assert torch.allclose(one, other, atol=1e-5)
    assert torch.allclose(first, second, atol=1e-4)


def test_a_head_that_learns_gets_its_gradient_in_pieces_too(monkeypatch):
    model = tiny_model("llama").requires_grad_(True)

    def gradient():
        model.zero_grad()
        reader = reader_of(model)
        log_probabilities_of(reader, reader.hidden(TEXTS), TOKENS).sum().backward()
        return model.get_output_embeddings().weight.grad.clone()

    whole = gradient()
    monkeypatch.setattr(passes, "LOGITS_AT_ONCE", 700)
    assert torch.allclose(whole, gradient(), atol=1e-4)
    assert float(whole.abs().max()) > 0


def test_a_base_in_bfloat16_gives_the_float32_prefix_its_gradient():
    model = tiny_model("llama")
    patched = attach(model, random_prefixes(model, 5), trainable=True)
    _, wanted = said(patched, passed)
    model.to(torch.bfloat16)
    _, found = said(patched, passed)
    assert (found.dtype, backbone_of(patched).bank[0].dtype) == (torch.float32, torch.float32)
    assert torch.nn.functional.cosine_similarity(found.flatten(), wanted.flatten(), dim=0) > 0.99


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("heat", [1.0, 0.4])
def test_the_divergence_and_its_gradient_are_those_of_the_formula(reverse, heat):
    model = tiny_model("llama", initializer_range=0.3)
    patched = attach(model, random_prefixes(model, 5), trainable=True)
    base = torch.log_softmax(log_probabilities(model, TEXTS).detach() / heat, dim=-1)

    def formula(patched):
        own = log_probabilities(patched, TEXTS)
        pair = (base, own) if reverse else (own, base)
        return torch.nn.functional.kl_div(*pair, reduction="none", log_target=True)

    def ours(patched):
        reader, view = reader_of(patched), View(reader_of(attach(model)), TEXTS)
        hidden = reader.hidden(TEXTS)
        heats = torch.full((len(hidden),), heat)
        return divergences(reader, hidden, view.reader, view.hidden(TEXTS), reverse=reverse, temperatures=heats)

    (one, first), (other, second) = (said(patched, by) for by in (formula, ours))
    assert torch.allclose(one.sum(-1), other, atol=1e-4)
    assert torch.allclose(first, second, rtol=1e-3, atol=1e-3 * float(first.abs().max()))


def test_what_the_base_says_does_not_depend_on_the_order_it_is_asked_in():
    model = tiny_model("llama")
    texts = [ScoredText((*text.prompt, 7 + i), text.completion) for i in range(5) for text in TEXTS]
    one, other = (View(reader_of(attach(model)), texts) for _ in range(2))
    states = {text: one.hidden([text]) for text in texts}
    assert all(torch.equal(other.hidden([text]), states[text]) for text in reversed(texts))


def test_texts_that_join_later_are_said_as_they_are_alone():
    model = tiny_model("llama")
    reader = reader_of(attach(model))
    view = View(reader, TEXTS[:2])
    view.extend(TEXTS)
    assert torch.allclose(view.hidden(TEXTS), torch.cat([reader.hidden([text]) for text in TEXTS]), atol=1e-5)


@pytest.mark.parametrize(
    ("lengths", "cost", "parts"),
    [
        ([5, 5, 5], 1, [[0, 1, 2]]),
        ([50, 3, 4, 49], 10, [[1, 2], [3, 0]]),
        ([50, 3, 4, 49], 1000, [[1, 2, 3, 0]]),
        ([], 10, []),
    ],
)
def test_texts_of_similar_length_share_a_part(lengths, cost, parts):
    assert parts_of(lengths, cost) == parts


@pytest.mark.slow
@pytest.mark.parametrize("how", ["sft", "dpo"])
def test_losses_are_those_of_trl(how, tmp_path):
    model, tokenizer = tiny_model("llama", initializer_range=0.3), tiny_tokenizer()
    start, now = random_prefixes(model, 5, 5)
    settings = {"output_dir": str(tmp_path), "report_to": "none", "use_cpu": True, "bf16": False, "max_length": None}
    preferences = [
        {"prompt": pair.prompt, "chosen": f" {pair.chosen}", "rejected": f" {pair.rejected}"} for pair in PAIRS[:4]
    ]
    rows = preferences if how == "dpo" else sft_rows(encoder_of(LoadedBase(model, tokenizer)), PAIRS[:4])
    data = Dataset.from_list(rows)

    def trainer(kind, patched):
        if how == "sft":
            return kind(patched, SFTConfig(**settings), train_dataset=data, processing_class=tokenizer)
        config = DPOConfig(**settings, beta=0.3, loss_type=["sigmoid", "sft"], loss_weights=[1.0, 0.7])
        reference = attach(model, [start])
        made = DPOTrainer(patched, reference, config, train_dataset=data, processing_class=tokenizer)
        if kind is DPO:
            made.__class__, made._referred, made.reference = DPO, {}, reader_of(reference)
        return made

    found = []
    for kind in (SFTTrainer, SFT) if how == "sft" else (DPOTrainer, DPO):
        patched = attach(model, [now], trainable=True)
        reader = reader_of(patched)
        made = trainer(kind, patched)
        made.reader = reader
        inputs = next(iter(made.get_train_dataloader()))
        loss = made.compute_loss(patched.train(), dict(inputs))
        loss.backward()
        found.append((float(loss.detach()), backbone_of(patched).bank[0].grad.clone()))
    (theirs, wanted), (ours, gradient) = found
    assert ours == pytest.approx(theirs, rel=1e-4)
    assert torch.allclose(gradient, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))


@pytest.mark.slow
def test_a_long_answer_counts_for_several_short_ones_in_retention():
    model, tokenizer = tiny_model("llama", initializer_range=0.3), tiny_tokenizer()
    base = LoadedBase(model, tokenizer)
    benign = benign_texts(base, BENIGN, seed=0, longest=3, temperature=0.0, beside=4)
    assert all(len(text.completion) <= 4 for text in benign)
    [start] = random_prefixes(model, 4)
    learned = sft(Setup(base, "before-bos", benign, 1.0, 0), start, [Pair("tell me", "thank you", "x")], Stage(2, 1e-2))
    assert not torch.equal(learned, start)
