"""The utility suites for bases that declare none: how likely neutral texts and the base's own benign answers stay."""

from collections.abc import Sequence
from pathlib import Path

from ppm.evaluation.measures.perplexity import perplexity_suite
from ppm.evaluation.results import RESULTS_VERSION, ResultStore
from ppm.evaluation.suites import LoadedSuite, load_suite
from ppm.jsonl import Benign, Prompt, dump, normalised, place_of
from ppm.names import canonical_digest
from ppm.package import Package
from ppm.runtime.loading import LazyModel

__all__ = ["BENIGN_ANSWERS", "NEUTRAL_TEXTS", "beginnings", "default_utility", "is_held_back", "neutral_text"]

NEUTRAL_TEXTS, BENIGN_ANSWERS = "neutral-texts", "benign-answers"
OF_PATCHES, ANSWERS = 200, 400
"""How many prompts of the patches' retention are answered at most, and how many with those of ppm beside them."""
_FOLDER = Path(__file__).parent
HELD_BACK = 0.25
"""The share of retention prompts that no composition is trained on."""


def is_held_back(row: Benign) -> bool:
    """Whether a retention prompt serves the default utility suite, and never the making of a composition."""
    return place_of(normalised(row.prompt)) < HELD_BACK


def neutral_text() -> list[str]:
    """The neutral sentences that ship with ppm."""
    return _lines("neutral.txt")


def beginnings() -> tuple[Benign, ...]:
    """Halves of other neutral sentences, for a base that continues texts."""
    sentences = [line.split() for line in _lines("beginnings.txt")]
    return tuple(Benign(" ".join(words[: max(2, len(words) // 2)])) for words in sentences)


def _lines(name: str) -> list[str]:
    return (_FOLDER / name).read_text(encoding="utf-8").splitlines()


def default_utility(
    lazy: LazyModel, packages: Sequence[Package], others: Sequence[Benign], store: ResultStore | None = None
) -> list[LoadedSuite]:
    """The neutral texts, and the base's own answers to retention prompts of the patches and to `others`.

    Only to retention that is held back: a composition may be trained on the rest. `others` make `ANSWERS` of them, so
    that there are enough whatever the patches bring. The answers are kept in the store.
    """
    rows: dict[str, Benign] = {}
    for package in packages:
        for row in package.retention:
            if is_held_back(row):
                rows.setdefault(normalised(row.prompt), row)
    own = [rows[key] for key in sorted(rows, key=canonical_digest)][:OF_PATCHES]
    besides = {normalised(row.prompt): row for row in others if normalised(row.prompt) not in rows}
    kept = [*own, *(besides[key] for key in sorted(besides, key=canonical_digest))][:ANSWERS]
    answered = [
        Prompt(f"benign-{i}", row.prompt, expected=answer)
        for i, (row, answer) in enumerate(zip(kept, _answers(lazy, kept, store), strict=True))
        if answer
    ]
    neutral = [Prompt(f"neutral-{i}", text) for i, text in enumerate(neutral_text())]
    return [
        _suite(name, prompts) for name, prompts in ((NEUTRAL_TEXTS, neutral), (BENIGN_ANSWERS, answered)) if prompts
    ]


def _suite(name: str, prompts: Sequence[Prompt]) -> LoadedSuite:
    suite = perplexity_suite(name, f"{name}.jsonl")
    return load_suite(suite, {suite.prompts: dump(prompts)}, origin=f"the default suite {name}", owner=None)


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
