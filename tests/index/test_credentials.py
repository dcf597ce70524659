"""Hosts that ask who the user is: the address, the netrc or the keyring says so, to no other host, in no message."""

import stat
import sys

import keyring
import pytest
from commands import ppm
from index.indexes import Says, one_patch, serve, source_of
from keyring.backend import KeyringBackend
from keyring.backends.fail import Keyring as NoKeyring
from packages import make_package
from tuf.api.exceptions import DownloadError

from ppm.errors import SourceError
from ppm.index.fetch import HttpFetcher
from ppm.index.trust import Access, shown_url, trusted_indexes
from ppm.names import without_logins

LOGIN = ("ann", "s3cret:@/")
DATA = b"what is wanted"


@pytest.fixture(autouse=True)
def nobody(tmp_path, monkeypatch):
    """A user without a netrc and a keyring."""
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.delenv("NETRC", raising=False)
    before = keyring.get_keyring()
    keyring.set_keyring(NoKeyring())
    yield
    keyring.set_keyring(before)


@pytest.fixture
def files(tmp_path):
    """A server of a folder with one file, `data`, and the file's address."""
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "data").write_bytes(DATA)
    with serve(tmp_path / "files") as (host, url):
        yield host, f"{url}/data"


def netrc_of(path, user, password):
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"machine 127.0.0.1 login {user} password {password}\n")


class OneKey(KeyringBackend):
    """A keyring with one name and password for the loopback."""

    priority = 1

    def __init__(self, user, password):
        super().__init__()
        self.known = (user, password)
        self.asked = []

    def get_credential(self, service, username):
        self.asked.append((service, username))
        found = service == "127.0.0.1" and username in (None, self.known[0])
        return keyring.credentials.SimpleCredential(*self.known) if found else None

    def get_password(self, service, username):
        raise NotImplementedError

    def set_password(self, service, username, password):
        raise NotImplementedError


@pytest.mark.parametrize("place", ["netrc", "NETRC", "address", "keyring"])
def test_an_index_that_asks_who_you_are(tmp_path, monkeypatch, place):
    owned = one_patch(tmp_path / "index")
    with serve(tmp_path / "index") as (host, url):
        host.login = LOGIN
        if place == "netrc":
            netrc_of(tmp_path / "user" / ".netrc", *LOGIN)
        elif place == "NETRC":
            netrc_of(tmp_path / "elsewhere" / "netrc", *LOGIN)
            monkeypatch.setenv("NETRC", str(tmp_path / "elsewhere" / "netrc"))
        elif place == "keyring":
            keyring.set_keyring(OneKey(*LOGIN))
        else:
            url = url.replace("//", "//ann:s3cret%3A%40%2F@")
        source = source_of(tmp_path / "home", url, owned.first_root)
        assert source.fetch(source.named("toxicity")[0]) == make_package().data
        assert "s3cret" not in source.location
        if place == "keyring":
            assert len(keyring.get_keyring().asked) == 1
            assert sum("authorization" not in one for one in host.headers) == 1


def test_who_is_not_let_in_is_told_where_to_say_who_they_are(tmp_path):
    owned = one_patch(tmp_path / "index")
    with serve(tmp_path / "index") as (host, url):
        host.login = LOGIN
        with pytest.raises(SourceError, match=r"127.0.0.1 wants a name and a password \(401\)") as caught:
            source_of(tmp_path / "home", url, owned.first_root).named("toxicity")
        for place in ("machine 127.0.0.1 login", "keyring set 127.0.0.1", "NAME:PASSWORD@"):
            assert place in caught.value.hint
        with pytest.raises(SourceError) as caught:
            source_of(tmp_path / "home", url.replace("//", "//ann@"), owned.first_root).named("toxicity")
        assert "this machine has no keyring that works" in caught.value.hint
        netrc_of(tmp_path / "user" / ".netrc", "ann", "wrong-one")
        with pytest.raises(
            SourceError, match=r"does not accept the name and password from .*\.netrc \(401\)"
        ) as caught:
            source_of(tmp_path / "home", url, owned.first_root).named("toxicity")
        assert "wrong-one" not in str(caught.value)
        host.login = None
        host.instead["metadata/timestamp.json"] = 403
        with pytest.raises(SourceError, match=r"\(403\)"):
            source_of(tmp_path / "home", url, owned.first_root).named("toxicity")
        (tmp_path / "user" / ".netrc").write_text("machine x login y\nwrong-one word\n")
        with pytest.raises(SourceError, match="wants a name") as caught:
            source_of(tmp_path / "home", url, owned.first_root).named("toxicity")
        assert "netrc can't be read: it is malformed at line 2" in caught.value.hint
        assert "wrong-one" not in str(caught.value)


