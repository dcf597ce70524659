"""Files of an index as they come in: over HTTP or from a folder, bounded in size and time.

What comes is not looked into here. Proxies are those that the environment names.
"""

import hashlib
import math
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import httpx2
from tuf.api.exceptions import DownloadError, DownloadHTTPError, DownloadLengthMismatchError, SlowRetrievalError
from tuf.ngclient.fetcher import FetcherInterface

from ppm.index.credentials import Credentials, Login
from ppm.index.pace import Pace
from ppm.index.partial import Partial, kept_partial
from ppm.index.trust import Access, shown_url
from ppm.package import MAX_PACKAGE_BYTES

__all__ = [
    "ALONE",
    "Fetcher",
    "FolderFetcher",
    "HttpFetcher",
    "NotFetched",
    "OfflineFetcher",
    "Refused",
    "Unreachable",
]

PAUSES = (0.2, 0.8)
"""Seconds before the second and the third try, which is the last unless something came."""
LONGEST_PAUSE = 30.0
"""Seconds that a server may ask ppm to wait before it is asked again."""
SOMETHING = 256 * 2**10
"""Bytes more of a file, after which the tries are counted anew."""
MOST_REDIRECTS = 5
_PIECE = 64 * 2**10
_WORTH_ANOTHER_TRY = (408, 425, 429, 500, 502, 503, 504)
_RANGE = re.compile(r"bytes (\d{1,12})-\d{1,12}/(?:\d{1,12}|\*)")
ALONE = httpx2.Auth()
"""No name and no password, not even those that an address holds to which a server redirects."""


class Unreachable(DownloadError):
    """Nobody answers, or with a failure of the server's own: what is cached may serve meanwhile.

    `wait` is how many seconds to wait at least before another try, infinity where none would help. `begun` says whether
    a part of what was asked for has come, in this try or an earlier one.
    """

    def __init__(self, message: str, wait: float = 0.0, *, begun: bool = False) -> None:
        super().__init__(message)
        self.wait = wait
        self.begun = begun


class NotFetched(DownloadError):
    """Something is needed that was not fetched while the index could be reached."""


class Refused(DownloadHTTPError):
    """The server wants to know who asks, or does not let this one in, or the like; `hint` is what the user can do."""

    def __init__(self, message: str, status_code: int, hint: str) -> None:
        super().__init__(message, status_code)
        self.hint = hint


class Fetcher(FetcherInterface):
    """Takes files by their addresses."""

    def download_known(self, url: str, most: int, sha256: str) -> bytes:
        """A file of at most so many bytes whose hexadecimal digest is known, which the caller checks.

        Raises DownloadError.
        """
        return self.download_bytes(url, most)


