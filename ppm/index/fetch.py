"""Files of an index as they come in: over HTTP or from a folder, bounded in size and time.

What comes is not looked into here. Proxies are those that the environment names.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import httpx2
from tuf.api.exceptions import DownloadError, DownloadHTTPError, SlowRetrievalError
from tuf.ngclient.fetcher import FetcherInterface

from ppm.index.trust import shown_url

__all__ = ["FolderFetcher", "HttpFetcher", "NotFetched", "OfflineFetcher", "Unreachable"]

PAUSES = (0.2, 0.8)
"""Seconds before the second and the third try, which is the last."""
SLOWEST = 4096
"""Bytes a second that a file must come in with, once the time for an answer has passed."""
MOST_REDIRECTS = 5
_PIECE = 64 * 2**10
_WORTH_ANOTHER_TRY = (408, 425, 429, 500, 502, 503, 504)


class Unreachable(DownloadError):
    """Nobody answers, or with a failure of the server's own: what is cached may serve meanwhile."""


class NotFetched(DownloadError):
    """Something is needed that was not fetched while the index could be reached."""


class HttpFetcher(FetcherInterface):
    """Takes files over HTTP(S); `timeout` is in seconds, for a connection, for an answer, and between its pieces."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._client: httpx2.Client | None = None

    def _fetch(self, url: str) -> Iterator[bytes]:
        """The pieces of a file; where an answer breaks off, the next one goes on from there."""
        sent = 0
        for pause in (*PAUSES, None):
            skipped = 0
            try:
                for piece in self._answer(url):
                    fresh = piece[max(0, sent - skipped) :]
                    skipped += len(piece)
                    if fresh:
                        sent = skipped
                        yield fresh
                return
            except Unreachable:
                if pause is None:
                    raise
                time.sleep(pause)

    def _answer(self, url: str) -> Iterator[bytes]:
        """The pieces of one answer. Raises Unreachable where another try may help."""
        begun = False
        try:
            with self._connected().stream("GET", url) as response:
                if response.status_code in _WORTH_ANOTHER_TRY:
                    raise Unreachable(f"{shown_url(url)} answers {response.status_code}")
                if response.status_code != httpx2.codes.OK:
                    raise DownloadHTTPError(f"{shown_url(url)} answers {response.status_code}", response.status_code)
                for piece in self._in_time(url, response.iter_raw()):
                    begun = True
                    yield piece
        except httpx2.ReadTimeout as error:
            if begun:
                raise SlowRetrievalError(f"{shown_url(url)} stopped in the middle") from error
            raise Unreachable(f"no answer within {self._timeout:g} seconds") from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise Unreachable(str(error) or type(error).__name__) from error

    def _in_time(self, url: str, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """The pieces. Raises SlowRetrievalError when they drip."""
        start, received = time.monotonic(), 0
        for piece in pieces:
            received += len(piece)
            if time.monotonic() - start > self._timeout + received / SLOWEST:
                raise SlowRetrievalError(f"{shown_url(url)} comes in slower than {SLOWEST:,} bytes a second")
            yield piece

    def _connected(self) -> httpx2.Client:
        if self._client is None:
            try:
                # No compression: what is measured is what is signed.
                self._client = httpx2.Client(
                    timeout=self._timeout,
                    follow_redirects=True,
                    max_redirects=MOST_REDIRECTS,
                    headers={"Accept-Encoding": "identity", "User-Agent": "ppm"},
                )
            except (ValueError, ImportError, httpx2.InvalidURL):  # whose text may hold the proxy's password
                raise DownloadError("the proxy that the environment names can't be used") from None
        return self._client


class FolderFetcher(FetcherInterface):
    """Takes files of a `file://` address."""

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = Path(url2pathname(urlsplit(url).path))
        if not path.is_file():
            raise DownloadHTTPError(f"{path} does not exist", 404)
        try:
            with path.open("rb") as stream:
                while piece := stream.read(_PIECE):
                    yield piece
        except OSError as error:
            raise Unreachable(f"{path} can't be read: {error.strerror}") from error


class OfflineFetcher(FetcherInterface):
    """Answers as if nothing had changed since the metadata in a folder was fetched, and has nothing else."""

    def __init__(self, metadata: Path) -> None:
        self._metadata = metadata

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = url.rpartition("/")[2]
        if name.endswith(".root.json"):
            raise DownloadHTTPError("there is no newer root offline", 404)
        path = self._metadata / name
        if name != "timestamp.json" or not path.is_file():
            raise NotFetched(name)
        yield path.read_bytes()
