"""Data files: prompts, pairs and benign texts as JSON Lines in UTF-8.

Errors name the file and the line. Fields that are not known are kept in `extra`.
"""

import hashlib
import io
import json
import math
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ppm.document import kind_of
from ppm.encoding import without_mark
from ppm.errors import ManifestError

__all__ = [
    "Benign",
    "Label",
    "Pair",
    "Prompt",
    "Text",
    "check_leakage",
    "dump",
    "last_turn",
    "normalised",
    "numbered_benign",
    "numbered_labels",
    "numbered_pairs",
    "numbered_prompts",
    "place_of",
    "read_benign",
    "read_pairs",
    "read_prompts",
    "read_samples",
    "spelled_out",
]

MAX_LINES, MAX_LINE_BYTES, MAX_EXTRA_BYTES = 100_000, 2**20, 2**21
"""More than any suite has: lines of a file, bytes of a line, and of all fields in a file that are not known."""
Text = str | tuple[tuple[str, str], ...]
"""A plain prompt, or the (role, content) messages of a chat."""


@dataclass(frozen=True)
class Prompt:
    """A prompt of a suite; `expected` and `group` are for the judges that need them."""

    id: str
    prompt: Text
    expected: str | None = None
    group: str | None = None
    extra: dict[str, object] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Pair:
    """A prompt with the teacher's safe answer and the base's unsafe one."""

    prompt: Text
    chosen: str
    rejected: str
    chosen_score: float | None = None
    rejected_score: float | None = None
    extra: dict[str, object] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Benign:
    """A prompt on which a patch must leave the base as it is."""

    prompt: Text
    completion: str | None = None
    extra: dict[str, object] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Label:
    """A completion with what people say of it, as text; `group` is the origin that prompts share."""

    prompt: Text
    completion: str
    label: str
    group: str | None = None
    extra: dict[str, object] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Sample:
    """One line of an audit's samples: what a configuration answered to a prompt of a suite."""

    suite: str
    id: str
    prompt: Text
    completions: tuple[str, ...]
    group: str | None = None


class _Line:
    """One JSON object and where it is from; `spare` is how many bytes of unknown fields its file may have yet."""

    def __init__(self, values: dict[str, object], where: str, spare: list[int]) -> None:
        self.values = dict(values)
        self.where = where
        self._spare = spare

    def rest(self) -> dict[str, object]:
        """The fields that were not taken."""
        if self.values:
            self._spare[0] -= len(json.dumps(self.values))
        if self._spare[0] < 0:
            raise self.wrong(f"pushes the file's unknown fields over {MAX_EXTRA_BYTES:,} bytes")
        return self.values

    def wrong(self, message: str, hint: str = "") -> ManifestError:
        return ManifestError(message, context=self.where, hint=hint)

    def string(self, key: str) -> str:
        value = self.string_or_none(key)
        if value is None:
            raise self.wrong(f"{key!r} is missing", f'every line needs "{key}"')
        return value

    def string_or_none(self, key: str) -> str | None:
        value = self.values.pop(key, None)
        if value is not None and not isinstance(value, str):
            raise self.wrong(f"{key!r} must be a string, not {kind_of(value)}")
        return value

    def number(self, key: str) -> float | None:
        value = self.values.pop(key, None)
        if value is None:
            return None
        wrong = self.wrong(f"{key!r} must be a finite number")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise wrong
        try:
            number = float(value)
        except OverflowError:
            raise wrong from None
        if not math.isfinite(number):
            raise wrong
        return number

    def text(self) -> Text:
        """`prompt`, or `messages`."""
        if "messages" not in self.values:
            return self.string("prompt")
        if "prompt" in self.values:
            raise self.wrong("has both 'prompt' and 'messages'", "keep one of them")
        messages = self.values.pop("messages")
        if not isinstance(messages, list) or not messages:
            raise self.wrong("'messages' must be a list of objects with 'role' and 'content'")
        result = []
        for message in messages:
            pair = (message.get("role"), message.get("content")) if isinstance(message, dict) else (None, None)
            if not isinstance(pair[0], str) or not isinstance(pair[1], str):
                raise self.wrong("'messages' must be a list of objects with 'role' and 'content'")
            result.append((pair[0], pair[1]))
        return tuple(result)


