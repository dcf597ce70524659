"""Whether a text is well-formed, as far as its letters tell: not empty, not looping, not broken.

The rule, in the order in which it is asked:

- *empty*: no letter and no digit.
- *broken*: a character that stands for bytes that are no text, a control character, or a mark that only a chat
  template writes; a word of more than 40 letters in a script that puts spaces between words; or more pieces without
  any letter or digit than pieces with one.
- *looping*: the same word 5 times in a row, the same 2 to 12 words 3 times in a row; or, from 24 words on, fewer than
  half as many different runs of three words as there are runs.

A text that was cut off at the most tokens is well-formed. Whether what it says makes sense is not asked: a model has to
tell that (perplexity under the base). Judges and the choice of a stage share this rule.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

__all__ = ["Fault", "fault_of", "ill_formed", "is_well_formed", "repeated", "well_formed_share", "words_of"]

Fault = Literal["empty", "broken", "looping"]

LONGEST_WORD = 40
LONGEST_LOOP, WORD_REPEATS, RUN_REPEATS = 12, 5, 3
FEWEST_FOR_VARIETY, LEAST_VARIETY = 24, 0.5
_MARKS = re.compile(r"<\|[^|<>\s]{1,40}\|>|<(?:start|end)_of_turn>|</?s>|\[/?INST\]|<unk>")
_SPACED = re.compile(r"[A-Za-z\u00c0-\u024f\u0370-\u03ff\u0400-\u04ff]+")
_URL = re.compile(r"\S*(?:://|www\.)\S*")


@lru_cache(maxsize=2**16)  # configurations say the same, and several rules ask
def fault_of(text: str) -> Fault | None:
    """What is wrong with a text, or None where it is well-formed."""
    if not any(character.isalnum() for character in text):
        return "empty"
    if _is_broken(text):
        return "broken"
    return "looping" if _loops(re.findall(r"\w+(?:['\u2019]\w+)*", text.casefold())) else None


def is_well_formed(text: str) -> bool:
    """Whether nothing is wrong with a text."""
    return fault_of(text) is None


def well_formed_share(completions: Sequence[Sequence[str]]) -> float | None:
    """The share of well-formed texts among all completions of all prompts; None where there are none."""
    texts = [text for given in completions for text in given]
    return sum(map(is_well_formed, texts)) / len(texts) if texts else None


def ill_formed(completions: Sequence[Sequence[str]]) -> list[float]:
    """The share of each prompt's completions that are not well-formed."""
    return [sum(not is_well_formed(text) for text in given) / len(given) for given in completions]


def repeated(completions: Sequence[Sequence[str]], groups: Sequence[str]) -> list[float]:
    """The share of each prompt's completions that answer a prompt of another group as well, word for word.

    Case, white space and punctuation are not told apart. `groups` names each prompt's.
    """
    said: dict[tuple[str, ...], set[str]] = {}
    for given, group in zip(completions, groups, strict=True):
        for text in given:
            said.setdefault(words_of(text), set()).add(group)
    return [sum(len(said[words_of(text)]) > 1 for text in given) / len(given) for given in completions]


def words_of(text: str) -> tuple[str, ...]:
    """What a text says: its words, without case, white space and punctuation."""
    return tuple(re.findall(r"\w+", text.casefold()))


def _is_broken(text: str) -> bool:
    if any(c == "\ufffd" or (unicodedata.category(c) in ("Cc", "Co") and c not in "\t\n\r\x0c") for c in text):
        return True
    if _MARKS.search(text):
        return True
    plain = _URL.sub(" ", text)
    if any(len(word) > LONGEST_WORD for word in _SPACED.findall(plain)):
        return True
    pieces = text.split()
    return sum(not any(c.isalnum() for c in piece) for piece in pieces) > len(pieces) / 2


def _loops(words: Sequence[str]) -> bool:
    if any(_repeats(words, size) for size in range(1, LONGEST_LOOP + 1)):
        return True
    runs = list(zip(words, words[1:], words[2:], strict=False))
    return len(words) >= FEWEST_FOR_VARIETY and len(set(runs)) < LEAST_VARIETY * len(runs)


def _repeats(words: Sequence[str], size: int) -> bool:
    """Whether so many words follow each other several times."""
    wanted = (WORD_REPEATS if size == 1 else RUN_REPEATS) * size - size
    alike = 0
    for i in range(len(words) - size):
        alike = alike + 1 if words[i] == words[i + size] else 0
        if alike >= wanted:
            return True
    return False
