"""Runs an index of one's own from beginning to end, in a folder that it makes, with a host on this machine alone.

    python examples/own-index/run.py FOLDER

It publishes the patches for the lab and for SmolLM2, installs one of them into an empty PPM_HOME, publishes two
advisories on it (one affects what is deployed, and is withdrawn then), rotates keys, takes a version back, and lets the
host tamper with a file, which is refused. Each command is shown with what it prints.
"""

import argparse
import functools
import json
import os
import secrets
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from ppm.package import read_package
from ppm.resources import shipped_packages

PROMPTS = 12
"""How many an advisory has here."""


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and says nothing of it."""

    def log_message(self, *_: object) -> None:
        pass


class Shell:
    """Runs `ppm` in a folder with a PPM_HOME of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        own = {"PPM_HOME": str(folder / "home"), "PPM_KEY_PASSPHRASE": secrets.token_urlsafe(16)}
        self.variables = {**os.environ, **own, "HF_HUB_OFFLINE": "1", "COLUMNS": "100"}

    def ppm(self, *arguments: str, code: int = 0) -> None:
        """Show a command and what it prints; it must end with this exit code."""
        print("$ ppm", *(Path(a).name if a.endswith(".ppm") else a for a in arguments), flush=True)
        command = [sys.executable, "-m", "ppm", *arguments]
        done = subprocess.run(command, cwd=self.folder, env=self.variables, check=False)
        if done.returncode != code:
            raise SystemExit(f"that ended with {done.returncode}, not with {code}")


def owner(shell: Shell, packages: list[Path]) -> None:
    """Whoever runs the index and whoever publishes: here they are one."""
    names = ",".join(sorted({path.name.split("-")[0].replace("_", "-") for path in packages}))
    shell.ppm("index", "init", "patches", "--bins", "16")
    shell.ppm("index", "key", "vendor.pem")
    shell.ppm("index", "add-publisher", "patches", "vendor", "--key", "vendor.pub.pem", "--names", names)
    shell.ppm("publish", *map(str, packages), "patches", "--key", "vendor.pem")
    shell.ppm("index", "verify", "patches")


def advisory(id_: str, summary: str, package: Path, *, withdrawn: bool = False) -> dict[str, object]:
    """An advisory on toxicity 1.0.0: that it fails on prompts of the suite of some patch, by the judge of that."""
    patch = read_package(package)
    [suite] = patch.manifest.suites
    judge: dict[str, object] = {"name": suite.judge.name}
    for option, path in suite.judge.options.items():
        judge[option] = patch.files[str(path)].decode().split()
    prompts = [json.loads(line) for line in patch.files[suite.prompts].splitlines()[:PROMPTS]]
    modified = f"2026-11-0{2 if withdrawn else 1}T10:00:00Z"
    failing = {"judge": judge, "goal": suite.goal, "limit": 0.1, "prompts": prompts}
    failing["decoding"] = {"max_new_tokens": 12, "temperature": 0.0}
    return {
        "schema_version": "1.6.0",
        "id": id_,
        "published": "2026-11-01T10:00:00Z",
        "modified": modified,
        "summary": summary,
        "affected": [{"package": {"ecosystem": "ppm", "name": "toxicity"}, "versions": ["1.0.0"]}],
        "database_specific": {"suite": failing},
        **({"withdrawn": modified} if withdrawn else {}),
    }


def advise(shell: Shell, packages: list[Path]) -> None:
    """Advisories on what is deployed: one that affects it and is withdrawn then, and one that does not."""
    found = {path.name.split("-")[0]: path for path in packages if "-lab_" in path.name}
    cheating = ("VENDOR-2026-1", "Says how to cheat", found["harm_refusal"])
    insults = ("VENDOR-2026-2", "Insults where something was dropped", found["toxicity"])
    for texts in (cheating, insults):
        (shell.folder / "advisory.json").write_text(json.dumps(advisory(*texts)))
        shell.ppm("index", "advise", "patches", "advisory.json", "--key", "vendor.pem")
    shell.ppm("advisories", "--base", "lab", code=5)
    (shell.folder / "advisory.json").write_text(json.dumps(advisory(*cheating, withdrawn=True)))
    shell.ppm("index", "advise", "patches", "advisory.json", "--key", "vendor.pem")
    shell.ppm("advisories", "--base", "lab")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    shell = Shell(folder)
    folders = [found for base in ("lab", "smollm2") if (found := shipped_packages(base)) is not None]
    packages = [path for found in folders for path in sorted(found.glob("*.ppm"))]
    owner(shell, packages)

    handler = functools.partial(Quiet, directory=str(folder / "patches"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"

    shell.ppm("source", "add", "vendor", url, "--root", "patches/metadata/1.root.json", "--yes")
    shell.ppm("search", "toxicity", "--base", "lab")
    shell.ppm("install", "toxicity", "--base", "lab")
    advise(shell, packages)
    for role in ("timestamp", "root", "bins"):
        shell.ppm("index", "rotate", "patches", role)
    shell.ppm("index", "yank", "patches", "toxicity", "1.0.0", "--reason", "there is a better one")
    shell.ppm("index", "refresh", "patches")
    shell.ppm("index", "status", "patches")
    shell.ppm("index", "page", "patches", "--output", "site", "--url", url)

    [gender] = (folder / "patches" / "targets" / "files").glob("*/*.gender_bias-*-lab_*.ppm")
    gender.write_bytes(gender.read_bytes()[:-1] + b"\1")
    shell.ppm("download", "gender-bias", "--base", "lab", "--dest", "got", code=4)
    shell.ppm("list", "--base", "lab")
    server.shutdown()


if __name__ == "__main__":
    main()
