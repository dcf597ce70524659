"""Models behind an OpenAI-compatible endpoint: retries, a rate limit, and answers checked before they are used.

The `openai` client does the transport and its retries (429, 5xx, time-outs, lost connections; `Retry-After` is
kept). What comes back is read as hostile: an answer that is broken, endless or never whole is asked for again, and one
without a text is one with an empty text.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, TypeVar

from ppm.errors import EndpointError
from ppm.jsonl import Text

__all__ = ["Client", "Endpoint", "Reply", "check_key", "messages_of"]

T = TypeVar("T")
MALFORMED_TRIES = 3
MAX_ANSWER_CHARACTERS = 200_000
MAX_ANSWER_BYTES = 4_000_000


@dataclass(frozen=True)
class Endpoint:
    """Where a model is served, and how it may be asked. `requests_per_minute` 0 means no limit of ppm's own.

    `timeout` is in seconds, for an answer to begin and again for it to be whole; `key` names the environment variable
    with the key.
    """

    url: str
    key: str = "OPENAI_API_KEY"
    requests_per_minute: float = 0.0
    concurrency: int = 4
    timeout: float = 60.0
    retries: int = 6


@dataclass(frozen=True)
class Reply:
    """One answer. `likeliest`: each token with log-probabilities of what could stand there, where they are given."""

    text: str
    model: str
    finish: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    likeliest: tuple[tuple[str, Mapping[str, float]], ...] = ()


def check_key(variable: str, what: str) -> str:
    """The value of an environment variable that holds a key. Raises EndpointError when it is not set."""
    key = os.environ.get(variable, "")
    if not key:
        raise EndpointError(
            f"needs a key in the environment variable {variable}",
            context=what,
            hint=f"export {variable}=...; a server of your own that wants none takes any",
        )
    return key


def messages_of(text: Text, system: str = "") -> list[dict[str, str]]:
    """A prompt as chat messages; a plain one becomes what the user says."""
    turns = ((("user", text),) if isinstance(text, str) else text) if text else ()
    first = [{"role": "system", "content": system}] if system else []
    return [*first, *({"role": role, "content": content} for role, content in turns)]


@dataclass
class Client:
    """Asks one endpoint. Its methods may be called from several threads; together they keep its rate limit."""

    endpoint: Endpoint
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _next: float = 0.0
    _client: Any = field(default=None, repr=False)

    def prepare(self) -> None:
        """Raises EndpointError when the client is not installed, or the key is not set."""
        if find_spec("openai") is None:
            raise EndpointError(
                "needs the package openai",
                context=self.endpoint.url,
                hint="pip install 'policy-patch-manager[endpoints]'",
            )
        check_key(self.endpoint.key, self.endpoint.url)

    def chat(self, model: str, messages: Sequence[Mapping[str, str]], **settings: Any) -> Reply:
        """An answer to a chat. Raises EndpointError."""
        return self._ask(
            lambda client: client.chat.completions.with_streaming_response.create(
                model=model, messages=list(messages), **settings
            ),
            _chat_reply,
        )

    def complete(self, model: str, prompt: str, **settings: Any) -> Reply:
        """What follows a text. Raises EndpointError."""
        return self._ask(
            lambda client: client.completions.with_streaming_response.create(model=model, prompt=prompt, **settings),
            _completion_reply,
        )

    def moderate(self, model: str, text: str) -> Mapping[str, Any]:
        """The first result of a moderation: `flagged` and `category_scores`. Raises EndpointError."""
        return self._ask(
            lambda client: client.moderations.with_streaming_response.create(model=model, input=text),
            _moderation_result,
        )

    def each(self, ask: Callable[[T], Any], questions: Sequence[T]) -> Iterator[tuple[int, Any]]:
        """`ask` of every question, several at a time: (index, what it returned) as they come in.

        The first error ends it; questions that were not asked by then are not asked any more.
        """
        stop = threading.Event()

        def one(index: int) -> tuple[int, Any] | None:
            if stop.is_set():
                return None
            try:
                return index, ask(questions[index])
            except BaseException:
                stop.set()
                raise

        pool = ThreadPoolExecutor(max_workers=max(1, self.endpoint.concurrency))
        futures = [pool.submit(one, index) for index in range(len(questions))]
        try:
            for future in as_completed(futures):
                done = future.result()
                if done is not None:
                    yield done
        finally:  # without waiting for what is under way
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)

    def _wait(self) -> None:
        """Until this request may start."""
        if self.endpoint.requests_per_minute <= 0:
            return
        with self._lock:
            now = time.monotonic()
            start = max(now, self._next)
            self._next = start + 60.0 / self.endpoint.requests_per_minute
        time.sleep(max(0.0, start - now))

    def _connected(self) -> Any:
        with self._lock:
            if self._client is None:
                self.prepare()
                from openai import OpenAI

                self._client = OpenAI(
                    base_url=self.endpoint.url,
                    api_key=os.environ[self.endpoint.key],
                    timeout=self.endpoint.timeout,
                    max_retries=self.endpoint.retries,
                )
            return self._client

    def _ask(self, send: Callable[[Any], Any], read: Callable[[Any], T]) -> T:
        client = self._connected()
        from httpx2 import HTTPError
        from openai import APIConnectionError, APIStatusError, APITimeoutError, OpenAIError

        where = self.endpoint.url
        for attempt in range(MALFORMED_TRIES):
            self._wait()
            try:
                with send(client) as response:
                    return read(json.loads(self._body(response)))
            except APITimeoutError as error:
                raise EndpointError(
                    f"gave no answer within {self.endpoint.timeout:g} seconds, {self.endpoint.retries + 1} times",
                    context=where,
                    hint="run the command again, or raise the timeout; a teacher's answers so far are kept",
                ) from error
            except APIConnectionError as error:
                raise EndpointError(
                    f"can't be reached: {error.__cause__ or error}",
                    context=where,
                    hint="check the address, and run the command again; a teacher's answers so far are kept",
                ) from error
            except APIStatusError as error:
                raise EndpointError(
                    f"answers {error.status_code}: {_short(str(error.message))}",
                    context=where,
                    hint=_HINTS.get(
                        error.status_code, "run the command again later; a teacher's answers so far are kept"
                    ),
                ) from error
            except OpenAIError as error:
                raise EndpointError(_short(str(error)), context=where) from error
            except (HTTPError, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
                if attempt == MALFORMED_TRIES - 1:
                    raise EndpointError(
                        f"gives answers that are not of the protocol ({type(error).__name__}: {_short(str(error))})",
                        context=where,
                        hint="the address must be the base of an OpenAI-compatible API, often ending in /v1",
                    ) from error
        raise AssertionError("unreachable")

    def _body(self, response: Any) -> bytes:
        """The answer's bytes. Raises ValueError when they are too many, or take longer than the time-out."""
        end = time.monotonic() + self.endpoint.timeout
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > MAX_ANSWER_BYTES:
                raise ValueError(f"an answer of more than {MAX_ANSWER_BYTES} bytes")
            if time.monotonic() > end:
                raise ValueError(f"an answer that is not whole after {self.endpoint.timeout:g} seconds")
        return bytes(body)


