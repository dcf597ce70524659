"""The texts of a licence as people read them: a page of HTML becomes plain paragraphs."""

import re
from collections.abc import Mapping
from html.parser import HTMLParser

__all__ = ["plain_terms"]

_BREAKS = {"p", "h1", "h2", "h3", "h4", "li", "br", "div", "tr"}
_SILENT = {"script", "style", "noscript", "template", "nav", "header", "footer", "button", "svg", "head"}
_BODY = "article"


def plain_terms(texts: Mapping[str, bytes]) -> str:
    """All texts one after the other, each under its name."""
    parts = []
    for name, data in texts.items():
        text = data.decode("utf-8", "replace")
        parts.append(f"{name}\n\n{_plain(text) if name.endswith(('.html', '.htm')) else text.strip()}")
    return "\n\n".join(parts)


def _plain(page: str) -> str:
    reader = _Reader()
    reader.feed(page)
    reader.close()
    lines = (" ".join(line.split()) for line in "".join(reader.article or reader.whole).split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


class _Reader(HTMLParser):
    """Collects the words of a page, those of its article apart."""

    def __init__(self) -> None:
        super().__init__()
        self.whole: list[str] = []
        self.article: list[str] = []
        self.silent = self.inside = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.silent += tag in _SILENT
        self.inside += tag == _BODY
        if tag in _BREAKS:
            self._add("\n\n" if tag != "br" else "\n")

    def handle_endtag(self, tag: str) -> None:
        self.silent = max(0, self.silent - (tag in _SILENT))
        self.inside = max(0, self.inside - (tag == _BODY))

    def handle_data(self, data: str) -> None:
        if not self.silent:
            self._add(data.replace("\n", " "))

    def _add(self, text: str) -> None:
        self.whole.append(text)
        if self.inside:
            self.article.append(text)
