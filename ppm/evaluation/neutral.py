"""The utility suite for bases that declare none: how likely neutral text and the base's own benign answers stay."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ppm.evaluation.benign import benign_texts, is_held_back
from ppm.evaluation.suites import LoadedSuite, load_suite
from ppm.jsonl import Benign, Prompt, dump, normalised
from ppm.manifest import Judge, Suite
from ppm.package import Package

__all__ = ["default_utility", "neutral_text"]

RETENTION_LIMIT = 200


def neutral_text() -> list[str]:
    """The neutral sentences that ship with ppm; more than 200, as the gate wants for perplexity."""
    return (Path(__file__).parent / "neutral.txt").read_text(encoding="utf-8").splitlines()


def default_utility(model: Any, tokenizer: Any, packages: Sequence[Package]) -> LoadedSuite:
    """Perplexity of the neutral text, and of the base's own answers to retention prompts of the patches.

    Only to those that are held back: a composition may be trained on all others.
    """
    rows: dict[str, Benign] = {}
    for package in packages:
        for row in package.retention:
            if isinstance(row.prompt, str) and is_held_back(row):
                rows.setdefault(normalised(row.prompt), row)
    kept = [rows[key] for key in sorted(rows)][:RETENTION_LIMIT]
    answers = benign_texts(model, tokenizer, kept, seed=0) if kept else []
    prompts = [Prompt(f"neutral-{i}", text) for i, text in enumerate(neutral_text())]
    for i, (row, text) in enumerate(zip(kept, answers, strict=True)):
        answer = tokenizer.decode(list(text.completion), skip_special_tokens=True).strip()
        if answer:
            prompts.append(Prompt(f"retention-{i}", row.prompt, expected=answer))
    suite = Suite("perplexity", "neutral.jsonl", Judge("perplexity"), against="base", metric="perplexity")
    return load_suite(suite, {"neutral.jsonl": dump(prompts)}, origin="the default utility suite", owner=None)
