"""Caches of a fixed size and compiled models give what the ordinary ones give."""

import pytest
import torch
from runtime.architectures import BOS, RUNS, padded, random_prefixes, random_sequences, tiny_model
from transformers import StaticCache

from ppm.errors import ModelError
from ppm.runtime.model import UNPATCHED, attach, backbone_of

SETTINGS = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None}


def patched_and_batch(name="llama", implementation="sdpa", placement="before-bos"):
    model = tiny_model(name, implementation, initializer_range=0.2)
    patched = attach(model, random_prefixes(model, 5, 7), placement=placement)
    ids, mask, _ = padded(random_sequences(9, 3, 5), "left")
    return patched, {"input_ids": ids, "attention_mask": mask}


@pytest.mark.parametrize(("name", "implementation"), RUNS)
@pytest.mark.parametrize("placement", ["before-bos", "after-bos"])
def test_a_static_cache_generates_the_same(name, implementation, placement):
    patched, batch = patched_and_batch(name, implementation, placement)
    with torch.no_grad(), backbone_of(patched).select([0, 1, UNPATCHED]):
        wanted = patched.generate(**batch, **SETTINGS)
        assert torch.equal(patched.generate(**batch, **SETTINGS, cache_implementation="static"), wanted)


def test_a_static_cache_is_enough_for_beams_and_for_a_bare_base():
    patched, batch = patched_and_batch()
    with torch.no_grad(), backbone_of(patched).select([UNPATCHED] * 3):
        wanted = patched.generate(**batch, **SETTINGS)
    bare = attach(tiny_model(initializer_range=0.2))
    assert torch.equal(bare.generate(**batch, **SETTINGS, cache_implementation="static"), wanted)
    with torch.no_grad():
        beams = patched.generate(**batch, **SETTINGS, num_beams=3)
        assert torch.equal(patched.generate(**batch, **SETTINGS, num_beams=3, cache_implementation="static"), beams)


def test_a_static_cache_of_the_callers_own():
    patched, _ = patched_and_batch()
    ids = torch.tensor(random_sequences(8, 8))
    cache = StaticCache(config=patched.config, max_cache_len=16)
    with torch.no_grad():
        whole = patched(input_ids=ids).logits
        first = patched(input_ids=ids[:, :5], past_key_values=cache)
        steps = [first.logits]
        for column in range(5, ids.shape[1]):
            one = patched(input_ids=ids[:, column : column + 1], past_key_values=first.past_key_values)
            steps.append(one.logits)
    torch.testing.assert_close(torch.cat(steps, dim=1), whole, atol=2e-4, rtol=1e-3)
    windows = attach(tiny_model("mistral"), random_prefixes(tiny_model("mistral"), 3))
    with pytest.raises(ModelError, match="sliding windows") as caught:
        windows(input_ids=ids, past_key_values=StaticCache(config=windows.config, max_cache_len=16))
    assert "cache_implementation" in caught.value.hint


def test_a_conversation_goes_on_in_its_cache():
    patched, _ = patched_and_batch()
    ids = torch.tensor(random_sequences(6))
    with torch.no_grad():
        first = patched.generate(input_ids=ids, **SETTINGS, return_dict_in_generate=True)
        more = torch.cat([first.sequences, torch.tensor([[7, 8]])], dim=1)
        again = patched.generate(input_ids=more, past_key_values=first.past_key_values, **SETTINGS)
        assert torch.equal(again, patched.generate(input_ids=more, **SETTINGS))


@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_a_compiled_model_says_the_same(name):
    patched, batch = patched_and_batch(name)
    torch.compiler.reset()
    compiled = torch.compile(patched, backend="eager")
    with torch.no_grad():
        wanted = patched(**batch)
        found = compiled(**batch)
        torch.testing.assert_close(found.logits, wanted.logits, atol=1e-4, rtol=1e-3)
        token = torch.tensor([[BOS + 5]] * 3)
        mask = torch.cat([batch["attention_mask"], torch.ones_like(token)], dim=1)
        after, wanted_after = (
            run(input_ids=token, attention_mask=mask, past_key_values=output.past_key_values).logits
            for run, output in ((compiled, found), (patched, wanted))
        )
    torch.testing.assert_close(after, wanted_after, atol=1e-4, rtol=1e-3)


def test_a_compiled_model_generates_the_same_in_a_static_cache():
    patched, batch = patched_and_batch()
    torch.compiler.reset()
    with torch.no_grad():
        wanted = patched.generate(**batch, **SETTINGS)
        patched.forward = torch.compile(patched.forward, backend="eager")
        assert torch.equal(patched.generate(**batch, **SETTINGS, cache_implementation="static"), wanted)


def test_a_mask_of_four_dimensions_is_refused():
    patched, _ = patched_and_batch()
    ids = torch.tensor(random_sequences(4))
    with pytest.raises(ModelError, match="four dimensions"):
        patched(input_ids=ids, attention_mask=torch.ones(1, 1, 5, 5, dtype=torch.bool))
