"""Answers of the base and of a teacher to the same prompts, kept as they come in, so that nothing is asked twice.

The teacher is a black box: a local model of any family, or one behind an endpoint; only its text is used.
"""

import json
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ppm.base import BaseModel, ModelName, identify
from ppm.disk import append_file, disk_errors, make_folder
from ppm.document import to_table
from ppm.errors import EndpointError
from ppm.evaluation.endpoint import Client, Endpoint, messages_of
from ppm.evaluation.reply import Reply
from ppm.jsonl import Text
from ppm.names import canonical_digest
from ppm.progress import Progress, silent
from ppm.runtime.loading import LoadedBase
from ppm.suite import Decoding
from ppm.training_table import Teacher

__all__ = [
    "Question",
    "Spool",
    "Usage",
    "answers_of_endpoint",
    "answers_of_model",
    "check_teacher",
    "estimate",
    "load_teacher",
    "spool_digest",
    "whole_sentences",
]

CHUNK = 256
CUT = "length"
"""What endpoints say of an answer that was cut off at max_new_tokens."""
SENTENCES = re.compile(r"""(?s).*(?:(?<!\d)[.!?…][)\]"'*”’»]*(?=\s|$)|[。！？][」』）”’]*)""")
"""A text up to the end of its last sentence. A full stop after a digit ends none: it may be the "2." of a list."""
SUSPECT_AFTER = 20
"""After so many answers in a row without a text, asking stops."""
CHARACTERS_A_TOKEN = 4


@dataclass(frozen=True)
class Question:
    """One answer to get: a prompt, and which of several samples."""

    prompt: Text
    sample: int

    @property
    def key(self) -> str:
        return canonical_digest([self.prompt, self.sample])[7:31]


@dataclass(frozen=True)
class Usage:
    """What an endpoint has counted: requests, tokens, and the models that it says have answered."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    models: tuple[str, ...] = ()

    def plus(self, reply: Reply) -> "Usage":
        models = tuple(sorted({*self.models, reply.model} - {""}))
        return Usage(
            self.requests + 1,
            self.prompt_tokens + reply.prompt_tokens,
            self.completion_tokens + reply.completion_tokens,
            models,
        )


class Spool:
    """Answers on disk, one a line, by question; a line that a killed process left unfinished is dropped.

    The first answer to a question stays, so that what is made of it stays the same. Without a path it is in memory.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.answers: dict[str, Reply] = {}
        whole = 0
        if path is not None and path.is_file():
            data = path.read_bytes()
            for line in data.split(b"\n")[:-1]:
                row = _row(line)
                if row is not None:
                    self.answers.setdefault(row[0], row[1])
                whole += len(line) + 1
            if whole < len(data):
                with path.open("r+b") as stream:
                    stream.truncate(whole)

    def missing(self, questions: Sequence[Question]) -> list[Question]:
        return [question for question in questions if question.key not in self.answers]

    def add(self, found: Sequence[tuple[Question, Reply]]) -> None:
        """Keep answers; once this returns, they outlast a crash. Raises DiskError."""
        new: dict[str, Reply] = {}
        lines = []
        for question, reply in found:
            if question.key not in self.answers and question.key not in new:
                new[question.key] = reply
                counted = {"prompt_tokens": reply.prompt_tokens, "completion_tokens": reply.completion_tokens}
                row = {"key": question.key, "text": reply.text, "model": reply.model, "finish": reply.finish, **counted}
                lines.append(json.dumps(row, ensure_ascii=False) + "\n")
        if self.path is not None and lines:
            with disk_errors("the answers can't be kept", self.path):
                make_folder(self.path.parent)
                append_file(self.path, "".join(lines).encode())
        self.answers |= new

    def texts(self, questions: Sequence[Question]) -> list[str]:
        return [self.answers[question.key].text for question in questions]

    def sentences(self, questions: Sequence[Question]) -> list[str]:
        """The answers. One that was cut off at max_new_tokens is cut back to its last whole sentence, if it has one.

        A prefix learns to end where the answers do, and that should not be in the middle of a sentence.
        """
        replies = [self.answers[question.key] for question in questions]
        return [whole_sentences(reply.text) if reply.finish == CUT else reply.text for reply in replies]

    def cut(self, questions: Sequence[Question]) -> int:
        """How many answers were cut off at max_new_tokens."""
        return sum(self.answers[question.key].finish == CUT for question in questions)

    def usage(self, questions: Sequence[Question]) -> Usage:
        total = Usage()
        for question in questions:
            total = total.plus(self.answers[question.key])
        return total


def whole_sentences(text: str) -> str:
    """A text that was cut off, up to the end of its last sentence; as it is where it has none."""
    found = SENTENCES.match(text)
    return found[0] if found and found[0].strip() else text


def _row(line: bytes) -> tuple[str, Reply] | None:
    try:
        row = json.loads(line)
        reply = Reply(row["text"], row["model"], row["finish"], row["prompt_tokens"], row["completion_tokens"])
        return str(row["key"]), reply
    except (ValueError, KeyError, TypeError):
        return None


