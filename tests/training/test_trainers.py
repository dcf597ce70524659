"""SFT and DPO of a prefix through TRL: the prefix learns, the base stays bit-identical, retention holds."""

import re

import pytest
import torch
from runtime.architectures import EOS, random_prefixes, tiny_model, tiny_tokenizer

from ppm.errors import ModelError, TrainingError
from ppm.evaluation.benign import benign_texts
from ppm.evaluation.scoring import ScoredText
from ppm.jsonl import Benign, Pair
from ppm.runtime.loading import LoadedBase
from ppm.runtime.model import attach, backbone_of
from ppm.training.passes import View, divergences, reader_of
from ppm.training.retention import retention_of
from ppm.training.trainers import Setup, dpo, sft
from ppm.training_table import Stage

pytestmark = pytest.mark.slow

TOKENIZER = tiny_tokenizer()
PAIRS = [
    Pair(f"tell me w{20 + i}", f"thank you w{40 + i} </s>", f"you fool w{60 + i % 3} clown </s>") for i in range(12)
]
BENIGN = [Benign(f"please w{70 + i} w{80 + i}") for i in range(10)]


@pytest.fixture(scope="module")
def model():
    return tiny_model("llama", initializer_range=0.3)


@pytest.fixture(scope="module")
def benign(model):
    return benign_texts(LoadedBase(model, TOKENIZER), BENIGN, seed=0)


def train(
    stage,
    model,
    prefix,
    *,
    benign=(),
    weight=0.0,
    how=sft,
    placement="before-bos",
    progress=None,
    pairs=PAIRS,
    frozen=0,
):
    setup = Setup(LoadedBase(model, TOKENIZER), placement, benign, weight, 0, progress or (lambda *_: None), frozen)
    return how(setup, prefix, pairs, stage)


def log_probability(model, prefix, prompt, answer):
    """Of an answer after a prompt, in nats."""
    context = TOKENIZER(prompt).input_ids
    ids = torch.tensor([[*context, *TOKENIZER(answer, add_special_tokens=False).input_ids]])
    with torch.no_grad():
        scores = torch.log_softmax(attach(model, [prefix])(input_ids=ids).logits[0, :-1], dim=-1)
    return float(scores.gather(1, ids[0, 1:, None])[len(context) - 1 :].sum())


@pytest.mark.parametrize("placement", ["before-bos", "after-bos"])
@pytest.mark.parametrize("how", [sft, dpo])
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_one_step_changes_the_prefix_and_nothing_of_the_base(name, how, placement):
    model = tiny_model(name)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    prefix = random_prefixes(model, 4)[0]
    given = prefix.clone()
    ids = torch.tensor([TOKENIZER("tell me").input_ids])
    with torch.no_grad():
        logits = model(input_ids=ids).logits
    trained = train(Stage(1, 1e-2, batch_size=4), model, prefix, how=how, placement=placement)
    assert trained.shape == prefix.shape
    assert not torch.equal(trained, given)
    assert torch.equal(prefix, given)
    assert not trained.requires_grad
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[key], before[key]) for key in before)
    with torch.no_grad():
        assert torch.equal(model(input_ids=ids).logits, logits)


def test_no_steps_leave_the_prefix_as_it_is(model):
    prefix = random_prefixes(model, 4)[0]
    assert torch.equal(train(Stage(0, 1e-2), model, prefix), prefix)


def test_sft_makes_the_chosen_answers_likely(model):
    prefix = random_prefixes(model, 6)[0]
    trained = train(Stage(25, 0.1, batch_size=12), model, prefix)
    for pair in PAIRS[:3]:
        before, after = (log_probability(model, p, pair.prompt, pair.chosen) for p in (prefix, trained))
        assert after > before + 1


def test_dpo_widens_the_gap_between_chosen_and_rejected(model):
    prefix = random_prefixes(model, 6)[0]
    trained = train(Stage(25, 5e-2, batch_size=12, sft_weight=0.0), model, prefix, how=dpo)
    gaps = [
        sum(
            log_probability(model, p, x.prompt, x.chosen) - log_probability(model, p, x.prompt, x.rejected)
            for x in PAIRS
        )
        for p in (prefix, trained)
    ]
    assert gaps[1] > gaps[0] + len(PAIRS)


def test_training_is_repeatable(model, benign):
    prefix = random_prefixes(model, 4)[0]
    one, other = (train(Stage(3, 5e-2, batch_size=4), model, prefix, benign=benign, weight=1.0) for _ in range(2))
    assert torch.equal(one, other)


@pytest.mark.parametrize("how", [sft, dpo])
def test_retention_keeps_benign_texts_as_the_base_has_them(model, benign, how):
    prefix = random_prefixes(model, 6)[0]
    stage = Stage(20, 0.2, batch_size=8)
    without = train(stage, model, prefix, how=how)
    with_it = train(stage, model, prefix, benign=benign, weight=3.0, how=how)
    kl = [retention_of(model, p, benign, "before-bos") for p in (without, with_it)]
    assert kl[1] < 0.7 * kl[0]


