"""The stages of a build: from pairs and benign prompts to the prefixes after initialisation, SFT and DPO.

What stages are compared on is kept apart first. A finished stage, and the base's answers to benign prompts, are kept by
the digest of all that went into them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ppm.bank import Bank
from ppm.bank_table import Turn
from ppm.base import behaviour_digest
from ppm.document import to_table
from ppm.errors import TrainingError
from ppm.evaluation.benign import benign_texts
from ppm.evaluation.neutral import is_held_back
from ppm.evaluation.results import RESULTS_VERSION
from ppm.evaluation.scoring import ScoredText
from ppm.jsonl import Benign, Pair, Text, dump, normalised, place_of
from ppm.names import canonical_digest
from ppm.package import sha256
from ppm.runtime.answers import turn_for_answers
from ppm.runtime.tensors import bank_of, initial_prefix, prefix_of
from ppm.runtime.text import TEXT_VERSION, encoder_of
from ppm.training.context import BuildContext
from ppm.training.defaults import patience_of, stages_of
from ppm.training.output import versions
from ppm.training.processes import first_alone, is_first
from ppm.training.trainers import STAGES, STAGES_VERSION, Setup, dpo_rows, sft_rows
from ppm.training_table import Stage

__all__ = ["Trained", "learn", "ranking_prompts", "turn_seen"]

BENIGN_LIMIT = 400
HELD_OUT = 0.1
RANKING_PROMPTS, RANKING_BENIGN = 100, 32
CHECKED_PAIRS = 48
"""On how many held-out pairs a stage is checked that ends by itself; a manifest's own patience has them all."""
LONGEST_ANSWER = 128
"""How many tokens of the base's own answer to a benign prompt a patch is held to."""


@dataclass(frozen=True)
class Trained:
    """What the stages made: (stage, bank) in their order, with the numbers that each had.

    `ranking` are prompts, and `benign` texts, that no stage was trained on.
    """

    banks: tuple[tuple[str, Bank], ...]
    stages: dict[str, Stage]
    ranking: tuple[Text, ...]
    benign: tuple[ScoredText, ...]

    def bank(self, stage: str) -> Bank:
        """What a stage ended in."""
        return dict(self.banks)[stage]


def learn(context: BuildContext) -> Trained:
    """Train, and keep apart what the stages are compared on. Raises TrainingError."""
    source, training, manifest = context.source, context.training, context.source.manifest
    pairs, held = _pairs(context)
    kept_back = len(held)
    context.tell(
        f"Training on {len(pairs)} pairs and {len(source.benign)} benign prompts"
        + (f"; {kept_back} pairs are held out" if kept_back else "")
    )
    turn = turn_seen(context)
    prefix = initial_prefix(context.loaded, manifest.prefix, seed=training.seed)
    done = [("init", replace(bank_of(prefix), answers_to=turn))]
    trained, ranked = _benign(context)
    stages = stages_of(training, context.loaded)
    setup = Setup(
        context.loaded,
        manifest.base.placement,
        trained,
        training.retention_weight,
        training.seed,
        context.progress,
        answers_to=turn,
    )
    encoder = encoder_of(context.loaded)
    rows = [sft_rows(encoder, pairs), dpo_rows(encoder, pairs), sft_rows(encoder, held), dpo_rows(encoder, held)]
    key: dict[str, object] = {
        "base": behaviour_digest(context.base),
        "init": done[0][1].digest,
        "placement": manifest.base.placement,
        "pairs": sha256(dump(pairs)),
        "held": sha256(dump(held)),
        "rows": canonical_digest(rows),
        "benign": canonical_digest([[text.prompt, text.completion] for text in trained]),
        "seed": training.seed,
        **context.dtype,
        "retention_weight": training.retention_weight,
        "versions": [versions(), STAGES_VERSION, TEXT_VERSION, RESULTS_VERSION],
    }
    for name, stated in (("sft", training.sft), ("dpo", training.dpo)):
        patience = patience_of(training, stated) if held else 0
        checked = held if training.patience is not None else held[:CHECKED_PAIRS]
        key = {"before": canonical_digest(key), "stage": name, "settings": to_table(stages[name]), "patience": patience}
        bank = _stage(context, name, replace(setup, held=checked, patience=patience), pairs, stages[name], key, done)
        done.append((name, bank))
    return Trained(tuple(done), stages, ranking_prompts(held), tuple(ranked))


