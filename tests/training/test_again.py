"""The settings of a patch that is trained again."""

import pytest

from ppm.training.again import trained_again
from ppm.training_table import StageTable, Training

TOLD = Training(
    prompts=None,
    pairs="pairs.jsonl",
    ranking="ranking.jsonl",
    examples="examples.jsonl",
    held_out=0.0,
    patience=2,
    retention_weight=1.5,
    trigger=False,
    seen_by="answers",
    seed=4,
    sft=StageTable(steps=7, learning_rate=0.02),
    dpo=StageTable(steps=0),
)


def test_what_a_publisher_stated_is_kept_and_data_that_is_not_there_is_not():
    found = trained_again(TOLD, "replay.jsonl", "retention.jsonl", rates=1.0, answers=True)
    assert (found.pairs, found.benign, found.ranking, found.examples) == ("replay.jsonl", "retention.jsonl", None, None)
    assert (found.sft, found.dpo, found.seed, found.trigger) == (TOLD.sft, TOLD.dpo, 4, False)
    assert (found.patience, found.retention_weight, found.seen_by) == (2, 1.5, "answers")
    assert found.held_out is None  # a tenth of the pairs: there is nothing else to rank by


@pytest.mark.parametrize(("rates", "rate"), [(7.0, 0.14), (0.5, 0.01), (None, None)])
def test_stated_rates_follow_the_embeddings_and_nothing_else_changes(rates, rate):
    found = trained_again(TOLD, "replay.jsonl", None, rates=rates, answers=True)
    assert found.sft.learning_rate == rate
    assert (found.sft.steps, found.dpo.learning_rate) == (7, None)
    # With a rate of its own a stage has 16 texts a batch, and still has when the rate is left to the base.
    assert found.sft.batch_size == (16 if rates is None else None)


def test_a_base_that_can_not_hide_a_patch_from_the_prompt_shows_it_to_all():
    assert trained_again(TOLD, "replay.jsonl", None, rates=1.0, answers=False).seen_by is None
