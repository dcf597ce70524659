"""Isolated blocks: no block sees another, each stands where it does alone, and the text sees all of them."""

import pytest
import torch
from runtime.architectures import padded, random_sequences, tiny_model, tiny_tokenizer
from transformers import AutoModelForCausalLM, BloomConfig, FalconConfig

from ppm.bank import Bank
from ppm.errors import IntegrityError, ModelError
from ppm.runtime.model import UNPATCHED, attach, backbone_of
from ppm.runtime.saved import load_patched, save_patched
from ppm.runtime.tensors import bank_of

NAMES = ("llama", "gpt2", "gemma3", "qwen3", "opt", "neox")
SEQUENCES = random_sequences(9, 4, 7)
TOLERANCE = {"atol": 2e-5, "rtol": 1e-4}
SETTINGS = {"max_new_tokens": 5, "eos_token_id": None, "pad_token_id": 0, "do_sample": False}


def block(model, tokens):
    width = model.get_input_embeddings().embedding_dim
    return torch.randn(tokens, width, generator=torch.Generator().manual_seed(tokens))


def isolated(*blocks):
    return Bank(tuple(one for b in blocks for one in bank_of(b).blocks), "isolated")


def block_diagonal(model, blocks, sequence):
    """What the model says after each token of a text behind blocks, in one pass with a mask that keeps them apart."""
    end = max(map(len, blocks))
    positions = [torch.arange(end - len(b), end) for b in blocks] + [torch.arange(end, end + len(sequence))]
    owner = torch.cat([torch.full((len(p),), i) for i, p in enumerate(positions)])
    embeds = torch.cat([*blocks, model.get_input_embeddings()(torch.tensor(sequence))])
    columns = torch.arange(len(owner))
    seen = (columns <= columns[:, None]) & ((owner == owner[:, None]) | (owner == len(blocks))[:, None])
    config, place = model.config.get_text_config(), torch.cat(positions)
    near = seen & (place[:, None] - place < (getattr(config, "sliding_window", None) or len(owner)))
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    masks = {kind: additive(near if kind == "sliding_attention" else seen) for kind in kinds}
    with torch.no_grad():
        output = model(
            inputs_embeds=embeds[None],
            attention_mask=masks if len(masks) > 1 else next(iter(masks.values())),
            position_ids=place[None],
        )
    return output.logits[0, -len(sequence) :]


def additive(seen):
    return torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)[None, None]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sizes", [(4, 4), (5, 3, 2)])
def test_isolated_blocks_are_one_pass_with_a_block_diagonal_mask(name, sizes):
    model = tiny_model(name)
    blocks = [block(model, size) for size in sizes]
    patched = attach(model, [isolated(*blocks), bank_of(blocks[0])])
    wanted = [block_diagonal(model, blocks, sequence) for sequence in SEQUENCES]
    with torch.no_grad():
        for sequence, logits in zip(SEQUENCES, wanted, strict=True):
            torch.testing.assert_close(patched(torch.tensor([sequence])).logits[0], logits, **TOLERANCE)
        alone = attach(model, [bank_of(blocks[0])])(torch.tensor([SEQUENCES[2]])).logits[0]
        bare = model(torch.tensor([SEQUENCES[1]])).logits[0]
        for side in ("left", "right"):
            ids, mask, slices = padded(SEQUENCES, side)
            with backbone_of(patched).select([0, UNPATCHED, 1]):
                logits = patched(input_ids=ids, attention_mask=mask).logits
            for index, expected in enumerate((wanted[0], bare, alone)):
                torch.testing.assert_close(logits[index, slices[index]], expected, **TOLERANCE)


@pytest.mark.parametrize("name", NAMES)
def test_their_order_changes_nothing(name):
    model = tiny_model(name)
    blocks = [block(model, size) for size in (5, 3, 2)]
    ids = torch.tensor([SEQUENCES[0]])
    with torch.no_grad():
        one, other = (attach(model, [isolated(*some)])(ids).logits for some in (blocks, blocks[::-1]))
        joined = attach(model, [bank_of(torch.cat(blocks))])(ids).logits
    torch.testing.assert_close(one, other, **TOLERANCE)
    assert not torch.allclose(one, joined, **TOLERANCE)


