"""Who a user is to a host that asks for a name and a password, by the address itself, the netrc or the keyring.

What is found is for the host that the user named, and for no other that it redirects to.
"""

import netrc
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

__all__ = ["Credentials", "Login"]

_FILES = (".netrc", "_netrc")


@dataclass(frozen=True)
class Login:
    """A name, a password, and where they are from, for messages."""

    user: str
    password: str = field(repr=False)
    origin: str

    @property
    def auth(self) -> httpx2.Auth:
        """The same as HTTP's Basic authentication."""
        return httpx2.BasicAuth(self.user, self.password)


class Credentials:
    """What is known of the user, looked up once for each host and name; threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._given: dict[tuple[str, str], Login | None] = {}
        self._asked: dict[tuple[str, str], Login | None] = {}
        self._problems: dict[str, str] = {}

    def given(self, url: httpx2.URL) -> Login | None:
        """What to send at once: what the address itself holds, else what the netrc says of its host.

        What the keyring had counts from then on.
        """
        if url.password:
            return Login(url.username, url.password, "the address")
        key = (url.host, url.username)
        with self._lock:
            if key not in self._given:
                self._given[key] = self._from_netrc(*key)
            return self._asked.get(key) or self._given[key]

    def asked(self, url: httpx2.URL) -> Login | None:
        """What the keyring has, for a host that refused what was given; an address with a password is final."""
        if url.password:
            return None
        key = (url.host, url.username)
        with self._lock:
            if key not in self._asked:
                self._asked[key] = self._from_keyring(*key)
            return self._asked[key]

    def hint(self, host: str) -> str:
        """Where a user may put what a host asks for, and what is wrong with the places that were looked at."""
        hint = (
            f"give a name and a password in ~/.netrc (machine {host} login NAME password PASSWORD), in the keyring "
            f"(`keyring set {host} NAME`, and NAME@{host} in the address), or as NAME:PASSWORD@{host} in the address"
        )
        return "; ".join([hint, *self._problems.values()])

    def _from_netrc(self, host: str, user: str) -> Login | None:
        path = _netrc_file()
        if path is None:
            return None
        try:
            found = netrc.netrc(path).authenticators(host)
        except netrc.NetrcParseError as error:  # whose text may hold a password
            self._problems["netrc"] = f"{path} can't be read: it is malformed at line {error.lineno}"
            return None
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            self._problems["netrc"] = f"{path} can't be read: {reason}"
            return None
        if found is None or not found[2] or (user and found[0] != user):
            return None
        return Login(found[0], found[2], str(path))

    def _from_keyring(self, host: str, user: str) -> Login | None:
        try:
            import keyring
            import keyring.errors
        except ImportError:
            self._problems["keyring"] = "for the keyring: pip install 'policy-patch-manager[keyring]'"
            return None
        try:
            found = keyring.get_credential(host, user or None)
        except keyring.errors.NoKeyringError:
            self._problems["keyring"] = "this machine has no keyring that works"
            return None
        except Exception as error:  # backends raise what they like
            self._problems["keyring"] = f"the keyring can't be used ({type(error).__name__})"
            return None
        return Login(found.username, found.password, "the keyring") if found is not None else None


def _netrc_file() -> Path | None:
    """The file that NETRC names, else the one in the home; None when there is none."""
    named = os.environ.get("NETRC")
    candidates = [Path(named)] if named else [Path("~").expanduser() / name for name in _FILES]
    return next((path for path in candidates if path.is_file()), None)
