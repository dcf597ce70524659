"""Common random numbers: a completion depends on the weights, prefix, suite, prompt and sample, and nothing else."""

import random

import numpy
import pytest
import torch
from runtime.architectures import (
    EOS,
    random_prefixes,
    random_sequences,
    reference_greedy,
    reference_logits,
    tiny_model,
    tiny_tokenizer,
)
from scipy.stats import chisquare

from ppm.errors import ModelError
from ppm.evaluation.generation import Completion, answer, generate, noise_key
from ppm.runtime.dtypes import OVERHEAD
from ppm.runtime.model import UNPATCHED, attach
from ppm.runtime.text import encode
from ppm.suite import Decoding

TOKENIZER = tiny_tokenizer()


@pytest.fixture(scope="module")
def model():
    """Random, with distributions as sharp as those of a trained model."""
    return tiny_model("llama", initializer_range=0.3)


@pytest.fixture(scope="module")
def bank(model):
    return random_prefixes(model, 5, 7)


@pytest.fixture(scope="module")
def requests():
    """Two prefixes and none, prompts of several lengths, several samples and ways of decoding."""
    ways = [Decoding(max_new_tokens=8), Decoding(max_new_tokens=5, temperature=0.7, top_p=0.8), Decoding(3, 0.0)]
    return [
        Completion(row, tuple(sequence), way, noise_key("suite", str(number), sample, way.seed))
        for number, sequence in enumerate(random_sequences(3, 9, 1, 6))
        for row in (0, 1, UNPATCHED)
        for way in ways
        for sample in range(2)
    ]


@pytest.fixture(scope="module")
def alone(model, bank, requests):
    """Each request's completion in a batch of its own."""
    return generate(attach(model, bank), TOKENIZER, requests, batch_size=1)


@pytest.mark.parametrize("batch_size", [2, 7, 1000])
def test_completions_do_not_depend_on_the_batch_size(model, bank, requests, alone, batch_size):
    assert generate(attach(model, bank), TOKENIZER, requests, batch_size=batch_size) == alone
    assert len(set(alone)) > len(alone) / 3


def test_completions_do_not_depend_on_the_order(model, bank, requests, alone):
    order = list(range(len(requests)))
    random.Random(0).shuffle(order)
    made = generate(attach(model, bank), TOKENIZER, [requests[i] for i in order], batch_size=10)
    assert made == [alone[i] for i in order]


@pytest.mark.parametrize("row", [0, 1, UNPATCHED])
def test_completions_do_not_depend_on_the_other_configurations(model, bank, requests, alone, row):
    own = attach(model, [bank[row]] if row >= 0 else bank[:1])
    chosen = [i for i, request in enumerate(requests) if request.row == row]
    moved = [Completion(min(row, 0), requests[i].ids, requests[i].decoding, requests[i].key) for i in chosen]
    assert generate(own, TOKENIZER, moved) == [alone[i] for i in chosen]


def test_completions_do_not_depend_on_the_global_generator(model, bank, requests, alone):
    torch.manual_seed(12345)
    assert generate(attach(model, bank), TOKENIZER, requests) == alone


@pytest.mark.parametrize("placement", ["before-bos", "after-bos"])
def test_temperature_0_is_greedy(model, bank, placement):
    sequences = random_sequences(4, 8)
    patched = attach(model, bank, placement=placement)
    requests = [Completion(1, tuple(s), Decoding(6, 0.0), key) for s in sequences for key in (1, 2)]
    made = generate(patched, TOKENIZER, requests)
    with torch.no_grad():
        for index, sequence in enumerate(sequences):
            expected = reference_greedy(model, sequence, bank[1], placement, 6)
            expected = expected[: expected.index(EOS)] if EOS in expected else expected
            assert list(made[2 * index]) == list(made[2 * index + 1]) == expected


@pytest.mark.parametrize(
    ("name", "placement"), [("llama", "before-bos"), ("llama", "after-bos"), ("gemma3", "before-bos")]
)
def test_prompts_in_pieces_are_answered_as_whole_ones(name, placement):
    """With next to no memory: prompts of 300 and 600 tokens and short ones, of which some pieces are padding only."""
    model = tiny_model(name, initializer_range=0.3, max_position_embeddings=1000)
    sequences = random_sequences(300, 600, 4, 9, 560)
    rows = (0, 1, UNPATCHED, 0, UNPATCHED)
    requests = [
        Completion(row, tuple(ids), Decoding(4), noise_key("s", str(i), 0, 0))
        for i, (row, ids) in enumerate(zip(rows, sequences, strict=True))
    ]
    patched = attach(model, random_prefixes(model, 5, 7), placement=placement)
    assert generate(patched, TOKENIZER, requests, memory=1) == generate(patched, TOKENIZER, requests)
    wide = generate(patched, TOKENIZER, requests, memory=OVERHEAD + 10**9)
    assert wide == generate(patched, TOKENIZER, requests, batch_size=1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_completions_in_short_dtypes_hang_on_no_other_prompt_of_the_batch(bank, requests, dtype):
    model = tiny_model("llama", initializer_range=0.3).to(dtype)
    patched = attach(model, bank)
    together = generate(patched, TOKENIZER, requests, batch_size=9)
    assert together == generate(patched, TOKENIZER, requests[::-1], batch_size=4)[::-1]
    wider = attach(model, [*bank, *random_prefixes(model, 30)])
    assert together == generate(wider, TOKENIZER, requests, batch_size=9)


def test_dynamic_int8_answers_a_prompt_alone_as_beside_others(bank, requests):
    model = tiny_model("llama", initializer_range=0.3)
    int8 = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)
    patched = attach(int8, bank)
    some = requests[::5]
    assert generate(patched, TOKENIZER, some) == [generate(patched, TOKENIZER, [one])[0] for one in some]


