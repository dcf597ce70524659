"""The utility suite for bases that declare none: how likely neutral text and the base's own benign answers stay."""

from collections.abc import Sequence
from pathlib import Path

from ppm.evaluation.measures.perplexity import perplexity_suite
from ppm.evaluation.results import RESULTS_VERSION, ResultStore
from ppm.evaluation.suites import LoadedSuite, load_suite
from ppm.jsonl import Benign, Prompt, dump, normalised, place_of
from ppm.names import canonical_digest
from ppm.package import Package
from ppm.runtime.loading import LazyModel

__all__ = ["default_utility", "is_held_back", "neutral_text"]

ANSWERED_PROMPTS = 200
HELD_BACK = 0.25
"""The share of retention prompts that no composition is trained on."""


def is_held_back(row: Benign) -> bool:
    """Whether a retention prompt serves the default utility suite, and never the making of a composition."""
    return place_of(normalised(row.prompt)) < HELD_BACK


def neutral_text() -> list[str]:
    """The neutral sentences that ship with ppm; more than 200, as the gate wants for perplexity."""
    return (Path(__file__).parent / "neutral.txt").read_text(encoding="utf-8").splitlines()


def default_utility(lazy: LazyModel, packages: Sequence[Package], store: ResultStore | None = None) -> LoadedSuite:
    """Perplexity of the neutral text, and of the base's own answers to retention prompts of the patches.

    Only to those that are held back: a composition may be trained on all others. The answers are kept in the store.
    """
    rows: dict[str, Benign] = {}
    for package in packages:
        for row in package.retention:
            if is_held_back(row):
                rows.setdefault(normalised(row.prompt), row)
    kept = [rows[key] for key in sorted(rows, key=canonical_digest)][:ANSWERED_PROMPTS]
    prompts = [Prompt(f"neutral-{i}", text) for i, text in enumerate(neutral_text())]
    for i, (row, answer) in enumerate(zip(kept, _answers(lazy, kept, store), strict=True)):
        if answer:
            prompts.append(Prompt(f"retention-{i}", row.prompt, expected=answer))
    suite = perplexity_suite("neutral.jsonl")
    return load_suite(suite, {suite.prompts: dump(prompts)}, origin="the default utility suite", owner=None)


def _answers(lazy: LazyModel, rows: Sequence[Benign], store: ResultStore | None) -> list[str]:
    """The base's answer to each row."""
    key = canonical_digest(["benign answers", RESULTS_VERSION, store.weights if store else "", dump(rows).decode()])[7:]
    kept = store.get(key) if store else {}
    if len(kept) < len(rows):
        from ppm.evaluation.benign import benign_texts

        made = benign_texts(lazy.loaded, rows, seed=0)
        texts = lazy.loaded.tokenizer.batch_decode([list(text.completion) for text in made], skip_special_tokens=True)
        kept = {str(i): (0.0, (text.strip(),)) for i, text in enumerate(texts)}
        if store:
            store.put(key, kept)
    return [kept[str(i)][1][0] for i in range(len(rows))]
