"""Text as judges of words compare it: one spelling of everything that looks alike, and where words begin and end.

Lists and texts go through the same normalisation. Words are told apart as their script does it: by spaces and marks in
most, by nothing in Chinese, Japanese and Thai. A combining mark belongs to the letter before it.
"""

import html
import unicodedata
from collections.abc import Iterable

import regex

__all__ = ["WORD", "Phrases", "normal", "spaced", "unmarked"]

_APOSTROPHES = dict.fromkeys(
    map(ord, "\u2019\u2018\u02bc\u00b4`\uff07\u2032\u201b\u02b9\u02bb\u02c8\u055a\ua78c\u1fbd\u2035"), "'"
)
_HYPHENS = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2212\ufe58\ufe63\uff0d"), "-")
# What shows nothing: soft hyphens, zero-width spaces, direction marks, variation selectors. A joiner between two
# pictures makes one of them, and tags after a black flag say whose it is.
_UNSEEN = regex.compile(
    r"(?V1)[\p{Cf}\ufe00-\ufe0f\u034f\u115f\u1160\u3164\uffa0--[\u200d\U000e0020-\U000e007f]]"
    r"|(?<![\p{Extended_Pictographic}\p{Emoji_Modifier}\ufe0f])\u200d|\u200d(?!\p{Extended_Pictographic})"
    r"|(?<!\U0001f3f4[\U000e0020-\U000e007f]{0,16})[\U000e0020-\U000e007f]"
)
_ESCAPE = regex.compile(r"\\([!-/:-@\[-`{-~])")
_LINK = regex.compile(r"!?\[([^\]\n]{0,300})\]\([^)\n]{0,2000}\)")
_TAG = regex.compile(r"(?i)</?(?:b|i|em|strong|u|s|del|ins|code|mark|span|a)(?:\s[^<>]*)?>")
_BREAK = regex.compile(r"(?i)</?(?:br|p|div|li|ul|ol|h[1-6])(?:\s[^<>]*)?/?>")
_LINE_START = regex.compile(r"(?m)^[ \t]*(?:>[ \t]?)*(?:#{1,6}[ \t]+|[-*+\u2022][ \t]+)?")
_EMPHASIS = regex.compile(
    r"~~+|(?<![\p{L}\p{M}\p{N}])(?:\*+(?=\S)|[_`]+)|(?<=\S)\*+(?![\p{L}\p{M}\p{N}*])|[_`]+(?![\p{L}\p{M}\p{N}_`])"
)

_JOINED = r"\p{L}\p{M}\p{N}_"
_SPACELESS = (
    r"\p{Script=Han}\p{Script=Hiragana}\p{Script=Bopomofo}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}"
    r"\p{Script=Myanmar}\p{Script=Tibetan}\p{Script=Javanese}\p{Script=Balinese}"
)
_KATAKANA = r"\p{Script=Katakana}\u30fc"
WORD = rf"[{_JOINED}]"
"""A character that belongs to a word: a letter, a combining mark, a digit, or what joins them."""
# Vowels that are written before or after their consonant and are letters of their own.
_BEFORE = r"\u0e40-\u0e44\u0ec0-\u0ec4"
_AFTER = r"\p{M}\u0e30\u0e32\u0e33\u0e45\u0eb0\u0eb2\u0eb3"
_APART = (
    rf"(?<=[{_SPACELESS}])|(?=[{_SPACELESS}])|(?<=[{_KATAKANA}])(?![{_KATAKANA}])|(?<![{_KATAKANA}])(?=[{_KATAKANA}])"
)
_START = rf"(?:(?<!{WORD})|{_APART})(?<![{_BEFORE}])"
_END = rf"(?:(?!{WORD})|{_APART})(?![{_AFTER}])"


def normal(text: str) -> str:
    """A text in one spelling: compatibility forms (NFKC), letter case, apostrophes, hyphens, and nothing unseen."""
    text = _UNSEEN.sub("", text.translate(_APOSTROPHES).translate(_HYPHENS))
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def unmarked(text: str) -> str:
    """A text without what Markdown and HTML mark it with: emphasis, code, links, headings, lists, escapes."""
    text = html.unescape(_BREAK.sub("\n", _TAG.sub("", text)))
    text = _LINK.sub(r"\1", _ESCAPE.sub(r"\1", text))
    return str(_EMPHASIS.sub("", _LINE_START.sub("", text)))


def spaced(text: str) -> str:
    """A text with one space where white space stands."""
    return " ".join(text.split())


class Phrases:
    """Finds any of some words or phrases in a text: whole ones, whatever the case, the spaces and the marks."""

    def __init__(self, words: Iterable[str]) -> None:
        """Raises ValueError for a word with nothing to find."""
        phrases = {spaced(normal(word)) for word in words}
        if not phrases or "" in phrases:
            raise ValueError("words must be a list of words, or the path of a file under suites/ with one a line")
        self._pattern = regex.compile(rf"(?V1){_START}(?:\L<phrases>){_END}", phrases=phrases)

    def found_in(self, text: str) -> bool:
        """Whether a text has one of the phrases, as it is written or without its Markdown."""
        plain = unmarked(text)
        views = {text, plain, plain.replace("*", "")}  # the last for marks inside a word
        return any(self._pattern.search(spaced(normal(view))) for view in views)

    def without(self, text: str) -> str:
        """A text, normalised and without the phrases."""
        return str(self._pattern.sub(" ", spaced(normal(unmarked(text)))))
