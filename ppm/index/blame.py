"""What TUF's client raises, as errors of ppm's: who is to blame, and what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    SlowRetrievalError,
    UnsignedMetadataError,
)

from ppm.errors import IntegrityError, PpmError, SourceError
from ppm.index.fetch import NotFetched, Refused, Unreachable
from ppm.index.hub import HUB

__all__ = ["blamed", "blaming"]

_DISTRUST = "nothing was taken from it; ask whoever runs the index whether its host was tampered with"
_EXPIRED_PIN = (
    "`ppm source update NAME` moves its pin to what is there now; if that is no newer, its owner has to run "
    "`ppm index refresh`"
)
_EXPIRED = "its owner has to run `ppm index refresh`; if that was done, somebody withholds what is newer"


def blamed(error: Exception, where: str) -> PpmError:
    """The error to raise for one of TUF's; `where` is the index."""
    for kind, (message, hint) in _ATTACKS.items():
        if isinstance(error, kind):
            if isinstance(error, ExpiredMetadataError) and where.startswith(HUB):
                hint = _EXPIRED_PIN
            return IntegrityError(message.format(error), context=where, hint=hint)
    if isinstance(error, Refused):
        return SourceError(str(error), context=where, hint=error.hint)
    if isinstance(error, DownloadHTTPError):
        hint = "check its address with `ppm source list`; its owner can check it with `ppm index verify`"
        return SourceError(f"lacks a file: {error}", context=where, hint=hint)
    if isinstance(error, NotFetched):
        hint = "run this once with a network, and without --offline"
        return SourceError(
            "is not asked now, and what this needs of it was not fetched before", context=where, hint=hint
        )
    assert isinstance(error, DownloadError)
    if isinstance(error, Unreachable) and error.begun:
        hint = "run the same command again, or ask whoever runs the index"
        return SourceError(f"a download broke off: {error}", context=where, hint=hint)
    hint = "check the network and its address (`ppm source list`), or use --offline"
    return SourceError(f"can't be reached: {error}", context=where, hint=hint)


@contextmanager
def blaming(where: str) -> Iterator[None]:
    """Raise what TUF's client raises in the block as SourceError or IntegrityError about an index."""
    try:
        yield
    except (DownloadError, RepositoryError) as error:
        raise blamed(error, where) from error
    except ValueError as error:
        raise IntegrityError(f"is malformed: {error}", context=where) from error


_ATTACKS: dict[type[Exception], tuple[str, str]] = {
    DownloadLengthMismatchError: ("sends more than it may: {}", _DISTRUST),
    SlowRetrievalError: ("sends too slowly to be of use: {}", "try again; if it stays so, ask whoever runs the index"),
    ExpiredMetadataError: ("is out of date: {}", _EXPIRED),
    UnsignedMetadataError: ("is not signed by the keys that it must be signed by: {}", _DISTRUST),
    BadVersionNumberError: ("offers an older state than it did before, or mixes two: {}", _DISTRUST),
    LengthOrHashMismatchError: ("has a file that is not the signed one: {}", _DISTRUST),
    RepositoryError: ("is malformed: {}", _DISTRUST),
}
"""From the most special to the most general."""
