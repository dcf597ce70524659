"""How many sequences fit into the memory that there is."""

import pytest
import torch
from runtime.architectures import tiny_model

from ppm.runtime.dtypes import OVERHEAD
from ppm.runtime.work import Work, bytes_of, one_row_only, work_of

GIVEN = Work(limit=1_000_000, kept=100, active=10, logits=1000)


def test_batches_take_all_sequences_and_no_more_than_fit():
    widths = [10] * 50 + [500] * 30 + [5000] * 3
    sizes = GIVEN.batches(widths, most=40)
    assert sum(sizes) == len(widths)
    assert max(sizes) == 40
    start = 0
    for size in sizes:
        rows = widths[start : start + size]
        assert size == 1 or size * (max(rows) * 125 + 1000) <= GIVEN.limit
        start += size
    assert len(sizes) < 12


def test_a_sequence_that_does_not_fit_goes_alone():
    assert Work(0, 100, 10, 1000).batches([5, 5, 5], most=9) == [1, 1, 1]


def test_less_memory_takes_prompts_in_shorter_pieces():
    columns = [Work(limit, 100, 1000, 1000).columns(8, 200) for limit in (10**5, 2 * 10**6, 10**8)]
    assert columns == sorted(columns)
    assert columns[0] == 64
    assert columns[-1] == 1024


def test_the_memory_that_is_named_holds_the_model_too():
    model = tiny_model("llama")
    own = sum(p.numel() * 4 for p in model.parameters())
    assert bytes_of(model) == own
    assert work_of(model, OVERHEAD + own + 12345).limit == 12345
    assert work_of(model, 1000).limit == 0
    assert work_of(model).limit > 0


@pytest.mark.parametrize("name", ["llama", "gpt2", "opt", "gemma3", "neox"])
def test_keys_and_values_are_counted_as_they_are(name):
    model = tiny_model(name)
    with torch.no_grad():
        cache = model(input_ids=torch.tensor([[3, 4, 5, 6]]), use_cache=True).past_key_values
    kept = sum(layer.keys.numel() + layer.values.numel() for layer in cache.layers) * 4
    assert work_of(model).kept * 4 == kept


def test_dynamic_int8_is_known():
    model = tiny_model("llama")
    assert not one_row_only(model)
    assert one_row_only(torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8))