_HINTS = {
    400: "the model refuses the prompt or a setting; what it says is above",
    401: "the key is not accepted; check the environment variable that holds it",
    403: "the key may not use this model",
    404: "check the address and the model's name",
    429: "the rate limit stays exceeded; set requests_per_minute (judges: PPM_JUDGE_REQUESTS_PER_MINUTE) and run again",
}


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 200 else f"{line[:200]}..."


def _text(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > MAX_ANSWER_CHARACTERS:
        raise ValueError("the answer is no text of a sensible length")
    return value.encode("utf-8", "replace").decode("utf-8")


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


def _common(table: Any, choice: Any, text: str, likeliest: tuple[tuple[str, Mapping[str, float]], ...]) -> Reply:
    usage = table.get("usage") or {}
    return Reply(
        text,
        _text(table.get("model")),
        _text(choice.get("finish_reason")),
        _number(usage.get("prompt_tokens")),
        _number(usage.get("completion_tokens")),
        likeliest,
    )


def _chat_reply(table: Any) -> Reply:
    choice = table["choices"][0]
    tokens = (choice.get("logprobs") or {}).get("content") or []
    likeliest = tuple(
        (str(t["token"]), {str(top["token"]): float(top["logprob"]) for top in t.get("top_logprobs", ())})
        for t in tokens
    )
    return _common(table, choice, _text(choice["message"].get("content")), likeliest)


def _completion_reply(table: Any) -> Reply:
    choice = table["choices"][0]
    return _common(table, choice, _text(choice.get("text")), ())


def _moderation_result(table: Any) -> Mapping[str, Any]:
    result = table["results"][0]
    given = (result.get("category_scores") or {}).items()
    scores = {str(k): float(v) for k, v in given if v is not None}  # some models leave categories out
    return {"flagged": bool(result["flagged"]), "category_scores": scores, "model": _text(table.get("model"))}
