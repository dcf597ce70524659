"""The patched model equals prepended embeddings, on every architecture, and leaves the base as it is."""

import warnings
from types import MethodType

import pytest
import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from runtime.architectures import (
    ARCHITECTURES,
    BOS,
    RUNS,
    WINDOW,
    padded,
    prepended,
    random_prefixes,
    random_sequences,
    reference_greedy,
    reference_logits,
    tiny_model,
)
from transformers import DynamicCache

from ppm.errors import ModelError
from ppm.runtime.model import UNPATCHED, attach, backbone_of
from ppm.runtime.shell import head_of, stack_of, unpatched

PLACEMENTS = ("before-bos", "after-bos")
TOLERANCE = {"atol": 2e-5, "rtol": 1e-4}


def snapshot(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_same_weights(model, before):
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize(("name", "implementation"), RUNS)
def test_logits_equal_prepended_embeddings(name, implementation, placement):
    model = tiny_model(name, implementation)
    bank = random_prefixes(model, 5, 7)
    patched = attach(model, bank, placement=placement)
    sequences = random_sequences(9, 4, 12, 1, 0)  # the last is a BOS alone
    rows = [0, 1, UNPATCHED, 1, 0]
    prefixes = [None if row == UNPATCHED else bank[row] for row in rows]
    with torch.no_grad():
        expected = [reference_logits(model, s, p, placement) for s, p in zip(sequences, prefixes, strict=True)]
        # The prefixes matter, so that equality says something.
        assert not torch.allclose(expected[0][1:], reference_logits(model, sequences[0], None)[1:], atol=1e-2)
        for side in ("left", "right"):
            ids, mask, slices = padded(sequences, side)
            with backbone_of(patched).select(rows):
                together = patched(input_ids=ids, attention_mask=mask).logits
            assert together.shape[:2] == ids.shape
            for index, wanted in enumerate(expected):
                torch.testing.assert_close(together[index, slices[index]], wanted, **TOLERANCE)
        for sequence, row, wanted in zip(sequences, rows, expected, strict=True):
            with backbone_of(patched).select([row]):
                alone = patched(input_ids=torch.tensor([sequence])).logits[0]
            torch.testing.assert_close(alone, wanted, **TOLERANCE)


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize(("name", "implementation"), RUNS)
def test_generate_equals_prepended_embeddings(name, implementation, placement):
    model = tiny_model(name, implementation)
    bank = random_prefixes(model, 5, 7)
    patched = attach(model, bank, placement=placement)
    sequences = random_sequences(7, 3, 5, 0)
    rows = [0, 1, UNPATCHED, 0]
    ids, mask, _ = padded(sequences, "left")
    settings = {"max_new_tokens": 5, "do_sample": False, "eos_token_id": None}
    with torch.no_grad():
        with backbone_of(patched).select(rows):
            made = patched.generate(input_ids=ids, attention_mask=mask, **settings)
        with backbone_of(patched).select(rows[1:2]):
            alone = patched.generate(input_ids=torch.tensor(sequences[1:2]), **settings)
        expected = [
            reference_greedy(model, sequence, None if row == UNPATCHED else bank[row], placement, 5)
            for sequence, row in zip(sequences, rows, strict=True)
        ]
    assert made[:, ids.shape[1] :].tolist() == expected
    assert alone[0, len(sequences[1]) :].tolist() == expected[1]


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize(("name", "implementation"), RUNS)
def test_gradient_equals_prepended_embeddings(name, implementation, placement):
    model = tiny_model(name, implementation)
    before = snapshot(model)
    bank = random_prefixes(model, 5, 7)
    patched = attach(model, bank, placement=placement, trainable=True)
    sequences = random_sequences(9, 4, 6)
    rows = [0, 1, 0]
    weights = torch.randn(model.config.vocab_size, generator=torch.Generator().manual_seed(3))
    ids, mask, slices = padded(sequences, "right")
    with backbone_of(patched).select(rows):
        logits = patched(input_ids=ids, attention_mask=mask).logits
    sum((logits[i, s] * weights).sum() for i, s in enumerate(slices)).backward()
    leaves = [prefix.clone().requires_grad_() for prefix in bank]
    losses = [
        (reference_logits(model, sequence, leaves[row], placement) * weights).sum()
        for sequence, row in zip(sequences, rows, strict=True)
    ]
    sum(losses).backward()
    for learned, leaf in zip(backbone_of(patched).bank, leaves, strict=True):
        assert leaf.grad.abs().max() > 1e-3
        torch.testing.assert_close(learned.grad, leaf.grad, atol=1e-3 * float(leaf.grad.abs().max()), rtol=1e-3)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert_same_weights(model, before)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_only_a_trainable_prefix_takes_gradients(name):
    model = tiny_model(name, "eager")
    patched = attach(model, random_prefixes(model, 3, 4), trainable=True)
    trainable = [parameter for parameter in patched.parameters() if parameter.requires_grad]
    assert [id(p) for p in trainable] == [id(p) for p in backbone_of(patched).bank]
    assert patched.get_input_embeddings().weight is model.get_input_embeddings().weight
    frozen = attach(model, random_prefixes(model, 3))
    assert not any(parameter.requires_grad for parameter in backbone_of(frozen).bank)


def test_the_base_still_answers_without_the_prefix():
    model = tiny_model("opt")
    ids = torch.tensor(random_sequences(6))
    with torch.no_grad():
        before = model(input_ids=ids).logits
        patched = attach(model, random_prefixes(model, 4))
        assert not torch.allclose(patched(input_ids=ids).logits, before)
        assert torch.equal(model(input_ids=ids).logits, before)


def test_training_mode_of_a_patched_model_leaves_the_base_in_evaluation_mode():
    model = tiny_model("gpt2")  # it has dropout
    patched = attach(model, random_prefixes(model, 4), trainable=True)
    patched.train()
    assert patched.training
    ids = torch.tensor(random_sequences(8))
    with torch.no_grad():
        assert torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)