def ranking_prompts(held: Sequence[Pair]) -> tuple[Text, ...]:
    """The prompts of a risk that stages are compared on.

    Of a look-alike the right answer is an ordinary one, which the judge of a risk takes for a failure.
    """
    return tuple(pair.prompt for pair in held if "twin_of" not in pair.extra)[:RANKING_PROMPTS]


def _stage(
    context: BuildContext,
    name: str,
    setup: Setup,
    pairs: Sequence[Pair],
    stage: Stage,
    key: dict[str, object],
    done: Sequence[tuple[str, Bank]],
) -> Bank:
    """What a stage ends in, after those that are done."""
    digest = canonical_digest(key)
    with first_alone():  # so that either all processes find the stage finished, or none
        kept = context.stages.bank(digest)
    if kept is None:
        start = prefix_of(done[-1][1]).to(context.loaded.model.device)
        kept = bank_of(STAGES[name](setup, start, pairs, stage))
        if is_first():
            context.stages.keep_bank(digest, kept)
    return replace(kept, answers_to=setup.answers_to)


def turn_seen(context: BuildContext) -> Turn | None:
    """The turn after which a text sees the prefix, as [training] asks; None where all of it does.

    Raises TrainingError for a base on which answers alone can't see a prefix.
    """
    if context.training.seen_by != "answers":
        return None
    turn = turn_for_answers(context.loaded, context.source.manifest.base.placement)
    if turn is None:
        raise TrainingError(
            'seen_by = "answers" takes a base that chats, with relative positions, and a prefix before its first token',
            context=context.base.name,
            hint="leave seen_by out of [training]",
        )
    return turn


def _pairs(context: BuildContext) -> tuple[list[Pair], list[Pair]]:
    """(trained on, held out). Raises TrainingError when either is empty that may not be."""
    source, share = context.source, context.training.held_out
    if source.ranking and share is None:
        return list(source.pairs), list(source.ranking)
    pairs, held = _split(source.pairs, HELD_OUT if share is None else share)
    if not pairs or (share and not held):
        what = "to train on" if held else "to hold out"
        raise TrainingError(f"no pairs are left {what}", hint="give more pairs, or change held_out")
    return pairs, [*source.ranking, *held]


def _split(pairs: Sequence[Pair], share: float) -> tuple[list[Pair], list[Pair]]:
    """(trained on, held out), by the prompt, so that equal prompts stay together."""
    held = [place_of(f"held out: {normalised(pair.prompt)}") < share for pair in pairs]
    return (
        [pair for pair, out in zip(pairs, held, strict=True) if not out],
        [pair for pair, out in zip(pairs, held, strict=True) if out],
    )


def _benign(context: BuildContext) -> tuple[list[ScoredText], list[ScoredText]]:
    """(trained on, compared on): benign prompts with the base's whole answers, where they have none of their own."""
    rows = [row for row in context.source.benign if not is_held_back(row)]
    apart = [place_of(f"ranking: {normalised(row.prompt)}") < HELD_OUT for row in rows]
    ranked = [row for row, out in zip(rows, apart, strict=True) if out][:RANKING_BENIGN]
    trained = [row for row, out in zip(rows, apart, strict=True) if not out][:BENIGN_LIMIT]
    texts = _texts(context, [*trained, *ranked])
    return texts[: len(trained)], texts[len(trained) :]


def _texts(context: BuildContext, rows: Sequence[Benign]) -> list[ScoredText]:
    """The rows with answers, the base's own kept once they are there."""
    tokens = context.source.manifest.prefix.virtual_tokens
    identity = [behaviour_digest(context.base), context.dtype, TEXT_VERSION, RESULTS_VERSION, versions()]
    digest = canonical_digest([*identity, LONGEST_ANSWER, tokens, dump(rows).decode()])
    with first_alone():
        kept = context.stages.texts(digest)
        if kept is None:
            kept = benign_texts(
                context.loaded,
                rows,
                seed=context.training.seed,
                longest=LONGEST_ANSWER,
                temperature=0.0,
                beside=tokens,
                progress=lambda label, done, total: context.progress("the base's answers", done, total),
            )
            if is_first():
                context.stages.keep_texts(digest, kept)
    return kept
