"""Models behind an OpenAI-compatible endpoint: retries, a rate limit, and answers checked before they are used.

The `openai` client does the transport and its retries (429, 5xx, time-outs, lost connections; `Retry-After` is
kept). What comes back is read as hostile: an answer that is broken, endless or never whole is asked for again, and one
without a text is one with an empty text.
"""

import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol, TypeVar
from urllib.parse import quote, quote_plus

from ppm.errors import EndpointError
from ppm.evaluation.reply import Reply, chat_reply, completion_reply, moderation_scores
from ppm.jsonl import Text

if TYPE_CHECKING:
    from openai import OpenAI

__all__ = ["Client", "Endpoint", "check_address", "check_key", "masked", "messages_of", "proxies"]

Q = TypeVar("Q")
T = TypeVar("T")
MALFORMED_TRIES = 3
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


def check_key(variable: str, what: str) -> str:
    """The value of an environment variable that holds a key.

    Raises EndpointError when it is not set, or holds what no key does: a key that was pasted with a line end or in
    quotation marks is refused here, before a library prints it whole in an error.
    """
    key = os.environ.get(variable, "")
    if not key:
        raise EndpointError(
            f"needs a key in the environment variable {variable}",
            context=what,
            hint=f"export {variable}=...; if your own server needs none, any value will do",
        )
    quoted = len(key) > 1 and key[0] in _QUOTES and key[-1] in _QUOTES
    if quoted or not (key.isascii() and key.isprintable() and key == key.strip()):
        raise EndpointError(
            f"the key in {variable} has characters that a key can't have, such as quotation marks, spaces around it or "
            "a line end",
            context=what,
            hint=f"set {variable} to just the key",
        )
    return key


_QUOTES = "\"'`\u2018\u2019\u201c\u201d\u00ab\u00bb"
_SHORTEST_SECRET = 6  # what is shorter is a stand-in for servers that want no key


def masked(text: str, *variables: str) -> str:
    """A text without the keys that environment variables hold, and without passwords in addresses."""
    for variable in variables:
        key = os.environ.get(variable, "").strip()
        if len(key) >= _SHORTEST_SECRET:
            for form in {key, quote(key), quote(key, safe=""), quote_plus(key), repr(key)[1:-1]}:
                text = text.replace(form, "...")
    text = re.sub(r"(?i)(\bbearer\s+|\bsk-)[\w.~+/=-]{6,}", r"\1...", text)
    return re.sub(r"(?<=//)[^/\s@]+@|(?<=[?&]key=)[^&\s'\"]+", "...", text)


def check_address(url: str, what: str) -> None:
    """Raises EndpointError for an address that no request can be sent to. Needs the package httpx2."""
    import httpx2

    try:
        parsed = httpx2.URL(url)
        problem = "" if parsed.scheme in ("http", "https") and parsed.host else "it must begin with http:// or https://"
        if parsed.port is not None and not 0 < parsed.port < 65536:
            problem = f"there is no port {parsed.port}"
        if re.search(r"\s", url):
            problem = "it has white space"
    except (httpx2.InvalidURL, ValueError) as error:
        problem = str(error)
    if problem:
        raise EndpointError(
            f"is not an address: {problem}", context=what, hint="an address looks like https://example.org/v1"
        )


def proxies() -> str:
    """The environment variables that name a proxy, for messages; empty where none does."""
    names = ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY")
    return ", ".join(name for name in names if os.environ.get(name) or os.environ.get(name.lower()))


def messages_of(text: Text, system: str = "") -> list[dict[str, str]]:
    """A prompt as chat messages; a plain one becomes what the user says."""
    turns = ((("user", text),) if isinstance(text, str) else text) if text else ()
    first = [{"role": "system", "content": system}] if system else []
    return [*first, *({"role": role, "content": content} for role, content in turns)]


class Streamed(Protocol):
    """An answer as it comes in."""

    def iter_bytes(self) -> Iterator[bytes]: ...


Answer = AbstractContextManager[Streamed]


def _sent(create: Callable[..., Answer], **asked: object) -> Answer:
    """A request, by the method of the client that makes it."""
    return create(**asked)


