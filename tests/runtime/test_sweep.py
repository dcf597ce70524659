"""A share of `benchmarks/architectures.py`, and the table that it wrote."""

from pathlib import Path

import pytest

from benchmarks.architectures import look

PAGE = Path(__file__).parents[2] / "docs" / "architectures.md"
EXPECTED = {
    "bloom": "exact",
    "deepseek_v3": "exact",
    "gemma3": "exact",
    "gpt_oss": "exact",
    "mixtral": "exact",
    "llama4_text": "refused",
    "mamba": "refused",
    "mpt": "refused",
    "qwen3_next": "refused",
    "roberta": "refused",
}


def table():
    lines = [line.split("|") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    return {cells[1].strip(): (cells[3].strip(), cells[4].strip()) for cells in lines[1:]}


@pytest.mark.parametrize("kind", EXPECTED)
def test_an_architecture_is_exact_or_refused_as_the_table_says(kind):
    found = look(kind, debug=True)
    assert (found.outcome, found.reason) == table()[kind]
    assert found.outcome == EXPECTED[kind]


def test_the_table_covers_what_transformers_lists():
    outcomes = [outcome for outcome, _ in table().values()]
    assert len(outcomes) >= 60
    assert set(outcomes) == {"exact", "refused"}