def answers_of_model(
    answering: LoadedBase | None,
    questions: Sequence[Question],
    spool: Spool,
    decoding: Decoding,
    *,
    seed: int,
    chat: bool = False,
    system: str = "",
    progress: Progress = silent,
) -> list[str]:
    """A local model's answer to each question. With `chat` a plain prompt is put to it as what a user says.

    Where all answers are in the spool, `answering` may be None."""

    from ppm.evaluation.generation import Completion, generate, noise_key
    from ppm.runtime.model import UNPATCHED, attach
    from ppm.runtime.text import encoder_of

    missing = spool.missing(questions)
    if missing:
        assert answering is not None
        tokenizer, bare = answering.tokenizer, attach(answering.model, kept=answering.kept)
        encoder = encoder_of(answering)
        for start in range(0, len(missing), CHUNK):
            part = missing[start : start + CHUNK]
            requests = [
                Completion(
                    UNPATCHED,
                    encoder.prompt(_as_asked(question.prompt, chat, system), "a prompt for the teacher"),
                    decoding,
                    noise_key("pairs", str(question.prompt), question.sample, seed),
                )
                for question in part
            ]
            made = generate(bare, tokenizer, requests, memory=answering.memory)
            texts = tokenizer.batch_decode([list(ids) for ids in made], skip_special_tokens=True)
            replies = [
                Reply(str(text), "", CUT if len(ids) == decoding.max_new_tokens else "stop")
                for text, ids in zip(texts, made, strict=True)
            ]
            spool.add(list(zip(part, replies, strict=True)))
            progress("answers", start + len(part), len(missing))
    return spool.texts(questions)


def _as_asked(prompt: Text, chat: bool, system: str) -> Text:
    """A prompt in the form a teacher gets: a user's message with `chat`, else a text that follows `system`."""
    if isinstance(prompt, str) and not chat:
        return f"{system}\n{prompt}" if system else prompt
    return tuple((message["role"], message["content"]) for message in messages_of(prompt, system))


def answers_of_endpoint(
    teacher: Teacher,
    questions: Sequence[Question],
    spool: Spool,
    decoding: Decoding,
    *,
    progress: Progress = silent,
) -> list[str]:
    """The answer of a served model to each question. Each answer is kept at once.

    Raises EndpointError when the model can't be reached, breaks the protocol, or gives no text.
    """
    client = _client(teacher)
    missing = spool.missing(questions)
    spoken = bool(spool.answers)
    held: list[tuple[Question, Reply]] = []  # the answers without a text since the last one with a text
    keeping = threading.Lock()

    def ask(question: Question) -> None:
        settings: dict[str, float] = {
            "temperature": decoding.temperature,
            "top_p": decoding.top_p,
            "max_tokens": decoding.max_new_tokens,
            "seed": decoding.seed + question.sample,
        }
        asked = _as_asked(question.prompt, teacher.chats, teacher.system)
        if isinstance(asked, str):
            reply = client.complete(teacher.model, asked, **settings)
        else:
            reply = client.chat(teacher.model, messages_of(asked), optional=(), **settings)
        with keeping:  # before the next question is asked: a kill loses no more than what is under way
            keep(question, reply)

    def keep(question: Question, reply: Reply) -> None:
        nonlocal spoken
        held.append((question, reply))
        if reply.text.strip():
            spoken = True
            spool.add(held)
            held.clear()
        elif len(held) == SUSPECT_AFTER:
            raise no_text()

    def no_text() -> EndpointError:
        return EndpointError(
            f"gave {len(held)} answers in a row without any text",
            context=f"{teacher.model} at {teacher.endpoint}",
            hint="check the model's name, and whether it wants chat = true or chat = false"
            if not spoken
            else "the answers with text are kept: find out why it stopped giving text, and run the command again",
        )

    if missing:
        client.prepare()
    for done, _ in enumerate(client.each(ask, missing), 1):
        progress("answers", done, len(missing))
    if held and not spoken:
        raise no_text()
    spool.add(held)
    return spool.texts(questions)


def _client(teacher: Teacher) -> Client:
    assert teacher.endpoint is not None
    limits = (teacher.requests_per_minute, teacher.concurrency, teacher.timeout, teacher.retries)
    return Client(Endpoint(teacher.endpoint, teacher.key, *limits))


def check_teacher(teacher: Teacher, folder: Path) -> None:
    """Raises ModelError for a local teacher that is not a model, or a hub name without a commit. Downloads nothing."""
    if teacher.endpoint is not None:
        return
    local = _named(teacher, folder).folder
    if local is not None:
        identify(local)


def _named(teacher: Teacher, folder: Path) -> ModelName:
    """What a local teacher is called; a folder is taken relative to the manifest's first."""
    return ModelName.parse(teacher.model, beside=folder).at(teacher.revision)


def load_teacher(
    teacher: Teacher, folder: Path, *, kept: Path | None = None
) -> tuple[BaseModel, Callable[[], LoadedBase]]:
    """A local teacher's identity, and a function that loads it; `kept` as `load_base` takes it.

    A folder is taken relative to the manifest's first. Raises ModelError.
    """
    from ppm.runtime.loading import load_base

    base = identify(_named(teacher, folder).locate(), name=teacher.model)
    return base, lambda: load_base(base, kept=kept)


def estimate(teacher: Teacher, questions: Sequence[Question], decoding: Decoding) -> str:
    """What asking an endpoint takes, in words: tokens at about four characters each, and their price where known."""
    characters = sum(len(message["content"]) for q in questions for message in messages_of(q.prompt, teacher.system))
    given, made = characters // CHARACTERS_A_TOKEN, len(questions) * decoding.max_new_tokens
    text = f"{len(questions):,} requests to {teacher.model} at {teacher.host}, with the key in {teacher.key}; about "
    text += f"{given:,} tokens in and at most {made:,} out"
    if teacher.input_price or teacher.output_price:
        cost = (given * teacher.input_price + made * teacher.output_price) / 1e6
        text += f": about {cost:,.2f} at most"
    if teacher.requests_per_minute:
        text += f", at least {len(questions) / teacher.requests_per_minute:,.0f} minutes"
    return text


def spool_digest(who: object, decoding: Decoding, seed: int) -> str:
    """What a spool of answers is kept by; questions are kept by their own keys."""
    return canonical_digest([who, to_table(decoding), seed])[7:39]