def _lines(data: bytes, origin: str) -> Iterator[tuple[int, _Line]]:
    found, spare = 0, [MAX_EXTRA_BYTES]
    for number, raw in enumerate(io.BytesIO(without_mark(data)), 1):
        where = f"{origin}, line {number}"
        if len(raw) > MAX_LINE_BYTES:
            raise ManifestError(f"is longer than {MAX_LINE_BYTES:,} bytes", context=where)
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ManifestError("is not UTF-8", context=where) from error
        if not line.strip():
            continue
        found += 1
        if found > MAX_LINES:
            raise ManifestError(f"has more than {MAX_LINES:,} lines", context=origin, hint="split the file")
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            detail = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply or out of range"
            raise ManifestError(
                f"is not a JSON object: {detail}",
                context=where,
                hint="write one JSON object per line, without line breaks inside it",
            ) from error
        if not isinstance(values, dict):
            raise ManifestError(f"is {kind_of(values)}, not a JSON object", context=where)
        # JSON can spell half a character, which no encoder or tokenizer takes later.
        if "\\ud" in line.lower() and not _is_text(values):
            raise ManifestError("has half of a surrogate pair, which is not valid text", context=where)
        yield number, _Line(values, where, spare)
    if not found:
        raise ManifestError("has no lines", context=origin)


