"""A moment that a user names, such as the date after which nothing is taken."""

import re
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

from ppm.errors import RequestError

__all__ = ["Moment"]

_SPAN = re.compile(r"(\d{1,4}) *(hour|day|week)s?", re.ASCII)


@dataclass(frozen=True)
class Moment:
    """A moment with its time zone; `text` is how the user put it."""

    at: datetime
    text: str = field(compare=False)

    @staticmethod
    def from_text(text: str, now: datetime | None = None) -> "Moment":
        """ISO 8601, in UTC unless it says otherwise; a day means all of it. Or so long before now, as in `7 days`.

        Raises RequestError.
        """
        span = _SPAN.fullmatch(text.strip())
        if span is not None:
            return Moment((now or datetime.now(UTC)) - timedelta(**{f"{span[2]}s": int(span[1])}), text)
        with suppress(ValueError):
            return Moment(datetime.combine(date.fromisoformat(text), time.max, UTC), text)
        try:
            at = datetime.fromisoformat(text)
        except ValueError as error:
            hint = "write it as 2026-06-01, as 2026-06-01T12:00:00Z, or as a span before now, such as 7 days"
            raise RequestError(f"{text!r} is not a date", hint=hint) from error
        return Moment(at if at.tzinfo else at.replace(tzinfo=UTC), text)

    def to_toml(self) -> str:
        return self.text

    def __str__(self) -> str:
        return self.text