def bound(model):
    """As TRL leaves a model that it trained: a `forward` of its own, around that of the whole model."""
    original = model.forward

    def forward(self, *args, **kwargs):
        return original(*args, **kwargs)

    model.forward = MethodType(forward, model)


def dispatched(model):
    """As transformers loads a model on several devices: each module moves what it is given to where its weights are."""
    add_hook_to_module(model, AlignDevicesHook("cpu", io_same_device=True))
    for module in list(model.modules())[1:]:
        add_hook_to_module(module, AlignDevicesHook("cpu"))


@pytest.mark.parametrize("change", [bound, dispatched])
@pytest.mark.parametrize("name", ["llama", "opt"])
def test_a_model_with_a_forward_of_its_own_takes_a_prefix(name, change):
    model, ids = tiny_model(name), torch.tensor(random_sequences(7))
    [prefix] = random_prefixes(model, 4)
    with torch.no_grad():
        wanted = [attach(model, [prefix])(input_ids=ids).logits, model(input_ids=ids).logits]
        change(model)
        patched = attach(model, [prefix])
        found = [patched(input_ids=ids).logits, model(input_ids=ids).logits]
        head = head_of(patched)(inputs_embeds=stack_of(patched)(input_ids=ids).last_hidden_state).logits
        unchanged = unpatched(patched)(input_ids=ids).logits
    torch.testing.assert_close(found, wanted, **TOLERANCE)
    assert not torch.allclose(wanted[0], wanted[1], atol=1e-2)
    torch.testing.assert_close(head, wanted[0], **TOLERANCE)
    torch.testing.assert_close(unchanged, wanted[1], **TOLERANCE)