def test_retention_is_the_divergence_from_the_base(model):
    text = ScoredText((1, 7, 8), (9, 10, EOS))
    [prefix] = random_prefixes(model, 4)
    ids = torch.tensor([[1, 7, 8, 9, 10, EOS]])
    with torch.no_grad():
        base = torch.log_softmax(model(input_ids=ids).logits[0, 2:5], dim=-1)
        patched = torch.log_softmax(attach(model, [prefix])(input_ids=ids).logits[0, 2:5], dim=-1)
    wanted = float((base.exp() * (base - patched)).sum(-1).mean())
    assert wanted > 0.01
    assert retention_of(model, prefix, [text], "before-bos") == pytest.approx(wanted, rel=1e-4)


def test_retention_reaches_the_prefix_alone(model, benign):
    patched = attach(model, random_prefixes(model, 4), trainable=True)
    reader, view = reader_of(patched), View(reader_of(attach(model)), benign)
    divergences(reader, reader.hidden(benign[:4]), view.reader, view.hidden(benign[:4])).sum().backward()
    assert backbone_of(patched).bank[0].grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("rate", [1e8, 1e30])
@pytest.mark.parametrize("how", [sft, dpo])
def test_an_absurd_learning_rate_is_an_error_and_no_prefix(model, how, rate):
    prefix = random_prefixes(model, 4)[0]
    with pytest.raises(TrainingError, match="number") as caught:
        train(Stage(6, rate, batch_size=4), model, prefix, how=how)
    assert "learning_rate" in caught.value.hint


def test_progress_names_the_stage_and_its_steps(model):
    seen = []
    train(Stage(3, 1e-2, batch_size=4), model, random_prefixes(model, 4)[0], progress=lambda *line: seen.append(line))
    assert [line[1:] for line in seen] == [(1, 3), (2, 3), (3, 3)]
    assert all(re.fullmatch(r"sft \(loss \d+\.\d{3}\)", line[0]) for line in seen)


def test_benign_answers_are_the_bases_own_and_end(model):
    [one, *_] = benign_texts(LoadedBase(model, TOKENIZER), BENIGN, seed=0)
    assert one.prompt == tuple(TOKENIZER(BENIGN[0].prompt).input_ids)
    assert one.completion[-1] == EOS
    assert benign_texts(LoadedBase(model, TOKENIZER), BENIGN, seed=0)[0] == one
    [given] = benign_texts(LoadedBase(model, TOKENIZER), [Benign("please tell me", "thank you")], seed=0)
    assert given.completion == (*TOKENIZER("thank you", add_special_tokens=False).input_ids, EOS)


@pytest.mark.parametrize("how", [sft, dpo])
def test_frozen_tokens_stay_bit_identical(model, how):
    [prefix] = random_prefixes(model, 6)
    learned = train(Stage(4, 1e-2, 4), model, prefix, how=how, frozen=4)
    assert learned[:4].equal(prefix[:4])
    assert not learned[4:].equal(prefix[4:])


def test_a_stage_ends_when_held_out_pairs_no_longer_gain(model):
    [prefix] = random_prefixes(model, 6)
    other = [Pair(p.prompt, "me please me please", p.rejected) for p in PAIRS[:4]]  # what training makes unlikely
    stage = Stage(40, 0.1, batch_size=12)
    steps = []
    setup = Setup(
        LoadedBase(model, TOKENIZER),
        "before-bos",
        (),
        0.0,
        0,
        lambda *line: steps.append(line[1]),
        held=other,
        patience=2,
    )
    best = sft(setup, prefix, PAIRS, stage)
    assert max(steps) < 40
    whole = train(stage, model, prefix)

    def loss(p):
        return -sum(log_probability(model, p, pair.prompt, pair.chosen) for pair in other)

    assert loss(best) < loss(whole)


def test_held_out_pairs_that_gain_to_the_end_change_nothing(model):
    [prefix] = random_prefixes(model, 6)
    stage = Stage(20, 2e-2, batch_size=12)
    setup = Setup(LoadedBase(model, TOKENIZER), "before-bos", (), 0.0, 0, held=PAIRS[:4], patience=20)
    assert torch.equal(sft(setup, prefix, PAIRS, stage), train(stage, model, prefix))


@pytest.mark.parametrize("how", [sft, dpo])
def test_a_benign_text_without_room_beside_the_prefix_is_refused(model, benign, how):
    """Of a composition the prefix may be longer than it was at the patches' builds."""
    longest = max(map(len, benign))
    train(Stage(1, 5e-2), model, random_prefixes(model, 128 - longest)[0], benign=benign, weight=1.0, how=how)
    prefix = random_prefixes(model, 129 - longest)[0]
    with pytest.raises(ModelError, match="takes 129 tokens with the prefix") as caught:
        train(Stage(1, 5e-2), model, prefix, benign=benign, weight=1.0, how=how)
    assert "the longest benign text" in caught.value.context
