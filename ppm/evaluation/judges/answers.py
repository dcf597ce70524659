"""Compares an answer with what was expected of it, piece by piece: words, numbers and symbols.

Letter case, punctuation, Markdown and the separators of thousands make no difference; signs, decimals and symbols do.
What stands close to a piece belongs to it, so "C" is not how "C++" begins, and "1" not how "1.5" does.
"""

from dataclasses import dataclass

import regex

from ppm.evaluation.judges.text import normal, spaced, unmarked

__all__ = ["begins_with", "holds"]

_NARROW_SPACE = regex.compile(r"(?<=\d)[\u00a0\u2007\u2009\u202f](?=\d{3}(?!\d))")
_RAISED = regex.compile(r"[\u2070\u00b9\u00b2\u00b3\u2074-\u2079\u207b]+")
_FRACTION = regex.compile(r"(?<=\d)(?=[\u00bc-\u00be\u2150-\u215e])")
_TRADE = regex.compile("[\u2122\u2120\u00ae\u00a9]")
_MATH = regex.compile(r"\$(?=\S)([^$\n]*[^$\s])\$(?!\d)")
_THOUSANDS = regex.compile(r"(?<![\d.,'])([1-9]\d{0,2}(?:,\d{2,3})*,\d{3}|[1-9]\d{0,2}(?:'\d{3})+)(?![,']?\d)")
_SPACED_UNIT = regex.compile(r"(?<=\d)\s+(?=[%\u2030\u20ac\u00b0])")
_SPACELESS = (
    r"\p{Script=Han}\p{Script=Hiragana}\p{Script=Bopomofo}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}"
    r"\p{Script=Myanmar}\p{Script=Tibetan}"
)
# A piece: a syllable of a script without spaces; a number; a word; or one symbol. A hyphen is a symbol where it is a
# sign or stands between digits. What else stands there is punctuation.
_PIECE = regex.compile(
    rf"""(?V1)(?x)
      (?P<syllable> [\u0e40-\u0e44\u0ec0-\u0ec4]? [[{_SPACELESS}]--\p{{M}}] [\p{{M}}\u0e30\u0e32\u0e33\u0e45\u0eb0]* )
    | (?P<word> \d+ (?: [.,]\d+ )* (?: e[+-]?\d+ )? [[\p{{L}}\p{{M}}\p{{N}}_]--[{_SPACELESS}]]*
              | \.\d+
              | [[\p{{L}}\p{{M}}\p{{N}}_]--[{_SPACELESS}]]+ )
    | (?P<symbol> \p{{S}}\p{{M}}*(?:\u200d?\p{{So}}\p{{M}}*|\p{{Emoji_Modifier}}|[\U000e0020-\U000e007f])*
              | [\#%&@*/\\^\u2030]
              | (?<![\p{{L}}\p{{M}}]) [-\u2013] (?=[.]?\d) )
    """
)
# Signs between two things that are whole by themselves.
_RELATIONS = frozenset("=<>\u2248\u2264\u2265\u2260\u2192|\\")


@dataclass(frozen=True)
class _Piece:
    """One piece of an answer. `close`: whether it touches the piece before it, and would be another thing without."""

    text: str
    close: bool


def _pieces(text: str) -> list[_Piece]:
    text = _FRACTION.sub(" ", _NARROW_SPACE.sub("", _TRADE.sub(" ", text)))
    text = _RAISED.sub(lambda found: "^" + found[0], _MATH.sub(r"\1", unmarked(text)))
    text = normal(text).replace("\u2044", "/")
    text = _THOUSANDS.sub(lambda found: regex.sub(r"[,']", "", found[0]), text)
    text = _SPACED_UNIT.sub("", text)
    pieces: list[_Piece] = []
    end, before = -1, ""
    for found in _PIECE.finditer(text):
        piece = found[0].replace("\u2013", "-")
        kind = found.lastgroup or ""
        loose = "syllable" in (kind, before) or bool({piece, pieces[-1].text if pieces else ""} & _RELATIONS)
        pieces.append(_Piece(piece, found.start() == end and not loose))
        end, before = found.end(), kind
    return pieces


def _stands_at(given: list[_Piece], wanted: list[_Piece], start: int) -> bool:
    """Whether the wanted pieces stand in an answer from a place on, and are whole there."""
    end = start + len(wanted)
    same = [piece.text for piece in given[start:end]] == [piece.text for piece in wanted]
    cut = (start > 0 and given[start].close) or (end < len(given) and given[end].close)
    return same and not cut


def begins_with(answer: str, expected: str) -> bool:
    """Whether an answer begins with the expected text."""
    given, wanted = _pieces(answer), _pieces(expected)
    if not wanted:
        return _raw(answer, expected)
    return len(given) >= len(wanted) and _stands_at(given, wanted, 0)


def holds(answer: str, expected: str) -> bool:
    """Whether an answer has the expected text anywhere."""
    given, wanted = _pieces(answer), _pieces(expected)
    if not wanted:
        return _raw(answer, expected, anywhere=True)
    return any(_stands_at(given, wanted, start) for start in range(len(given) - len(wanted) + 1))


def _raw(answer: str, expected: str, *, anywhere: bool = False) -> bool:
    """The comparison for an expected text of nothing but punctuation, which stands for itself."""
    wanted, given = spaced(normal(expected)), spaced(normal(answer))
    return bool(wanted) and (wanted in given if anywhere else given.startswith(wanted))