def test_a_prefix_is_copied():
    model = tiny_model()
    prefix = random_prefixes(model, 4)[0]
    patched = attach(model, [prefix])
    ids = torch.tensor(random_sequences(6))
    with torch.no_grad():
        before = patched(input_ids=ids).logits
        prefix.zero_()
        assert torch.equal(patched(input_ids=ids).logits, before)


def test_states_are_computed_anew_when_the_prefix_changes_in_place():
    model = tiny_model()
    first, second = random_prefixes(model, 4, 4)
    patched = attach(model, [first])
    ids = torch.tensor(random_sequences(6))
    with torch.no_grad():
        before = patched(input_ids=ids).logits
        assert torch.equal(patched(input_ids=ids).logits, before)
        backbone_of(patched).bank[0].copy_(second)
        after = patched(input_ids=ids).logits
        torch.testing.assert_close(after[0], reference_logits(model, ids[0].tolist(), second), **TOLERANCE)


def test_states_are_computed_anew_when_the_base_changes_in_place():
    model = tiny_model()
    [prefix] = random_prefixes(model, 4)
    patched = attach(model, [prefix])
    ids = torch.tensor(random_sequences(6))
    with torch.no_grad():
        before = patched(input_ids=ids).logits
        for parameter in model.parameters():
            parameter.mul_(1.1)
        after = patched(input_ids=ids).logits
        assert not torch.allclose(after, before, atol=1e-2)
        torch.testing.assert_close(after[0], reference_logits(model, ids[0].tolist(), prefix), **TOLERANCE)


