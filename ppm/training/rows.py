"""Checks that the base can read every text of a source manifest, before anything is trained: with file and line."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from ppm.errors import ManifestError, ModelError, TrainingError
from ppm.evaluation.benign import ANSWER_TOKENS
from ppm.evaluation.judges.registry import make_judge
from ppm.evaluation.measures.registry import measure_of
from ppm.jsonl import Benign, Pair, Prompt, numbered_benign, numbered_pairs, numbered_prompts
from ppm.runtime.text import TextEncoder
from ppm.suite import Suite
from ppm.training.pairs import Collected
from ppm.training.source import SourcePatch

__all__ = ["check_rows", "readable"]

Row = TypeVar("Row", Pair, Benign, Prompt)


def check_rows(source: SourcePatch, encoder: TextEncoder) -> None:
    """Raises ManifestError or ModelError for the first row that the base can't take.

    That is a chat that its template refuses, a token without an embedding, an answer that nothing ends, a text that
    has no room in the context beside the prefix; and a file that holds plain prompts and chats.
    """
    manifest, training = source.manifest, source.training
    rows = _Rows(source, encoder)
    for path in dict.fromkeys((training.pairs, training.ranking, manifest.replay.pairs if manifest.replay else None)):
        rows.check_pairs(path)
    for path in dict.fromkeys(
        (training.benign, training.examples, manifest.retention.prompts if manifest.retention else None)
    ):
        rows.check_benign(path)
    rows.check_prompts(training.prompts)
    for suite in manifest.suites:
        rows.check_suite(suite)
    if manifest.prefix.init_text:
        encoder.prompt(manifest.prefix.init_text, f"{source.folder / 'patch.toml'}, prefix.init_text")


def readable(collected: Collected, encoder: TextEncoder, virtual_tokens: int, least: int) -> tuple[Collected, str]:
    """The pairs that the base can be trained on, and a sentence on those that it can't, if there are any.

    What a teacher writes may be longer than the base's context. Raises TrainingError when fewer than `least` are left.
    """
    kept, reason = [], ""
    for pair in collected.pairs:
        try:
            _check_pair(pair, encoder, virtual_tokens, "a collected pair")
            kept.append(pair)
        except ModelError as error:
            reason = reason or f"{error.context} {error.message}"
    left_out = len(collected.pairs) - len(kept)
    if not left_out:
        return collected, ""
    said = (
        f"{left_out} of {len(collected.pairs)} pairs are left out because the base can't be trained on them: {reason}"
    )
    if len(kept) < least:
        raise TrainingError(
            f"{said}. At least {least} pairs are needed",
            hint="lower max_new_tokens in [training.collect.decoding], or give more prompts",
        )
    return replace(collected, pairs=tuple(kept)), said


@dataclass(frozen=True)
class _Rows:
    """The data files of a source manifest, and how the base reads them."""

    source: SourcePatch
    encoder: TextEncoder

    def check_pairs(self, path: str | None) -> None:
        for pair, where in self._placed(path, numbered_pairs):
            _check_pair(pair, self.encoder, self._virtual_tokens, where)

    def check_prompts(self, path: str | None) -> None:
        """Prompts that the base is to answer."""
        longest = self.source.training.collect.decoding.max_new_tokens
        for row, where in self._placed(path, numbered_benign):
            self._check_room(len(self.encoder.prompt(row.prompt, where)) + longest, where)

    def check_benign(self, path: str | None) -> None:
        for row, where in self._placed(path, numbered_benign):
            tokens = len(self.encoder.prompt(row.prompt, where))
            own = row.completion is None
            tokens += ANSWER_TOKENS if own else len(self.encoder.answer(row.prompt, str(row.completion), where))
            self._check_room(tokens, where)

    def check_suite(self, suite: Suite) -> None:
        origin = f"suite {suite.name}"
        measure = measure_of(suite, make_judge(suite.judge, self.source.files, origin), origin)
        for row, where in self._placed(suite.prompts, numbered_prompts):
            tokens = len(self.encoder.prompt(row.prompt, where))
            self._check_room(tokens + measure.room(self.encoder, suite, row), where)

    @property
    def _virtual_tokens(self) -> int:
        return self.source.manifest.prefix.virtual_tokens

    def _check_room(self, tokens: int, where: str) -> None:
        self.encoder.check_room(self._virtual_tokens + tokens, where)

    def _placed(
        self, path: str | None, read: Callable[[bytes, str], Iterator[tuple[int, Row]]]
    ) -> Iterator[tuple[Row, str]]:
        """The rows of a file, if it is there, each with its place. Raises ManifestError when they are of two kinds."""
        if path is None or path not in self.source.files:
            return
        data, origin = self.source.files[path], str(self.source.folder / path)
        first: tuple[int, Row] | None = None
        for number, row in read(data, origin):
            first = first or (number, row)
            where = f"{origin}, line {number}"
            if isinstance(row.prompt, str) != isinstance(first[1].prompt, str):
                kinds = ("a plain prompt", "a chat") if isinstance(row.prompt, str) else ("a chat", "a plain prompt")
                raise ManifestError(
                    f"is {kinds[0]}, but line {first[0]} is {kinds[1]}",
                    context=where,
                    hint="write all prompts of a file the same way: a patch learns the form in which it is used",
                )
            yield row, where


def _check_pair(pair: Pair, encoder: TextEncoder, virtual_tokens: int, where: str) -> None:
    prompt = encoder.prompt(pair.prompt, where)
    longest = max(len(encoder.answer(pair.prompt, answer, where)) for answer in (pair.chosen, pair.rejected))
    encoder.check_room(virtual_tokens + len(prompt) + longest, where)
