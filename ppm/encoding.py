"""Text files, whatever program wrote them, as UTF-8; and the characters in texts that are never shown as they are."""

import codecs
import re

__all__ = ["CONTROLS", "decode", "without_mark"]

CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Control characters other than line feed and tab, and the marks that reverse the order of what is read."""


def decode(data: bytes) -> str:
    """The text of a file, without its byte order mark. Raises UnicodeDecodeError when it is not UTF-8."""
    return without_mark(data).decode("utf-8")


def without_mark(data: bytes) -> bytes:
    """The same bytes without the byte order mark that some editors put first."""
    return data.removeprefix(codecs.BOM_UTF8)
