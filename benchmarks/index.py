"""What a client fetches from a signed index of growing size, over the loopback: `python benchmarks/index.py`.

    python benchmarks/index.py [--names 1000 10000 100000]

Each index has that many names with one version each, and a publisher for every hundred. It is written by the code that
writes real ones, with real keys; only the app that is resolved, and the two patches that it depends on, have package
files. Bytes and requests are counted by the server. Three times are measured in a fresh home: the first trust, choice
and download; the same again; and again after a new version of the app was published.
"""

import argparse
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner

from ppm.bank import Bank, Block
from ppm.index.keys import Keyring, key_id, public_hex
from ppm.index.layout import shard_path
from ppm.index.publish import SignedPackage, publish
from ppm.index.publishers import Publisher, Publishers
from ppm.index.repository import Repository, create
from ppm.index.roles import bins_for
from ppm.index.shard import Entry, Shard, ShardBase, moment_text
from ppm.index.statement import make_statement
from ppm.index.trust import Access, TrustedIndex
from ppm.manifest import Base, Manifest, Patch, PrefixShape
from ppm.package import Package, file_name_of, sha256
from ppm.resolve import parse_requirement, resolve
from ppm.sources.index import IndexSource

FINGERPRINT = "sha256:" + "0" * 64
MODEL = "lab"
APP = "app"
NEEDED = ("core", "words")
EACH = 100
"""How many names a publisher has."""
PASSPHRASE = "benchmark"


class Counted(ThreadingHTTPServer):
    """A server of a folder that counts what it sends."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requests = self.sent = 0
        self.counting = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: Counted

    def log_message(self, *_: object) -> None:
        """Nothing: the tables are what is printed."""

    def do_GET(self) -> None:
        path = self.server.folder / self.path.lstrip("/")
        data = path.read_bytes() if path.is_file() else b""
        with self.server.counting:
            self.server.requests += 1
            self.server.sent += len(data)
        self.send_response(200 if data else 404)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def served(folder: Path) -> Iterator[Counted]:
    """A server of a folder while the block runs."""
    server = Counted(folder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def write_plainly(path: Path, data: bytes) -> None:
    """Without flushing each of many files to the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def package(name: str, version: str = "1.0.0", needs: Sequence[str] = ()) -> Package:
    """A small real package."""
    manifest = Manifest(
        1,
        Patch(name, version, risks=("toxicity",), summary="A benchmark's.", license="Apache-2.0"),
        Base(MODEL, fingerprint=FINGERPRINT),
        PrefixShape(2),
        dependencies=dict.fromkeys(needs, "*"),
    )
    return Package(manifest, Bank((Block((2, 4), bytes(32)),)), {"replay.jsonl": b"{}"})


def synthetic(name: str, key: str, now: datetime) -> bytes:
    """A shard of one version whose files are not there."""
    base = ShardBase(MODEL, FINGERPRINT)
    entry = Entry(
        version="1.0.0",
        file=file_name_of(name, "1.0.0", base.tag),
        sha256=sha256(name.encode()),
        size=50_000,
        statement=sha256(b"statement " + name.encode()),
        publisher=key,
        published=moment_text(now),
        base=base,
        risks=("toxicity",),
        summary=f"What the patch {name} is good for, in a line of usual length.",
    )
    return Shard(name, (entry,)).to_bytes()


@dataclass(frozen=True)
class Made:
    """An index and what signs in it."""

    folder: Path
    keys: Keyring
    signer: CryptoSigner

    def open(self) -> Repository:
        return Repository.open(self.folder, self.keys, write_plainly)

    def publish(self, *packages: Package) -> None:
        files = [SignedPackage(one, make_statement(one, self.signer)) for one in packages]
        publish(self.open(), files, datetime.now(UTC))


def make(folder: Path, names: int) -> Made:
    """An index of so many names, of which three have package files."""
    now = datetime.now(UTC)
    keys = Keyring(folder.with_name("keys"), lambda: PASSPHRASE)
    create(folder, keys, now, bins=bins_for(names), root_keys=3, threshold=2, write=write_plainly)
    made = Made(folder, keys, CryptoSigner(Ed25519PrivateKey.generate()))
    key = public_hex(made.signer)
    others = [f"patch-{i}" for i in range(names - 3)]
    owners = [Publisher("publisher", (key,), (APP, *NEEDED))]
    for i in range(0, len(others), EACH):
        own = public_hex(CryptoSigner(Ed25519PrivateKey.generate()))
        owners.append(Publisher(f"publisher-{i}", (own,), tuple(others[i : i + EACH])))
    repository = made.open()
    repository.put_publishers(Publishers(tuple(owners)))
    for owner in owners[1:]:
        keyid = key_id(owner.keys[0])
        for name in owner.names:
            repository.put(shard_path(name), synthetic(name, keyid, now))
    repository.commit(now)
    made.publish(package(APP, needs=NEEDED), *(package(name) for name in NEEDED))
    return made


def install(home: Path, url: str, root: bytes) -> int:
    """Choose and download the app with what it needs, as one command does: how many packages that were."""
    folder = home / "sources" / "index"
    folder.mkdir(parents=True, exist_ok=True)
    index = TrustedIndex("index", url, folder)
    index.root.write_bytes(root)
    source = IndexSource(index, home / "cache", Access(), lambda message: None)
    found = resolve([parse_requirement(APP)], source, fingerprint=FINGERPRINT, base_name=MODEL)
    releases = [pin.release for pin in found.pins]
    for release in releases:
        source.fetch(release)
    assert len(releases) == 1 + len(NEEDED), releases
    return len(releases)


def measure(names: int) -> None:
    """One row a state: how much came over the wire, and how long it took."""
    with tempfile.TemporaryDirectory() as scratch:
        started = time.perf_counter()
        made = make(Path(scratch) / "index", names)
        seconds = time.perf_counter() - started
        root = (made.folder / "metadata" / "1.root.json").read_bytes()
        with served(made.folder) as server:
            url, home = f"http://127.0.0.1:{server.server_port}", Path(scratch) / "home"
            for state in ("first", "again", "one publish"):
                if state == "one publish":
                    made.publish(package(APP, "1.1.0", NEEDED))
                server.requests = server.sent = 0
                started = time.perf_counter()
                install(home, url, root)
                spent = time.perf_counter() - started
                row = f"{names:>9,} {bins_for(names):>6,} {state:<12} {server.sent / 1000:>9,.1f} {server.requests:>9}"
                print(f"{row} {spent:>8.2f}", flush=True)
        print(f"{'':>9} (made in {seconds:.0f} s)", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    sizes = parser.parse_args().names
    print(f"{'names':>9} {'bins':>6} {'state':<12} {'kB':>9} {'requests':>9} {'seconds':>8}")
    for names in sizes:
        measure(names)


if __name__ == "__main__":
    main()
