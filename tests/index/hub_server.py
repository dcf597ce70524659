"""A hub on the loopback that speaks the protocol that `huggingface_hub` does, for one repository."""

import json
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import constants
from index.indexes import Handler, Host, Says, serve

REPOSITORY = "acme/patches"


@dataclass
class Hub(Host):
    """Commits as folders below `folder`; `branches` name some. Files of `.ppm` lie elsewhere, as large ones do.

    With a `token`, only whoever sends it is let in.
    """

    branches: dict = field(default_factory=dict)
    token: str = ""
    elsewhere: str = ""
    kind: str = "models"

    def commit(self, folder):
        """What is in a folder as the newest commit of `main`: its hexadecimal digits."""
        name = f"{len(list(self.folder.iterdir())) + 1:040x}"
        shutil.copytree(folder, self.folder / name)
        self.branches["main"] = name
        return name

    def lets_in(self, headers):
        super().lets_in(headers)
        return not self.token or headers["authorization"] == f"Bearer {self.token}"

    def answer(self, path):
        faulty = super().answer(path)
        if faulty != 404:
            return faulty
        _, _, asked = path.partition(f"{REPOSITORY}/resolve/")
        commit, _, file = asked.partition("/")
        api, _, revision = path.partition("/revision/")
        if api.partition("?")[0] == f"api/{self.kind}/{REPOSITORY}":
            sha = self.branches.get(revision or "main")
            return json.dumps({"id": REPOSITORY, "sha": sha}).encode() if sha else Says(404, NO_REVISION)
        if not asked:
            return Says(404, {"x-error-code": "RepoNotFound"})
        if not (self.folder / commit).is_dir():
            return Says(404, NO_REVISION)
        found = self.folder / commit / file
        if not found.is_file():
            return Says(404, {"x-error-code": "EntryNotFound"})
        if file.endswith(".ppm") and self.elsewhere:
            size = {"x-linked-size": str(found.stat().st_size), "x-linked-etag": f'"{"0" * 64}"'}
            return Says(302, {"location": f"{self.elsewhere}/{commit}/{file}?signature=s3cret", **size})
        return found.read_bytes()


NO_REVISION = {"x-error-code": "RevisionNotFound"}


class _HubHandler(Handler):
    def do_HEAD(self):
        self.do_GET()

    def end_headers(self):
        _, _, asked = self.path.partition("/resolve/")
        self.send_header("x-repo-commit", asked.partition("/")[0])
        if self.command == "HEAD":  # has no body
            self.send_header("connection", "close")
            super().end_headers()
            self.wfile.write = len
        else:
            super().end_headers()


class _Elsewhere(Host):
    """Where large files lie: the address is the right to read."""

    def answer(self, path):
        return super().answer(path.removesuffix("?signature=s3cret"))


@contextmanager
def serve_hub(folder, monkeypatch):
    """(hub, host of large files, address of the hub) while the block runs; `huggingface_hub` takes it for its own."""
    Path(folder).mkdir()
    with serve(folder, Hub, _HubHandler) as (hub, url), serve(folder, _Elsewhere) as (large, elsewhere):
        hub.ranges = large.ranges = True
        hub.elsewhere = elsewhere
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(Path(folder) / "no-token"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield hub, large, url
