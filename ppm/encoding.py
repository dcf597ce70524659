"""Text files, whatever program wrote them: UTF-8, with or without a byte order mark."""

import codecs

__all__ = ["decode", "without_mark"]


def decode(data: bytes) -> str:
    """The text of a file, without its byte order mark. Raises UnicodeDecodeError when it is not UTF-8."""
    return without_mark(data).decode("utf-8")


def without_mark(data: bytes) -> bytes:
    """The same bytes without the byte order mark that some editors put first."""
    return data.removeprefix(codecs.BOM_UTF8)
