"""How long the pages on a signed index take, and how large they are: `python benchmarks/index_pages.py`.

    python benchmarks/index_pages.py [--names 1000 10000]

Each index has that many names with one version each, whose publisher signed a statement on it, and a publisher for
every hundred names. It is written by the code that writes real ones, with real keys. Package files, which pages need
not, are left out. The start page is what a browser loads first; the list for the search comes when somebody searches.
Memory is the most that the process had.
"""

import argparse
import resource
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from index import EACH, PASSPHRASE, package, write_plainly
from securesystemslib.signer import CryptoSigner

from ppm.index.check import as_new_client
from ppm.index.keys import Keyring, key_id, public_hex
from ppm.index.layout import shard_path, statement_path
from ppm.index.pages import Titled
from ppm.index.publishers import Publisher, Publishers
from ppm.index.repository import Repository, create
from ppm.index.roles import bins_for
from ppm.index.shard import Entry, Shard
from ppm.index.site import write_site
from ppm.index.statement import make_statement
from ppm.package import sha256

SCORES = {"toxicity": {"base": 0.4, "sft": 0.1, "dpo": 0.05}}


def make(folder: Path, names: int) -> None:
    """An index of so many names, with statements and without package files."""
    now = datetime.now(UTC)
    keys = Keyring(folder.with_name(f"{folder.name}.keys"), lambda: PASSPHRASE)
    create(folder, keys, now, bins=bins_for(names), root_keys=3, threshold=2, write=write_plainly)
    repository = Repository.open(folder, keys, write_plainly)
    owners = []
    for start in range(0, names, EACH):
        signer = CryptoSigner(Ed25519PrivateKey.generate())
        own = tuple(f"patch-{i}" for i in range(start, min(start + EACH, names)))
        owners.append(Publisher(f"publisher-{start}", (public_hex(signer),), own))
        for name in own:
            one = package(name)
            one = replace(one, manifest=replace(one.manifest, provenance={"scores": SCORES, "shipped": "dpo"}))
            statement = make_statement(one, signer)
            entry = Entry.of(one, statement=sha256(statement), publisher=key_id(public_hex(signer)), published=now)
            repository.put(statement_path(entry.sha256, entry.file), statement)
            repository.put(shard_path(name), Shard(name, (entry,)).to_bytes())
    repository.put_publishers(Publishers(tuple(owners)))
    repository.commit(now)


def measure(names: int) -> None:
    """A row: how long it took, and what came of it."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, site = Path(scratch) / "index", Path(scratch) / "site"
        make(folder, names)
        root = (folder / "metadata" / "1.root.json").read_bytes()
        started = time.perf_counter()
        with as_new_client(folder, root, str) as source:
            found = write_site(source, root, Titled("index", None, datetime.now(UTC)), site)
        seconds = time.perf_counter() - started
        assert not found.faults, found.faults[:3]
        sizes = {path.relative_to(site): path.stat().st_size for path in site.rglob("*") if path.is_file()}
        start, search = sizes[Path("index.html")], sizes.get(Path("search.js"), 0)
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
        row = f"{names:>9,} {seconds:>8.1f} {found.files:>8,} {sum(sizes.values()) / 1e6:>7.1f} {start / 1000:>9.1f}"
        print(f"{row} {search / 1000:>10.1f} {most:>9.0f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", type=int, nargs="+", default=[1_000, 10_000])
    sizes = parser.parse_args().names
    print(f"{'names':>9} {'seconds':>8} {'files':>8} {'MB':>7} {'start, kB':>9} {'search, kB':>10} {'memory MB':>9}")
    for names in sizes:
        measure(names)


if __name__ == "__main__":
    main()
