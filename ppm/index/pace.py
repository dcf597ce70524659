"""How fast a file comes in: too slowly to be of use is an error, and what takes long is told to whoever watches."""

from collections.abc import Callable, Iterator
from types import TracebackType
from urllib.parse import urlsplit

from tuf.api.exceptions import SlowRetrievalError

from ppm.index.partial import Partial
from ppm.index.trust import Access

__all__ = ["Pace"]

SLOWEST = 4096
"""Bytes a second that a file must come in with, once the time for an answer has passed."""
TELL_AFTER = 2.0
"""Seconds after which a download is told of."""
_KILOBYTE = 1000


class Pace:
    """The pace of one file at an address `where`, over all the answers that it takes; `clock` gives seconds."""

    def __init__(self, where: str, access: Access, clock: Callable[[], float]) -> None:
        self._where = where
        self._name = _name(where)
        self._access = access
        self._clock = clock
        self._began = clock()
        self._spent, self._received = 0.0, 0
        self._told: tuple[str, int] | None = None

    def __enter__(self) -> "Pace":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finish()

    def timed(self, pieces: Iterator[bytes], partial: Partial, total: int) -> Iterator[bytes]:
        """The pieces of one answer; `total` is the bytes of the file. Raises SlowRetrievalError when they drip."""
        last = self._clock()
        for piece in pieces:
            now = self._clock()
            self._spent += now - last
            self._received += len(piece)
            if self._spent > self._access.timeout + self._received / SLOWEST:
                raise SlowRetrievalError(f"{self._where} comes in slower than {SLOWEST:,} bytes a second")
            last = now
            if now - self._began >= TELL_AFTER:
                done = partial.size + len(piece)
                self._tell(f"Downloading {self._name} (kB)", done // _KILOBYTE, max(total // _KILOBYTE, 1))
            yield piece

    def waits(self, seconds: float) -> None:
        """Tell that the server is asked again in so many seconds, where that is long."""
        if seconds >= TELL_AFTER:
            self._tell(f"Waiting {seconds:.0f} s for {urlsplit(self._where).hostname}, which asks for that", 0, 1)

    def _finish(self) -> None:
        """Tell that what was told of is over."""
        if self._told is not None:
            label, total = self._told
            self._access.progress(label, total, total)
            self._told = None

    def _tell(self, label: str, done: int, total: int) -> None:
        """Tell of what is not over, however little of it is left."""
        if self._told is not None and self._told[0] != label:
            self._finish()
        self._told = label, total
        self._access.progress(label, min(done, total - 1), total)


def _name(address: str) -> str:
    """The file's name, without the digest that is before the names of an index's files."""
    name = address.rpartition("/")[2]
    digest, _, rest = name.partition(".")
    return rest if len(digest) == 64 else name