class HttpFetcher(Fetcher):
    """Takes files over HTTP(S), as `access` says. What breaks off is gone on with, by the next command too.

    `clock` gives seconds, `pause` waits for some.
    """

    def __init__(
        self,
        access: Access,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._access = access
        self._clock = clock
        self._pause = pause
        self._credentials = Credentials()
        self._client: httpx2.Client | None = None

    def _fetch(self, url: str) -> Iterator[bytes]:
        yield self.download_bytes(url, MAX_PACKAGE_BYTES)

    def download_bytes(self, url: str, max_length: int) -> bytes:
        return self._taken(url, max_length, Partial())

    def download_known(self, url: str, most: int, sha256: str) -> bytes:
        with kept_partial(self._access.partials, sha256, most) as partial:
            before = partial.size
            try:
                data = self._whole(url, most, partial)
            except DownloadLengthMismatchError:
                if not before:
                    raise
                data = b""
            if before and hashlib.sha256(data).hexdigest() != sha256:
                # What was there was wrong, or what came does not belong to it.
                partial.restart()
                data = self._whole(url, most, partial)
            partial.restart()
            return data

    def _whole(self, url: str, most: int, partial: Partial) -> bytes:
        """A file of which some may be there already, or all."""
        if partial.size and hashlib.sha256(partial.content()).hexdigest() == partial.digest:
            return partial.content()
        try:
            return self._taken(url, most, partial)
        except DownloadLengthMismatchError:
            partial.restart()
            raise

    def _taken(self, url: str, most: int, partial: Partial) -> bytes:
        """A file; where an answer breaks off, the next one goes on from there. Raises DownloadError."""
        furthest, tries, begun = partial.size, 0, False
        with Pace(shown_url(url), self._access, self._clock) as pace:
            while True:
                try:
                    self._go_on(url, most, partial, pace)
                    return partial.content()
                except Unreachable as error:
                    begun = error.begun = begun or error.begun
                    if partial.size >= furthest + SOMETHING:
                        furthest, tries = partial.size, 0
                    if tries == len(PAUSES) or math.isinf(error.wait):
                        raise
                    seconds = max(PAUSES[tries], error.wait)
                    pace.waits(seconds)
                    self._pause(seconds)
                    tries += 1

    def _go_on(self, url: str, most: int, partial: Partial, pace: Pace) -> None:
        """Take what is lacking of a file. Raises Unreachable where another try may help."""
        if not partial.can_go_on:
            partial.restart()
        headers = {"Range": f"bytes={partial.size}-"} if partial.size else {}
        if partial.size and partial.etag:
            headers["If-Range"] = partial.etag
        begun = False
        try:
            with self._answer(url, headers) as response:
                self._check(response, partial)
                total = min(most, partial.size + _length(response)) if _length(response) else most
                for piece in pace.timed(response.iter_raw(), partial, total):
                    begun = True
                    if partial.size + len(piece) > most:
                        raise DownloadLengthMismatchError(f"{shown_url(url)} has more than {most:,} bytes")
                    partial.add(piece)
        except httpx2.ReadTimeout as error:
            if begun and not partial.can_go_on:
                raise SlowRetrievalError(f"{shown_url(url)} stopped in the middle") from error
            what = "nothing more came" if begun else "no answer"
            raise Unreachable(f"{what} within {self._access.timeout:g} seconds", begun=begun) from error
        except httpx2.InvalidURL as error:  # whose text may hold a part of a password
            raise DownloadError("its address is none") from error
        except httpx2.HTTPError as error:
            raise Unreachable(str(error) or type(error).__name__, begun=begun) from error

    def _check(self, response: httpx2.Response, partial: Partial) -> None:
        """Prepare for what an answer brings. Raises DownloadError for one without the file."""
        code = response.status_code
        if code == httpx2.codes.OK:
            partial.restart(response.headers.get("etag", ""))
            return
        where = shown_url(str(response.url.copy_with(query=None)))  # which is a password in some addresses
        if code == httpx2.codes.PARTIAL_CONTENT:
            begins = _RANGE.fullmatch(response.headers.get("content-range", ""))
            if begins is None or int(begins[1]) != partial.size:
                partial.restart()
                raise Unreachable(f"{where} answers with another part than it was asked for")
            return
        if code == httpx2.codes.REQUESTED_RANGE_NOT_SATISFIABLE and partial.size:
            partial.restart()
            raise Unreachable(f"{where} does not have the rest of it")
        if code in _WORTH_ANOTHER_TRY:
            raise Unreachable(f"{where} answers {code}", _wait(response.headers.get("retry-after", "")))
        raise DownloadHTTPError(f"{where} answers {code}", code)

    @contextmanager
    def _answer(self, url: str, headers: dict[str, str]) -> Iterator[httpx2.Response]:
        """The answer to a request, after redirects; the user's name and password go to its own host alone.

        Nothing is read of the answers in between, which may be endless.
        """
        client = self._connected()
        response, login = self._first(client, url, headers)
        try:
            refusal = self._refusal(response, login)
            if refusal is not None:
                raise refusal
            for _ in range(MOST_REDIRECTS):
                if response.next_request is None:
                    break
                response.close()
                response = client.send(response.next_request, stream=True, auth=ALONE, follow_redirects=False)
            yield response
        finally:
            response.close()

    def _first(self, client: httpx2.Client, url: str, headers: dict[str, str]) -> tuple[httpx2.Response, Login | None]:
        """The answer of the host itself, and who it was told that the user is."""
        address = httpx2.URL(url)
        login = self._credentials.given(address)
        response = self._sent(client, address, headers, login)
        if response.status_code == httpx2.codes.UNAUTHORIZED:
            other = self._credentials.asked(address)
            if other is not None and other != login:
                response.close()
                login = other
                response = self._sent(client, address, headers, login)
        return response, login

    def _sent(
        self, client: httpx2.Client, address: httpx2.URL, headers: dict[str, str], login: Login | None
    ) -> httpx2.Response:
        request = client.build_request("GET", address.copy_with(username=None, password=None), headers=headers)
        auth = login.auth if login is not None else ALONE
        return client.send(request, stream=True, auth=auth, follow_redirects=False)

    def _refusal(self, response: httpx2.Response, login: Login | None) -> Refused | None:
        """The error for what the host itself answered, where the user can do something about it."""
        host, code = response.url.host, response.status_code
        if code not in (httpx2.codes.UNAUTHORIZED, httpx2.codes.FORBIDDEN):
            return None
        if login is not None:
            message = f"{host} does not accept the name and password from {login.origin} ({code})"
        else:
            message = f"{host} wants a name and a password ({code})"
        return Refused(message, code, self._credentials.hint(host))

    def _connected(self) -> httpx2.Client:
        if self._client is None:
            try:
                # No compression: what is measured is what is signed.
                self._client = httpx2.Client(
                    timeout=self._access.timeout, headers={"Accept-Encoding": "identity", "User-Agent": "ppm"}
                )
            except (ValueError, ImportError, httpx2.InvalidURL):  # whose text may hold the proxy's password
                raise DownloadError("the proxy that the environment names can't be used") from None
        return self._client


def _length(response: httpx2.Response) -> int:
    """How many bytes an answer says that it brings, 0 where it does not."""
    text = response.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0


def _wait(text: str) -> float:
    """The seconds that a server asks to wait (Retry-After: seconds or a date), at most LONGEST_PAUSE."""
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), LONGEST_PAUSE)
    try:
        then = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    seconds = (then.replace(tzinfo=then.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), LONGEST_PAUSE)


class FolderFetcher(Fetcher):
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


class OfflineFetcher(Fetcher):
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
