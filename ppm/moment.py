"""A moment that a user names, such as the date after which nothing is taken."""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from ppm.errors import RequestError

__all__ = ["Moment"]

_DAY = re.compile(r"\d{4}-?\d\d-?\d\d")


@dataclass(frozen=True)
class Moment:
    """A moment with its time zone; `text` is how the user put it."""

    at: datetime
    text: str = field(compare=False)

    @staticmethod
    def from_text(text: str) -> "Moment":
        """ISO 8601, in UTC unless it says otherwise; a day means all of it. Raises RequestError."""
        try:
            at = datetime.fromisoformat(text)
        except ValueError as error:
            hint = "write it as 2026-06-01, or as 2026-06-01T12:00:00Z"
            raise RequestError(f"{text!r} is not a date", hint=hint) from error
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return Moment(at + timedelta(days=1, microseconds=-1) if _DAY.fullmatch(text) else at, text)

    def to_toml(self) -> str:
        return self.text

    def __str__(self) -> str:
        return self.text