def test_a_trained_prefix_is_used_after_each_step_of_an_optimizer():
    model = tiny_model()
    patched = attach(model, random_prefixes(model, 4), trainable=True)
    learned = backbone_of(patched).bank[0]
    optimizer = torch.optim.AdamW([learned], lr=0.5)
    ids = torch.tensor(random_sequences(6))
    for _ in range(2):
        with torch.no_grad():
            patched(input_ids=ids)
        patched(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        with torch.no_grad():
            after = patched(input_ids=ids).logits[0]
            torch.testing.assert_close(after, reference_logits(model, ids[0].tolist(), learned.detach()), **TOLERANCE)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_beam_search_equals_prepended_embeddings(placement):
    model = tiny_model("llama", initializer_range=0.3)
    prefix = random_prefixes(model, 5)
    patched = attach(model, prefix, placement=placement)
    sequences = random_sequences(7, 3)
    ids, mask, _ = padded(sequences, "left")
    settings = {"max_new_tokens": 6, "do_sample": False, "num_beams": 3, "eos_token_id": None}
    with torch.no_grad():
        made = patched.generate(input_ids=ids, attention_mask=mask, **settings)[:, ids.shape[1] :].tolist()
        for sequence, tokens in zip(sequences, made, strict=True):
            embeds = prepended(model, sequence, prefix[0], placement)
            ones = torch.ones(embeds.shape[:2], dtype=torch.long)
            assert tokens == model.generate(inputs_embeds=embeds, attention_mask=ones, **settings)[0].tolist()
        # Else the beams would have had nothing to do.
        assert made != [reference_greedy(model, sequence, prefix[0], placement, 6) for sequence in sequences]


def test_rows_of_the_bank_are_chosen_for_every_beam():
    model = tiny_model("llama", initializer_range=0.3)
    bank = random_prefixes(model, 5, 7)
    ids = torch.tensor(random_sequences(5) * 2)
    settings = {"max_new_tokens": 6, "do_sample": False, "num_beams": 3, "eos_token_id": None}
    patched = attach(model, bank)
    with torch.no_grad():
        with backbone_of(patched).select([0, 0, 0, 1, 1, 1]):
            made = patched.generate(input_ids=ids, **settings)
        for row, prefix in enumerate(bank):
            alone = attach(model, [prefix]).generate(input_ids=ids[:1], **settings)
            assert made[row].tolist() == alone[0].tolist()
    assert made[0].tolist() != made[1].tolist()


@pytest.mark.parametrize("name", ["mistral", "gemma3"])
def test_a_prefix_that_slides_out_of_a_window_is_announced_once(name):
    model = tiny_model(name)
    patched = attach(model, random_prefixes(model, 5))
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error")
        patched(input_ids=torch.tensor(random_sequences(WINDOW - 5 - 1)))
        with pytest.warns(UserWarning, match="slide out of the window"):
            patched(input_ids=torch.tensor(random_sequences(WINDOW - 5)))
        patched(input_ids=torch.tensor(random_sequences(WINDOW)))


def test_after_bos_wants_sequences_that_begin_with_bos():
    model = tiny_model()
    patched = attach(model, random_prefixes(model, 4), placement="after-bos")
    good, bad = [BOS, 7, 8, 9], [7, 8, 9]
    for side in ("left", "right"):
        ids, mask, _ = padded([good, bad], side)
        with pytest.raises(ModelError, match="beginning-of-sequence") as caught:
            patched(input_ids=ids, attention_mask=mask)
        assert "add_special_tokens" in caught.value.hint
    ids, mask, _ = padded([good, bad], "left")
    with backbone_of(patched).select([0, UNPATCHED]):
        patched(input_ids=ids, attention_mask=mask)


def test_after_bos_wants_a_model_that_has_a_bos():
    model = tiny_model(bos_token_id=None)
    patched = attach(model, random_prefixes(model, 4), placement="after-bos")
    with pytest.raises(ModelError, match="no beginning-of-sequence token"):
        patched(input_ids=torch.tensor([[7, 8, 9]]))


def test_packed_sequences_are_refused():
    model = tiny_model()
    patched = attach(model, random_prefixes(model, 4))
    ids = torch.tensor([[BOS, 7, 8, BOS, 9]])
    with pytest.raises(ModelError, match="packed"):
        patched(input_ids=ids, position_ids=torch.tensor([[0, 1, 2, 0, 1]]))
    patched(input_ids=ids, position_ids=torch.arange(5)[None])


def test_a_cache_filled_without_the_prefix_is_refused():
    model = tiny_model()
    patched = attach(model, random_prefixes(model, 4))
    cache = DynamicCache()
    model(input_ids=torch.tensor([[BOS, 7]]), past_key_values=cache, use_cache=True)
    with pytest.raises(ModelError, match="without the prefix"):
        patched(input_ids=torch.tensor([[8]]), past_key_values=cache)
    patched(input_ids=torch.tensor([[BOS, 7]]), past_key_values=DynamicCache())


@pytest.mark.parametrize("name", ["llama", "opt"])
def test_a_second_prefix_is_refused(name):
    patched = attach(tiny_model(name), random_prefixes(tiny_model(name), 4))
    with pytest.raises(ModelError, match="already"):
        attach(patched, random_prefixes(patched, 4))


def test_rows_must_be_one_for_each_sequence():
    model = tiny_model()
    patched = attach(model, random_prefixes(model, 4))
    with backbone_of(patched).select([0, 0]), pytest.raises(ValueError, match=r"2 rows .* batch of 3"):
        patched(input_ids=torch.tensor([[BOS, 7]] * 3))


@pytest.mark.parametrize("row", [1, -2])
def test_a_row_that_the_bank_does_not_have_is_told(row):
    backbone = backbone_of(attach(tiny_model(), random_prefixes(tiny_model(), 4)))
    with pytest.raises(ValueError, match="last row is 0"), backbone.select([0, row]):
        pass
    assert backbone.rows is None


@pytest.mark.parametrize("shape", [(3, 5), (0, 32), (32,)])
def test_a_block_that_does_not_fit_the_embeddings_is_refused(shape):
    with pytest.raises(ModelError, match=r"\(virtual_tokens, 32\), not"):
        attach(tiny_model(), [torch.zeros(shape)])


def test_a_bare_model_has_no_backbone_with_a_prefix():
    with pytest.raises(TypeError, match="no prefix"):
        backbone_of(tiny_model())