def test_the_keyring_is_asked_where_the_netrc_was_wrong_and_for_the_name_in_the_address(files, tmp_path):
    host, url = files
    host.login = LOGIN
    netrc_of(tmp_path / "user" / ".netrc", "ann", "old")
    keyring.set_keyring(OneKey(*LOGIN))
    assert HttpFetcher(Access()).download_bytes(url, len(DATA)) == DATA
    assert HttpFetcher(Access()).download_bytes(url.replace("//", "//ann@"), len(DATA)) == DATA
    assert keyring.get_keyring().asked == [("127.0.0.1", None), ("127.0.0.1", "ann")]
    with pytest.raises(DownloadError, match="401"):
        HttpFetcher(Access()).download_bytes(url.replace("//", "//bob@"), len(DATA))
    with pytest.raises(DownloadError, match="from the address"):  # which is final
        HttpFetcher(Access()).download_bytes(url.replace("//", "//ann:wrong@"), len(DATA))


def test_without_the_library_the_hint_says_how_to_get_it(files, monkeypatch):
    host, url = files
    host.login = LOGIN
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(DownloadError) as caught:
        HttpFetcher(Access()).download_bytes(url, len(DATA))
    assert "pip install 'policy-patch-manager[keyring]'" in caught.value.hint


def test_a_redirect_takes_no_password_along(files, tmp_path):
    host, url = files
    netrc_of(tmp_path / "user" / ".netrc", *LOGIN)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "data").write_bytes(DATA)
    with serve(tmp_path / "other") as (other, elsewhere):
        host.instead["data"] = Says(
            302, {"location": elsewhere.replace("//", "//eve:planted@") + "/data"}, endless=True
        )
        assert HttpFetcher(Access()).download_bytes(url, len(DATA)) == DATA
        assert host.headers[-1]["authorization"].startswith("Basic ")
        assert "authorization" not in other.headers[-1]
        other.login = LOGIN
        with pytest.raises(DownloadError, match="401"):
            HttpFetcher(Access()).download_bytes(url, len(DATA))
        assert all("authorization" not in one for one in other.headers)
        host.instead["data"] = Says(302, {"location": url})
        with pytest.raises(DownloadError, match="302"):
            HttpFetcher(Access()).download_bytes(url, len(DATA))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at https://ann:secret@host/x@y", "at https://host/x@y"),
        ("https://ann:se@cret@host:80/", "https://host:80/"),
        ("https://ann@host/", "https://host/"),
        ("https://ann:se/cret@host/", "https://host/"),
        ("https://host:8080/a@b", "https://host:8080/a@b"),
        ("https://host/a:b@c", "https://host/a:b@c"),
        ("https://[::1]:80/x@y", "https://[::1]:80/x@y"),
        ("hf://owner/repo@0123", "hf://owner/repo@0123"),
    ],
)
def test_what_an_address_looks_like_in_messages(text, shown):
    assert without_logins(text) == shown
    if text.startswith("http"):
        assert shown_url(text) == shown


def test_passwords_are_in_no_message_and_for_the_owner_alone_on_disk(tmp_path, ppm_home):
    owned = one_patch(tmp_path / "index")
    root = str(owned.folder / "metadata" / "1.root.json")
    with serve(tmp_path / "index") as (host, url):
        host.login = ("ann", "s3cret")
        secret = url.replace("//", "//ann:s3cret@")
        assert ppm("source", "add", "acme", secret, "--root", root, "--yes").code == 0
        assert trusted_indexes(ppm_home)[0].url == secret
        assert stat.S_IMODE((ppm_home / "sources" / "sources.toml").stat().st_mode) == 0o600
        wrong = secret.replace("s3cret", "s3cret-wrong")
        address = f"toxicity @ {wrong}/x.ppm#sha256={'0' * 64}"
        told = [
            ppm("source", "list"),
            ppm("source", "list", "--json"),
            ppm("search", "toxicity", "--json"),
            ppm("source", "add", "other", wrong, "--fingerprint", "0" * 64),
            ppm("source", "add", "other", "https://ann:s3cret/x@host/", "--fingerprint", "0" * 64),
            ppm("source", "add", "other", secret, "--fingerprint", "0" * 64),
            ppm("source", "add", "other", f"{secret}?x", "--fingerprint", "0" * 64),
            ppm("download", address, "--base", "lab"),
            ppm("download", address, "--base", "lab", "--debug"),
            ppm("download", address.partition("#")[0], "--base", "lab"),
            ppm("download", "toxicity @ https://ann:s3cret/x@host/y.ppm#sha256=" + "0" * 64, "--base", "lab"),
            ppm("download", "toxicity", "--find-links", wrong),
        ]
    assert [one.code for one in told] == [0, 0, 0, 1, 1, 4, 1, 1, 1, 1, 1, 2]
    assert not any("s3cret" in one.out + one.err for one in told), told
