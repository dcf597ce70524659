"""The settings that a patch was trained with, for training it again: on another base, with the data of its package."""

from dataclasses import replace

from ppm.training_table import Stage, StageTable, Training

__all__ = ["trained_again"]


def trained_again(
    training: Training, pairs: str, benign: str | None, *, rates: float | None, answers: bool
) -> Training:
    """The settings with other pairs and benign prompts, and without the data that a package doesn't hold.

    Learning rates that were stated are multiplied by `rates`, or left to the base where that is None. `answers` says
    whether the base can have a patch that answers alone see.
    """
    return replace(
        training,
        pairs=pairs,
        prompts=None,
        teacher=None,
        benign=benign,
        ranking=None,
        datasets={},
        sft=_for_base(training.sft, rates),
        dpo=_for_base(training.dpo, rates),
        held_out=training.held_out or None,  # there are no other pairs to rank by
        examples=None,
        seen_by=training.seen_by if answers else None,
    )


def _for_base(stage: StageTable, rates: float | None) -> StageTable:
    if stage.learning_rate is None:
        return stage
    if rates is not None:
        return replace(stage, learning_rate=float(f"{stage.learning_rate * rates:.2g}"))
    return replace(stage, learning_rate=None, batch_size=stage.settled(Stage(steps=1, learning_rate=1.0)).batch_size)