@dataclass
class Client:
    """Asks one endpoint. Its methods may be called from several threads; together they keep its rate limit."""

    endpoint: Endpoint
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _next: float = 0.0
    _client: "OpenAI | None" = field(default=None, repr=False)
    _refused: set[tuple[str, str]] = field(default_factory=set, repr=False)  # (model, setting) that it does not take

    def prepare(self) -> None:
        """Raises EndpointError when the client is not installed, the key is not set, or the address is none."""
        self._connected()

    @property
    def where(self) -> str:
        """The address, for messages: without a password that it may hold."""
        return masked(self.endpoint.url, self.endpoint.key)

    def chat(
        self, model: str, messages: Sequence[Mapping[str, str]], *, optional: Sequence[str] = (), **settings: object
    ) -> Reply:
        """An answer to a chat. Raises EndpointError.

        A model that refuses `max_tokens` is asked with `max_completion_tokens`, then and later; settings that are
        `optional` are left out where the model refuses them.
        """
        sent: dict[str, object] = {}

        def send(client: "OpenAI") -> Answer:
            sent.clear()
            for name, value in settings.items():
                if (model, name) not in self._refused:
                    sent[name] = value
                elif name == "max_tokens":
                    sent["max_completion_tokens"] = value
            create = client.chat.completions.with_streaming_response.create
            return _sent(create, model=model, messages=list(messages), **sent)

        def learns(message: str) -> bool:
            """Whether the refusal is of a setting that there is another way to ask for, or that can be left out."""
            new = [name for name in optional if name in sent and re.search(rf"\b{name}\b", message)]
            if "max_tokens" in sent and "max_completion_tokens" in message:
                new.append("max_tokens")
            self._refused.update((model, name) for name in new)
            return bool(new)

        return self._ask(send, chat_reply, learns)

    def complete(self, model: str, prompt: str, **settings: object) -> Reply:
        """What follows a text. Raises EndpointError."""
        return self._ask(
            lambda client: _sent(
                client.completions.with_streaming_response.create, model=model, prompt=prompt, **settings
            ),
            completion_reply,
        )

    def moderate(self, model: str, text: str) -> Mapping[str, float]:
        """The first result of a moderation: its score in each category. Raises EndpointError."""
        return self._ask(
            lambda client: _sent(client.moderations.with_streaming_response.create, model=model, input=text),
            moderation_scores,
        )

    def each(self, ask: Callable[[Q], T], questions: Sequence[Q]) -> Iterator[tuple[int, T]]:
        """`ask` of every question, several at a time: (index, what it returned) as they come in.

        The first error ends it; questions that were not asked by then are not asked any more.
        """
        stop = threading.Event()

        def one(index: int) -> tuple[int, T] | None:
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

    def _connected(self) -> "OpenAI":
        """The client of the endpoint, made once. Raises EndpointError when it can't be made."""
        with self._lock:
            if self._client is None:
                if find_spec("openai") is None:
                    raise EndpointError(
                        "needs the package openai",
                        context=self.where,
                        hint="pip install 'policy-patch-manager[endpoints]'",
                    )
                key = check_key(self.endpoint.key, self.where)
                check_address(self.endpoint.url, self.where)
                self._client = self._made(key)
            return self._client

    def _made(self, key: str) -> "OpenAI":
        from openai import OpenAI

        try:
            return OpenAI(
                base_url=self.endpoint.url,
                api_key=key,
                timeout=self.endpoint.timeout,
                max_retries=self.endpoint.retries,
            )
        except Exception as error:  # what a proxy's address may be wrong about is raised as half a dozen classes
            named = proxies()
            raise EndpointError(
                f"can't be asked through the proxy that {named} names: {self._told(error)}"
                if named
                else f"can't be asked: {self._told(error)}",
                context=self.where,
                hint="install what the proxy needs (SOCKS: pip install socksio), or unset the variable"
                if named
                else "check the address",
            ) from None  # whose text may hold the proxy's password

    def _told(self, error: object) -> str:
        return masked(_short(str(error)), self.endpoint.key)

    def _ask(
        self,
        send: "Callable[[OpenAI], Answer]",
        read: Callable[[object], T],
        learns: Callable[[str], bool] = lambda message: False,
    ) -> T:
        """What an answer holds. `learns` says of a refusal's message whether asking again is another request now."""
        client = self._connected()
        from httpx2 import HTTPError
        from openai import APIStatusError, OpenAIError

        malformed = 0
        while True:
            self._wait()
            try:
                with send(client) as response:
                    return read(json.loads(self._body(response)))
            except APIStatusError as error:
                if error.status_code in (400, 422) and learns(str(error.message)):
                    continue
                raise self._failed(error) from error
            except OpenAIError as error:
                raise self._failed(error) from error
            except (HTTPError, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
                malformed += 1
                if malformed == MALFORMED_TRIES:
                    raise EndpointError(
                        f"gives answers that don't follow the protocol ({type(error).__name__}: {self._told(error)})",
                        context=self.where,
                        hint="the address must be the base of an OpenAI-compatible API, often ending in /v1",
                    ) from error

    def _failed(self, error: Exception) -> EndpointError:
        """The one error of what the client gave up on."""
        from openai import APIConnectionError, APIStatusError, APITimeoutError

        again = "run the command again; a teacher's answers so far are kept"
        if isinstance(error, APITimeoutError):
            message = f"gave no answer within {self.endpoint.timeout:g} seconds, {self.endpoint.retries + 1} times"
            hint = "run the command again, or raise the timeout; a teacher's answers so far are kept"
        elif isinstance(error, APIConnectionError):
            message = f"can't be reached: {self._told(error.__cause__ or error)}"
            through = f" and the proxy that {proxies()} names" if proxies() else ""
            hint = f"check the address{through}, and {again}"
        elif isinstance(error, APIStatusError):
            message = f"answers {error.status_code}: {self._told(error.message)}"
            hint = _HINTS.get(error.status_code, "run the command again later; a teacher's answers so far are kept")
        else:
            message, hint = self._told(error), ""
        return EndpointError(message, context=self.where, hint=hint)

    def _body(self, response: "Streamed") -> bytes:
        """The answer's bytes. Raises ValueError when they are too many, or take longer than the time-out."""
        end = time.monotonic() + self.endpoint.timeout
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > MAX_ANSWER_BYTES:
                raise ValueError(f"an answer of more than {MAX_ANSWER_BYTES} bytes")
            if time.monotonic() > end:
                raise ValueError(f"an answer that is incomplete after {self.endpoint.timeout:g} seconds")
        return bytes(body)


_HINTS = {
    400: "the model refuses the prompt or a setting; its message is above",
    401: "the key was rejected; check the environment variable that holds it",
    403: "the key may not use this model",
    404: "check the address and the model's name",
    429: "still over the rate limit; set requests_per_minute (judges: PPM_JUDGE_REQUESTS_PER_MINUTE) and run again",
}


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 200 else f"{line[:200]}..."
