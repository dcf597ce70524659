"""Small real indexes for tests, and a server on the loopback that hosts one and misbehaves when told to."""

import hashlib
import threading
import time
from base64 import b64encode
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from packages import make_package

from ppm.index.keys import Keyring, public_hex, read_private, write_pair
from ppm.index.publish import SignedPackage, add_publisher, publish
from ppm.index.repository import Repository, create, write_durably
from ppm.index.statement import make_statement
from ppm.index.trust import Access, TrustedIndex
from ppm.sources.index import IndexSource

PASSPHRASE = "correct horse"
BINS = 4


def passphrase():
    return PASSPHRASE


@dataclass
class Owned:
    """An index, its keys, and the keys of its publishers by name."""

    folder: Path
    keys: Keyring
    signers: dict = field(default_factory=dict)

    def open(self, write=write_durably):
        return Repository.open(self.folder, Keyring(self.keys.folder, passphrase), write)

    def signer(self, publisher):
        if publisher not in self.signers:
            path = self.keys.folder.with_name(f"{self.folder.name}-{publisher}.pem")
            write_pair(path, PASSPHRASE)
            self.signers[publisher] = read_private(path, passphrase)
        return self.signers[publisher]

    def publisher(self, name, *names, instead=False):
        key = public_hex(self.signer(name))
        return add_publisher(self.open(), name, [key], names, datetime.now(UTC), instead=instead)

    def publish(self, *packages, publisher="acme", now=None, write=write_durably):
        files = [SignedPackage(package, make_statement(package, self.signer(publisher))) for package in packages]
        return publish(self.open(write), files, now or datetime.now(UTC))

    @property
    def first_root(self):
        return (self.folder / "metadata" / "1.root.json").read_bytes()


def make_index(folder, *packages, now=None, root_keys=2, threshold=2):
    """An index of one publisher, `acme`, with some packages."""
    folder = Path(folder)
    keys = Keyring(folder.with_name(folder.name + ".keys"), passphrase)
    numbers = {"bins": BINS, "root_keys": root_keys, "threshold": threshold}
    create(folder, keys, now or datetime.now(UTC), **numbers, write=write_durably)
    owned = Owned(folder, keys)
    if packages:
        owned.publisher("acme", *{package.manifest.name for package in packages})
        owned.publish(*packages, now=now)
    return owned


def one_patch(folder, **settings):
    """An index of one version of one patch."""
    return make_index(folder, make_package(), **settings)


def trust(home, url, root, name="acme"):
    """What a user has who trusts an index."""
    folder = Path(home) / "sources" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "root.json").write_bytes(root)
    return TrustedIndex(name, url, folder)


def source_of(home, url, root, *, offline=False, timeout=30.0, tell=lambda message: None, name="acme"):
    """A new client's view of an index, as one command has it."""
    index = trust(home, url, root, name)
    return IndexSource(index, Path(home) / "cache" / "indexes", Access(offline, timeout), tell)


@dataclass(frozen=True)
class Halved:
    """A file of which the second half of what is asked for does not come."""

    data: bytes


@dataclass(frozen=True)
class Says:
    """A status with some headers, and no file; the body may be endless."""

    status: int
    headers: dict
    endless: bool = False


@dataclass
class Host:
    """What a server does: the files of `folder`, or `instead` of a path other bytes or a fault.

    A fault is a status code, "endless", "drip" (a byte now and then), "stall" or "cut". With `ranges`, files have
    entity tags and are sent from where a client asks; with `login`, only to whoever knows that name and password.
    """

    folder: Path
    instead: dict = field(default_factory=dict)
    once: dict = field(default_factory=dict)
    asked: list = field(default_factory=list)
    ranges: bool = False
    login: tuple | None = None
    headers: list = field(default_factory=list)

    def lets_in(self, headers):
        """Whether a request's headers name who may read."""
        self.headers.append({name.lower(): value for name, value in headers.items()})
        wanted = self.login and "Basic " + b64encode(":".join(self.login).encode()).decode()
        return wanted in (None, headers["authorization"])

    def answer(self, path):
        self.asked.append(path)
        if path in self.once:
            return self.once.pop(path)
        for prefix, answer in self.instead.items():
            if path == prefix or (prefix.endswith("*") and path.startswith(prefix[:-1])):
                return answer
        file = self.folder / path
        return file.read_bytes() if file.is_file() else 404


class Handler(BaseHTTPRequestHandler):
    """Answers as its server's `host` says."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        host = self.server.host
        known = host.lets_in(self.headers)
        answer = host.answer(self.path.lstrip("/"))
        if not known:
            answer = 401
        try:
            if isinstance(answer, bytes):
                self.deliver(answer)
            elif isinstance(answer, Halved):
                self.close_connection = True
                self.deliver(answer.data, halved=True)
            elif isinstance(answer, int | Says):
                self.refuse(answer if isinstance(answer, Says) else Says(answer, {}))
            else:
                self.misdeliver(answer)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client has gone

    def deliver(self, data, *, halved=False):
        """A file, or half of it; from where the client has it, if the server can do that."""
        start, etag = 0, f'"{hashlib.sha256(data).hexdigest()}"'
        asked = self.headers["range"] if self.server.host.ranges else None
        if asked and self.headers["if-range"] in (None, etag):
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start >= len(data) > 0:
            self.refuse(Says(416, {}))
            return
        self.send_response(206 if start else 200)
        self.send_header("content-length", str(len(data) - start))
        if start:
            self.send_header("content-range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if self.server.host.ranges:
            self.send_header("etag", etag)
        self.end_headers()
        self.wfile.write(data[start : (start + len(data)) // 2 if halved else len(data)])

    def refuse(self, answer):
        """A status without a file."""
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(10**12 if answer.endless else 2))
        self.end_headers()
        for _ in range(10_000 if answer.endless else 1):
            self.wfile.write(b"no" * (5_000 if answer.endless else 1))

    def misdeliver(self, fault):
        self.close_connection = True
        if fault == "stall":
            time.sleep(1.5)
            return
        self.send_response(200)
        self.send_header("content-length", str(10**12))
        self.end_headers()
        for _ in range({"drip": 60, "endless": 10_000, "cut": 1}[fault]):
            self.wfile.write(b" " * (1 if fault == "drip" else 10_000))
            self.wfile.flush()
            time.sleep(0.05 if fault == "drip" else 0)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """A client that goes away early is no matter."""


@contextmanager
def serve(folder, kind=Host, handler=Handler):
    """(host, its address) of a server of a folder while the block runs."""
    server = _Server(("127.0.0.1", 0), handler)
    server.host = kind(Path(folder))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.host, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
