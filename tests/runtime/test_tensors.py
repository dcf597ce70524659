"""Prefixes to and from bytes, their width, and their initialisation from a text."""

import pytest
import torch
from packages import make_package
from runtime.architectures import VOCABULARY, random_prefixes, tiny_model, tiny_tokenizer

from ppm.errors import ModelError, TrainingError
from ppm.manifest import PrefixShape
from ppm.runtime.loading import LoadedBase
from ppm.runtime.tensors import bank_of, initial_prefix, of_package, prefix_of


def test_a_prefix_comes_back_bit_for_bit():
    prefix = random_prefixes(tiny_model(), 5)[0]
    data = bank_of(prefix)
    assert torch.equal(prefix_of(data), prefix)
    assert bank_of(prefix.clone()) == data


def test_a_prefix_is_stored_in_float32_whatever_it_was_trained_in():
    prefix = torch.nn.Parameter(random_prefixes(tiny_model(), 5)[0].to(torch.bfloat16)).T.contiguous().T
    stored = prefix_of(bank_of(prefix))
    assert stored.dtype == torch.float32
    assert torch.equal(stored, prefix.detach().float())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_no_numbers_are_refused(value):
    prefix = torch.zeros(3, 4)
    prefix[1, 2] = value
    with pytest.raises(TrainingError, match="not finite") as caught:
        bank_of(prefix)
    assert "learning rate" in caught.value.hint


def test_a_prefix_as_wide_as_the_embeddings_is_taken():
    model = tiny_model("opt")  # its embeddings are 16 wide, its hidden states 32
    package = make_package()
    with pytest.raises(ModelError, match=r"4 wide, .* 16 wide") as caught:
        of_package(package, model)
    assert caught.value.context == package.manifest.pin
    narrow = tiny_model("llama", hidden_size=4, num_attention_heads=2, num_key_value_heads=2)
    assert torch.equal(of_package(package, narrow), torch.full((2, 4), 0.5))


def test_a_short_text_is_repeated_and_a_long_one_cut():
    model, tokenizer = tiny_model(), tiny_tokenizer()
    ids = tokenizer("thank you please", add_special_tokens=False).input_ids
    assert len(set(ids)) == 3
    table = model.get_input_embeddings().weight
    repeated = initial_prefix(LoadedBase(model, tokenizer), PrefixShape(7, "thank you please"))
    assert torch.equal(repeated, table[[*ids, *ids, ids[0]]])
    assert torch.equal(initial_prefix(LoadedBase(model, tokenizer), PrefixShape(2, "thank you please")), table[ids[:2]])
    assert not repeated.requires_grad
    repeated.zero_()
    assert not torch.equal(table[ids], torch.zeros_like(table[ids]))


def test_without_a_text_vocabulary_entries_are_drawn_by_the_seed():
    model, tokenizer = tiny_model(), tiny_tokenizer()
    table = model.get_input_embeddings().weight.detach()
    drawn = initial_prefix(LoadedBase(model, tokenizer), PrefixShape(6), seed=4)
    assert all(any(torch.equal(row, table[index]) for index in range(VOCABULARY)) for row in drawn)
    assert torch.equal(drawn, initial_prefix(LoadedBase(model, tokenizer), PrefixShape(6), seed=4))
    assert not torch.equal(drawn, initial_prefix(LoadedBase(model, tokenizer), PrefixShape(6), seed=5))


def test_a_random_start_is_drawn_by_the_seed_between_a_half_and_minus_a_half():
    model, tokenizer = tiny_model(), tiny_tokenizer()
    drawn = initial_prefix(LoadedBase(model, tokenizer), PrefixShape(200, init="random"), seed=4)
    assert drawn.shape == (200, model.config.hidden_size)
    assert -0.5 <= float(drawn.min()) < -0.45
    assert 0.45 < float(drawn.max()) <= 0.5
    assert torch.equal(drawn, initial_prefix(LoadedBase(model, tokenizer), PrefixShape(200, init="random"), seed=4))


def test_a_text_of_no_token_is_refused():
    with pytest.raises(ModelError, match="has no tokens"):
        initial_prefix(LoadedBase(tiny_model(), tiny_tokenizer()), PrefixShape(2, "  "))
