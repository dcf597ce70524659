"""An exported bank gives the same answers where it is read."""

import pytest
import torch
from runtime.architectures import prepended, random_prefixes, random_sequences, tiny_model

from ppm.bank import EMPTY, Bank
from ppm.errors import IntegrityError, ModelError, RequestError
from ppm.runtime.export.embeddings import read_embeddings
from ppm.runtime.export.registry import TARGETS, find_target
from ppm.runtime.model import attach
from ppm.runtime.tensors import bank_of


@pytest.mark.parametrize("placement", ["before-bos", "after-bos"])
def test_embeddings_answer_as_the_patched_model(tmp_path, placement):
    model = tiny_model()
    blocks = tuple(block for prefix in random_prefixes(model, 4, 3) for block in bank_of(prefix).blocks)
    bank = Bank(blocks)
    [path] = find_target("embeddings").write(bank, placement, tmp_path / "out")
    prefix, where = read_embeddings(path)
    assert (prefix.shape, prefix.dtype, where) == ((7, 32), torch.float32, placement)
    sequence = random_sequences(6)[0]
    with torch.no_grad():
        patched = attach(model, [bank], placement=placement)(input_ids=torch.tensor([sequence])).logits[0, -1]
        elsewhere = model(inputs_embeds=prepended(model, sequence, prefix, where)).logits[0, -1]
    torch.testing.assert_close(patched, elsewhere, atol=2e-5, rtol=1e-4)


def test_no_patch_and_banks_of_another_arrangement_are_refused(tmp_path):
    bank = bank_of(random_prefixes(tiny_model(), 4)[0])
    for other, words in (
        (EMPTY, "no patch"),
        (Bank(2 * bank.blocks, "isolated"), "stand side by side, but embeddings"),
    ):
        with pytest.raises(ModelError, match=words):
            find_target("embeddings").write(other, "before-bos", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_none_is_refused(tmp_path):
    path = tmp_path / "prefix.safetensors"
    for data in (b"", b"nonsense", bank_of(torch.ones(2, 3)).to_bytes()):
        path.write_bytes(data)
        with pytest.raises(IntegrityError):
            read_embeddings(path)
    with pytest.raises(IntegrityError):
        read_embeddings(tmp_path / "none")


def test_a_target_that_there_is_not_names_the_nearest():
    with pytest.raises(RequestError) as caught:
        find_target("embedings")
    assert "embeddings" in caught.value.hint
    assert all("\n" not in target.summary for target in TARGETS.values())