def test_suite_prompt_sample_and_seed_all_change_the_noise(model, bank):
    keys = [
        noise_key("suite", "1", 0, 0),
        noise_key("other", "1", 0, 0),
        noise_key("suite", "2", 0, 0),
        noise_key("suite", "1", 1, 0),
        noise_key("suite", "1", 0, 1),
    ]
    sequence = tuple(random_sequences(4)[0])
    made = generate(attach(model, bank), TOKENIZER, [Completion(0, sequence, Decoding(12), key) for key in keys])
    assert len(set(made)) == len(keys)


def drawn(model, bank, decoding, count=6000):
    """How often each token is the first of a completion, and the base's probabilities of it."""
    sequence = random_sequences(4)[0]
    keys = [noise_key("suite", "1", sample, 0) for sample in range(count)]
    requests = [Completion(0, tuple(sequence), decoding, key) for key in keys]
    made = generate(attach(model, bank), TOKENIZER, requests, batch_size=2000)
    observed = numpy.bincount([ids[0] if ids else EOS for ids in made], minlength=model.config.vocab_size)
    with torch.no_grad():
        return observed, reference_logits(model, sequence, bank[0])[-1].double()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_are_drawn_with_their_probabilities(model, bank, temperature):
    observed, logits = drawn(model, bank, Decoding(1, temperature))
    n = observed.sum()
    p = torch.softmax(logits / temperature, dim=-1).numpy()
    common = n * p >= 25
    assert common.sum() >= 3
    assert (abs(observed - n * p) <= 4 * numpy.sqrt(n * p * (1 - p)))[common].all()
    seen = [*observed[common], observed[~common].sum()]
    assert chisquare(seen, [*(n * p[common]), n * p[~common].sum()]).pvalue > 1e-3


def test_noise_is_independent_between_positions(model, bank):
    # After the same two tokens, a prefix that leads to one distribution must not repeat its first draw.
    sequence = tuple(random_sequences(4)[0])
    requests = [Completion(UNPATCHED, sequence, Decoding(2, 50.0), noise_key("s", "1", i, 0)) for i in range(2000)]
    made = [ids for ids in generate(attach(model, bank), TOKENIZER, requests, batch_size=2000) if len(ids) == 2]
    # At this temperature all 99 tokens are about equally likely, so a pair repeats its token once in 99.
    repeated = sum(first == second for first, second in made)
    assert abs(repeated - len(made) / 99) <= 4 * (len(made) / 99) ** 0.5


@pytest.mark.parametrize("top_p", [0.3, 0.6, 0.9])
def test_top_p_keeps_to_the_smallest_set_that_has_it(model, bank, top_p):
    observed, logits = drawn(model, bank, Decoding(1, 1.0, top_p), count=3000)
    p = torch.softmax(logits, dim=-1).numpy()
    order = p.argsort()[::-1]
    nucleus = order[: int((p[order].cumsum() < top_p).sum()) + 1]
    assert set(observed.nonzero()[0]) <= set(nucleus)
    n, inside = observed.sum(), p[nucleus] / p[nucleus].sum()
    assert (abs(observed[nucleus] - n * inside) <= 4 * numpy.sqrt(n * inside * (1 - inside)) + 1e-9).all()
    assert len(nucleus) < len(p)


def test_a_completion_ends_before_the_end_of_sequence(bank):
    model = tiny_model("llama", initializer_range=0.3)
    sequences = [tuple(sequence) for sequence in random_sequences(4, 8, 2)]
    requests = [
        Completion(0, sequence, Decoding(10), noise_key("s", str(i), 0, 0)) for i, sequence in enumerate(sequences)
    ]
    before = generate(attach(model, bank), TOKENIZER, requests)
    stop = before[0][4]
    model.generation_config.eos_token_id = [EOS, stop]
    after = generate(attach(model, bank), TOKENIZER, requests)
    assert after == [ids[: ids.index(stop)] if stop in ids else ids for ids in before]
    assert len(after[0]) <= 4
    assert max(map(len, after)) > len(after[0])


def test_answers_are_text_and_the_same_for_each_call(model, bank):
    patched = attach(model, bank)
    decoding = Decoding(6)
    first = answer(patched, TOKENIZER, ["tell me", "please"], decoding)
    assert first == answer(patched, TOKENIZER, ["tell me", "please"], decoding)
    assert answer(patched, TOKENIZER, ["please"], decoding) == first[1:]
    assert first != answer(patched, TOKENIZER, ["tell me", "please"], decoding, row=1)
    assert all("<s>" not in text and text == text.strip() and text for text in first)


def test_chats_are_rendered_with_the_template_and_no_second_bos():
    chat = (("user", "tell me"),)
    with pytest.raises(ModelError, match="chat template"):
        encode(TOKENIZER, chat)
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = (
        "<s>{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %} you{% endif %}"
    )
    assert encode(tokenizer, chat) == tuple(tokenizer("tell me you").input_ids)


def test_a_prompt_without_any_token_is_refused():
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = None
    with pytest.raises(ModelError, match="has no tokens"):
        encode(tokenizer, "")
    assert encode(tokenizer, "hello")
