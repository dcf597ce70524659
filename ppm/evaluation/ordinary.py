"""Ordinary and look-alike harmless requests that ship with ppm: what no patch of a chat base may refuse.

One file is the default suite `over-refusal`, another, disjoint from it, the default benign prompts of a build. A third
has sentences that are no requests at all, for triggers.
"""

import json
from collections.abc import Collection
from pathlib import Path

from ppm.base import BaseModel
from ppm.evaluation.suites import LoadedSuite, load_suite
from ppm.jsonl import Benign, Prompt, dump, normalised, read_benign, read_prompts
from ppm.names import canonical_digest
from ppm.suite import UTILITY_MARGIN, Decoding, Judge, Suite

__all__ = [
    "OVER_REFUSAL",
    "has_room",
    "ordinary_benign",
    "over_refusal",
    "plain_text",
    "takes_requests",
    "without_tested",
]

OVER_REFUSAL = "over-refusal"
ANSWER_TOKENS = 40
"""A refusal shows in an answer's first sentences."""
LEAST_CONTEXT = 512
"""A base with less room than this is no model that people put such requests and texts to."""
_FOLDER = Path(__file__).parent
_SUITE, _BENIGN, _PLAIN = (_FOLDER / name for name in ("ordinary.jsonl", "ordinary-benign.jsonl", "plain.txt"))


def takes_requests(base: BaseModel) -> bool:
    """Whether a base chats: it has a chat template, and room for requests. Reads no weights and no tokenizer."""
    return base.parts["chat_template"] != canonical_digest(None) and has_room(base)


def has_room(base: BaseModel) -> bool:
    """Whether a base has room for what people write; toy models may not. Reads no weights and no tokenizer."""
    config = json.loads((base.folder / "config.json").read_text(encoding="utf-8"))
    config = config.get("text_config") or config
    room = config.get("max_position_embeddings") or config.get("n_positions")
    return not isinstance(room, int) or room >= LEAST_CONTEXT


def over_refusal(trained_on: Collection[str] = (), path: Path = _SUITE) -> LoadedSuite | None:
    """Whether ordinary requests are refused, as a chat base's utility; None without prompts.

    Prompts that a patch was trained on, given normalised, are left out.
    """
    if not path.is_file():
        return None
    rows = [
        row for row in read_prompts(path.read_bytes(), path.name) if normalised(_chat(row.prompt)) not in trained_on
    ]
    prompts = [Prompt(row.id, _chat(row.prompt), group=row.group) for row in rows]
    if not prompts:
        return None
    suite = Suite(
        OVER_REFUSAL,
        path.name,
        Judge("refusal"),
        against="base",
        group="group",
        margin=UTILITY_MARGIN,
        decoding=Decoding(max_new_tokens=ANSWER_TOKENS, temperature=0.0),
    )
    return load_suite(suite, {path.name: dump(prompts)}, origin="the default suite over-refusal", owner=None)


def ordinary_benign(path: Path = _BENIGN) -> tuple[Benign, ...]:
    """Ordinary requests as benign prompts of a chat base, none of them in the suite."""
    if not path.is_file():
        return ()
    return tuple(Benign(_chat(row.prompt), row.completion) for row in read_benign(path.read_bytes(), path.name))


def plain_text(path: Path = _PLAIN) -> tuple[Benign, ...]:
    """Sentences that are no requests, without any chat around them; none of them is in the neutral text."""
    return tuple(Benign(line) for line in path.read_text(encoding="utf-8").splitlines()) if path.is_file() else ()


def without_tested(tested: Collection[str]) -> list[Benign]:
    """Both of these, for triggers, but for the prompts that somebody tests with, given normalised."""
    return [row for row in (*ordinary_benign(), *plain_text()) if normalised(row.prompt) not in tested]


def _chat(prompt: str | tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """A request as what a user says."""
    return (("user", prompt),) if isinstance(prompt, str) else prompt