def _is_text(values: dict[str, object]) -> bool:
    try:
        json.dumps(values, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def numbered_prompts(data: bytes, origin: str) -> Iterator[tuple[int, Prompt]]:
    """The prompts of a suite, each with the number of its line. Raises ManifestError; ids must be unique."""
    seen: set[str] = set()
    for number, line in _lines(data, origin):
        identity = line.string("id")
        if identity in seen:
            raise line.wrong(f"the id {identity!r} occurs twice")
        seen.add(identity)
        text = line.text()
        expected, group = line.string_or_none("expected"), line.string_or_none("group")
        yield number, Prompt(identity, text, expected, group, line.rest())


def numbered_pairs(data: bytes, origin: str) -> Iterator[tuple[int, Pair]]:
    """Training pairs, each with the number of its line. Raises ManifestError; chosen and rejected must differ."""
    for number, line in _lines(data, origin):
        text, chosen, rejected = line.text(), line.string("chosen"), line.string("rejected")
        if chosen.strip() == rejected.strip():
            raise line.wrong("chosen and rejected are the same text", "remove the pair: it teaches nothing")
        scores = line.number("chosen_score"), line.number("rejected_score")
        yield number, Pair(text, chosen, rejected, *scores, line.rest())


def numbered_benign(data: bytes, origin: str) -> Iterator[tuple[int, Benign]]:
    """Benign prompts, with or without completions, each with the number of its line. Raises ManifestError."""
    for number, line in _lines(data, origin):
        text, completion = line.text(), line.string_or_none("completion")
        yield number, Benign(text, completion, line.rest())


def numbered_labels(data: bytes, origin: str) -> Iterator[tuple[int, Label]]:
    """Labelled completions, each with the number of its line. Raises ManifestError; a text is labelled once.

    A label is a word, true or false, or a whole number. An empty completion is one too.
    """
    first: dict[tuple[str, str], tuple[int, str]] = {}
    for number, line in _lines(data, origin):
        text, completion, given = line.text(), line.string("completion"), line.values.pop("label", None)
        if given is None:
            raise line.wrong("'label' is missing", 'every line needs "label", what people say of its completion')
        if not isinstance(given, str | int):
            raise line.wrong(f"'label' must be a word, true or false, not {kind_of(given)}")
        label = given if isinstance(given, str) else json.dumps(given)
        seen, other = first.setdefault((normalised(text), completion), (number, label))
        if seen != number:
            differs = f", where its label is {other!r} and not {label!r}" if other != label else ""
            raise line.wrong(
                f"has the prompt and the completion of line {seen}{differs}", "keep one of them: each counts once"
            )
        group = line.string_or_none("group")
        yield number, Label(text, completion, label.strip(), group, line.rest())


def read_samples(data: bytes, origin: str) -> tuple[Sample, ...]:
    """The samples that `ppm audit --samples` writes. Raises ManifestError."""
    found = []
    for _, line in _lines(data, origin):
        suite, id_, texts = line.string("suite"), line.string("id"), line.values.pop("completions", [])
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise line.wrong("'completions' must be a list of texts", "these are what `ppm audit --samples` writes")
        found.append(Sample(suite, id_, line.text(), tuple(texts), line.string_or_none("group")))
    return tuple(found)


def read_prompts(data: bytes, origin: str) -> tuple[Prompt, ...]:
    """The prompts of a suite. Raises ManifestError; ids must be unique."""
    return tuple(prompt for _, prompt in numbered_prompts(data, origin))


def read_pairs(data: bytes, origin: str) -> tuple[Pair, ...]:
    """Training pairs. Raises ManifestError; chosen and rejected must differ."""
    return tuple(pair for _, pair in numbered_pairs(data, origin))


def read_benign(data: bytes, origin: str) -> tuple[Benign, ...]:
    """Benign prompts, with or without completions. Raises ManifestError."""
    return tuple(row for _, row in numbered_benign(data, origin))


def dump(rows: Iterable[Prompt | Pair | Benign | Label]) -> bytes:
    """JSON Lines of rows as the readers take them; fields that are None are left out."""
    lines = []
    for row in rows:
        values: dict[str, object] = {}
        for key, value in vars(row).items():
            if key == "extra":
                values |= value
            elif key == "prompt" and not isinstance(value, str):
                values["messages"] = [{"role": role, "content": content} for role, content in value]
            elif value is not None:
                values[key] = value
        lines.append(json.dumps(values, ensure_ascii=False))
    return ("\n".join(lines) + "\n").encode()


def normalised(text: Text) -> str:
    """What two prompts are compared by: case, width and white space make no difference."""
    plain = text if isinstance(text, str) else "\n".join(content for _, content in text)
    return " ".join(unicodedata.normalize("NFKC", plain).casefold().split())


def place_of(key: str) -> float:
    """Where a text stands among all texts, from 0 to below 1, by its digest: which share of them it belongs to."""
    return int(hashlib.sha256(key.encode()).hexdigest()[:8], 16) / 2**32


def spelled_out(text: Text) -> str:
    """A prompt as people read it; of a chat every message with its role."""
    return text if isinstance(text, str) else "\n".join(f"{role}: {said}" for role, said in text)


def last_turn(text: Text) -> str:
    """A prompt as a message shows it: of a chat what the user said last."""
    if isinstance(text, str):
        return text
    said = [content for role, content in text if role == "user"] or [content for _, content in text]
    return said[-1] if said else ""


def check_leakage(
    suite: str, prompts: Sequence[Prompt], trained: Mapping[str, Iterable[Pair | Benign]], *, sealed: bool = False
) -> None:
    """Raises ManifestError when a prompt of a suite occurs, compared normalised, in training data given by origin.

    The prompt is shown unless the suite is `sealed`.
    """
    known = {normalised(prompt.prompt) for prompt in prompts}
    for origin, rows in trained.items():
        leaked = next((row.prompt for row in rows if normalised(row.prompt) in known), None)
        if leaked is not None:
            raise ManifestError(
                f"trains on a prompt of the suite {suite!r}" + ("" if sealed else f": {last_turn(leaked)[:80]!r}"),
                context=origin,
                hint="a test on training data proves nothing; remove the prompt from one of the two",
            )