@pytest.mark.parametrize("how", [{}, {"num_beams": 3}, {"cache_implementation": "static"}])
def test_generation_goes_on_as_whole_passes_do(how):
    model = tiny_model("llama")
    blocks = [block(model, size) for size in (4, 3)]
    patched = attach(model, [isolated(*blocks)])
    ids, mask, _ = padded(SEQUENCES, "left")
    together = patched.generate(ids, attention_mask=mask, **SETTINGS, **how)
    for index, sequence in enumerate(SEQUENCES):
        alone = patched.generate(
            torch.tensor([sequence]), attention_mask=torch.ones(1, len(sequence)), **SETTINGS, **how
        )
        made = together[index, ids.shape[1] :].tolist()
        assert made == alone[0, len(sequence) :].tolist()
        if not how:
            text = [*sequence, *made]
            says = block_diagonal(model, blocks, text).argmax(-1).tolist()
            assert says[len(sequence) - 1 : -1] == made


def test_after_bos_the_token_stands_once_before_all_blocks():
    model = tiny_model("llama")
    bos, text = model.config.bos_token_id, SEQUENCES[0]
    blocks = [block(model, 4), block(model, 4) + 1]
    patched = attach(model, [isolated(*blocks)], placement="after-bos")
    lead = model.get_input_embeddings()(torch.tensor([bos]))
    # The one pass: BOS, which all see, then the blocks, which don't see each other.
    parts = [lead, *blocks, model.get_input_embeddings()(torch.tensor(text))]
    positions = torch.cat([torch.arange(1), torch.arange(1, 5), torch.arange(1, 5), torch.arange(5, 5 + len(text))])
    owner = torch.cat([torch.full((len(p),), i) for i, p in enumerate(parts)])
    columns = torch.arange(len(owner))
    sees = (owner == owner[:, None]) | (owner == 0) | (owner == 3)[:, None]
    seen = (columns <= columns[:, None]) & sees
    with torch.no_grad():
        wanted = model(
            inputs_embeds=torch.cat(parts)[None], attention_mask=additive(seen), position_ids=positions[None]
        ).logits
        found = patched(torch.tensor([[bos, *text]])).logits
    torch.testing.assert_close(found[0, 1:], wanted[0, -len(text) :], **TOLERANCE)


@pytest.mark.parametrize("kind", [BloomConfig, FalconConfig])
def test_where_distance_is_counted_in_columns_they_are_refused(kind):
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "vocab_size": 99}
    config = kind(**shape, **({"alibi": True} if kind is FalconConfig else {}), bos_token_id=1, eos_token_id=2)
    model = AutoModelForCausalLM.from_config(config).eval()
    blocks = [block(model, 4), block(model, 3)]
    attach(model, [bank_of(blocks[0])])
    with pytest.raises(ModelError, match="their order counts") as told:
        attach(model, [isolated(*blocks)])
    assert "routed" in told.value.hint


def test_memory_is_for_all_their_columns_and_room_for_the_longest():
    model = tiny_model("llama")
    backbone = backbone_of(attach(model, [isolated(block(model, 4), block(model, 3)), bank_of(block(model, 5))]))
    assert (backbone.columns, backbone.width) == (7, 5)


def test_gradients_reach_every_block():
    model = tiny_model("llama")
    patched = attach(model, [isolated(block(model, 4), block(model, 3))], trainable=True)
    patched(torch.tensor([SEQUENCES[0]]), labels=torch.tensor([SEQUENCES[0]])).loss.backward()
    assert [float(b.grad.abs().max()) > 0 for b in backbone_of(patched).bank] == [True, True]


def test_an_isolated_bank_is_saved_and_read_back(tmp_path):
    model = tiny_model("llama")
    bank = isolated(block(model, 4), block(model, 3))
    again = Bank.parse(bank.to_bytes(), "here", bank.table)
    assert (again, again.digest) == (bank, bank.digest)
    assert Bank(bank.blocks).digest != bank.digest
    with pytest.raises(ValueError, match="two blocks"):
        Bank(bank.blocks[:1], "isolated")
    with pytest.raises(IntegrityError):
        Bank.parse(bank_of(block(model, 4)).to_bytes(), "here", bank.table)
    patched = attach(model, [bank])
    save_patched(patched, tiny_tokenizer(), tmp_path)
    with torch.no_grad():
        found, wanted = (one(torch.tensor([SEQUENCES[0]])).logits for one in (load_patched(tmp_path).model, patched))
    assert torch.equal(found, wanted)
