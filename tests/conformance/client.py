#!/usr/bin/env python3
"""A client for TUF's conformance suite: ppm's own client of an index, behind the command line that the suite asks for.

The README beside it says how to run the suite. Exit codes are those of the suite: 0 done, 1 refused.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from ppm.disk import make_folder, replace_file
from ppm.errors import PpmError, SourceError
from ppm.index.client import Client
from ppm.index.trust import Access, TrustedIndex


@dataclass(frozen=True)
class Repository(TrustedIndex):
    """Any TUF repository as an index: its two addresses are given apart, and the suite says where its metadata is kept.

    What else ppm keeps is in a folder there, for the suite takes each `.json` file for a role that is trusted.
    """

    targets: str = ""

    @property
    def metadata_url(self) -> str:
        return self.url

    @property
    def targets_url(self) -> str:
        return self.targets

    @property
    def metadata(self) -> Path:
        return self.folder.parent


def begin(repository: Repository, root: Path) -> None:
    """Trust a root; nothing is asked for."""
    make_folder(repository.folder)
    replace_file(repository.root, root.read_bytes())
    replace_file(repository.metadata / "root.json", root.read_bytes())


def update(repository: Repository) -> Client:
    """A client with what is new. Raises PpmError: it is refused, or there is no answer."""
    client = Client(repository, repository.folder / "files", Access(fresh=True))
    client.open()
    return client


def download(repository: Repository, name: str, folder: Path) -> None:
    """Put a target into a folder. Raises PpmError."""
    data = update(repository).read(name)
    if data is None:
        raise SourceError(f"there is no target {name!r}", context=repository.url)
    path = folder / quote(name, "")
    if not path.is_file() or path.read_bytes() != data:
        make_folder(folder)
        replace_file(path, data)


def main(arguments: Sequence[str]) -> int:
    """Run one command of the suite's: its exit code."""
    parser = argparse.ArgumentParser(description="ppm's client, for TUF's conformance suite")
    parser.add_argument("--metadata-dir", type=Path, required=True)
    parser.add_argument("--metadata-url", default="")
    parser.add_argument("--target-name", default="")
    parser.add_argument("--target-base-url", default="")
    parser.add_argument("--target-dir", type=Path)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("init").add_argument("root", type=Path)
    commands.add_parser("refresh")
    commands.add_parser("download")
    given = parser.parse_args(arguments)
    folder = given.metadata_dir.absolute() / "ppm"
    urls = (url.rstrip("/") for url in (given.metadata_url, given.target_base_url))
    repository = Repository("suite", next(urls), folder, next(urls))
    try:
        if given.command == "init":
            begin(repository, given.root)
        elif given.command == "refresh":
            update(repository)
        else:
            download(repository, given.target_name, given.target_dir)
    except PpmError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
