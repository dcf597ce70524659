"""Pages for a browser: one way to make HTML, in which what others wrote stays text.

A page loads nothing that is not named, and its policy lets in the very style and script that it has. Knows nothing of
what pages are about.
"""

import base64
import hashlib
import json
import re
from functools import cache
from urllib.parse import urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ppm.encoding import CONTROLS

__all__ = ["link_of", "render", "script"]


_LONGEST = 300
"""How many characters of a text are shown that nothing else bounds."""


def render(template: str, **values: object) -> bytes:
    """The page of a template below `ppm/`, which extends `page.html`, in UTF-8.

    Every value is escaped. Control characters and marks that reverse the order of letters are shown as their codes.
    """
    text = _environment().get_template(template).render(**values)
    return CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", text).encode("utf-8", errors="replace")


def script(value: object) -> Markup:
    """A value as JavaScript, which no text in it can end."""
    return Markup(json.dumps(value, sort_keys=True).replace("<", "\\u003c"))


def link_of(text: str) -> str | None:
    """An address that a page may link to, or None: of the web, and spelled so that it is read as it is meant."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return None
    plain = text.isprintable() and not re.search(r"\s", text)
    return text if parts.scheme in ("https", "http") and parts.hostname and plain else None


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("ppm", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )
    made.globals["policy"] = _policy
    made.filters["link"] = link_of
    made.filters["short"] = _short
    return made


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _policy(style: str, code: str, *, files: bool) -> Markup:
    """The content security policy of a page with one style and one script; `files` are scripts beside it."""
    allowed = [_digest(code)] if code else []
    if files:
        allowed.append("'self'")
    rules = [
        "default-src 'none'",
        f"style-src {_digest(style)}",
        *([f"script-src {' '.join(allowed)}"] if allowed else []),
        "base-uri 'none'",
        "form-action 'none'",
    ]
    return Markup("; ".join(rules))


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
