"""What an endpoint answers, out of JSON that may hold anything at all."""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Likely", "Reply", "chat_reply", "completion_reply", "moderation_scores"]

MAX_ANSWER_CHARACTERS = 200_000
Likely = tuple[str, Mapping[str, float]]
"""A token, and the log-probabilities of what could stand in its place."""


@dataclass(frozen=True)
class Reply:
    """One answer. `likeliest`: each token with log-probabilities of what could stand there, where they are given."""

    text: str
    model: str
    finish: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    likeliest: tuple[Likely, ...] = ()


def _text(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > MAX_ANSWER_CHARACTERS:
        raise ValueError("the answer is not text of a sensible length")
    return value.encode("utf-8", "replace").decode("utf-8")


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


def _table(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise ValueError("the answer has something else where a table should be")
    return value


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise ValueError("the answer has something else where a list should be")
    return value


def _float(value: object) -> float:
    if not isinstance(value, int | float | str):
        raise ValueError("the answer has something else where a number should be")
    try:
        return float(value)
    except OverflowError:
        raise ValueError("the answer has a number out of range") from None


def _first(answer: object, key: str) -> tuple[Mapping[str, object], Mapping[str, object]]:
    """An answer's table, and the first of the tables that it lists under a key."""
    table = _table(answer)
    return table, _table(_list(table[key])[0])


def _reply(table: Mapping[str, object], choice: Mapping[str, object], text: str, *likeliest: Likely) -> Reply:
    usage = _table(table.get("usage") or {})
    return Reply(
        text,
        _text(table.get("model")),
        _text(choice.get("finish_reason")),
        _number(usage.get("prompt_tokens")),
        _number(usage.get("completion_tokens")),
        likeliest,
    )


def _likely(token: Mapping[str, object]) -> Likely:
    """A token, with the log-probabilities of what could stand there."""
    others = map(_table, _list(token.get("top_logprobs", [])))
    return str(token["token"]), {str(other["token"]): _float(other["logprob"]) for other in others}


def chat_reply(answer: object) -> Reply:
    """What a chat was answered. Raises ValueError, KeyError or IndexError for what is not of the protocol."""
    table, choice = _first(answer, "choices")
    tokens = _list(_table(choice.get("logprobs") or {}).get("content") or [])
    text = _text(_table(choice["message"]).get("content"))
    return _reply(table, choice, text, *(_likely(_table(token)) for token in tokens))


def completion_reply(answer: object) -> Reply:
    """What follows a text. Raises what `chat_reply` does."""
    table, choice = _first(answer, "choices")
    return _reply(table, choice, _text(choice.get("text")))


def moderation_scores(answer: object) -> Mapping[str, float]:
    """The score in each category. Raises what `chat_reply` does."""
    _, result = _first(answer, "results")
    if "flagged" not in result:
        raise ValueError("the answer is no moderation")
    given = _table(result.get("category_scores") or {}).items()
    return {str(k): _float(v) for k, v in given if v is not None}  # some models leave categories out
