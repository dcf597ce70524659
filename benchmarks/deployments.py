"""How long commands take in an environment with a long history, beside `pip list`, in one run.

    python benchmarks/deployments.py [--deployments 1000] [--rounds 5]

The deployments are made by hand, without training: a few versions of one of the lab's patches in turn, each with a
composition and an audit. The table shows the median of each command and its ratio to that of `pip list`; the budget of
`list`, `history` and `verify` is 2 seconds each.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from ppm.audit.model import Audit
from ppm.base import weights_digest
from ppm.environment.deployment import AUDIT_FILE, MANIFEST_FILE, PREFIX_FILE, Environment
from ppm.environment.transaction import Made, deploy, writer
from ppm.lock import LOCK_FILE, Lock, LockedBase, LockedComposition, LockedPackage
from ppm.manifest import Component, CompositionRecord
from ppm.package import Package, read_package
from ppm.resources import lab_data
from ppm.workspace import open_base

VERSIONS = 10
RUN = [sys.executable, "-c", "from ppm.cli.main import run; run()"]
COMMANDS = {
    "pip list": [sys.executable, "-m", "pip", "list", "--disable-pip-version-check"],
    "ppm list": [*RUN, "list"],
    "ppm history": [*RUN, "history"],
    "ppm verify": [*RUN, "verify"],
}


def versions() -> list[Package]:
    """Some versions of a patch for the lab's base."""
    package = read_package(next((lab_data() / "packages").glob("toxicity-*.ppm")))
    found = []
    for number in range(VERSIONS):
        patch = replace(package.manifest.patch, version=f"1.0.{number}")
        found.append(replace(package, manifest=replace(package.manifest, patch=patch)))
    return found


def composed(package: Package) -> Package:
    """What a composition of one patch looks like."""
    part = Component(package.manifest.name, package.manifest.version, package.sha256)
    record = CompositionRecord("distilled", "sha256:" + "0" * 64, (part,))
    return replace(package, manifest=replace(package.manifest, composition=record))


def fill(home: Path, count: int) -> None:
    """An environment with so many deployments."""
    base = open_base("lab")
    environment = Environment(home, base.tag)
    contents = [files_of(package, environment) for package in versions()]
    for number in range(count):
        with writer(environment, command=f"ppm install toxicity==1.0.{number % VERSIONS}") as held:
            deploy(
                held,
                contents[number % VERSIONS],
                Made(
                    base_model="lab",
                    fingerprint=base.fingerprint,
                    weights_digest=weights_digest(base.folder),
                    strategy="distilled",
                    verdict="pass",
                ),
            )


def files_of(package: Package, environment: Environment) -> dict[str, bytes]:
    """The files of a deployment of one version; what it needs is put into the store."""
    made = composed(package)
    audit = Audit("lab", "distilled", "pass", 0.05, (), {}, (), prefix=f"sha256:{made.bank.digest}").to_json()
    package_digest, made_digest, audit_digest = map(environment.store.put, (package.data, made.data, audit))
    manifest = package.manifest
    locked = LockedPackage(manifest.name, manifest.version, package.file_name, package_digest, "dist", True)
    lock = Lock(
        1,
        LockedBase("lab", manifest.base.fingerprint or ""),
        (manifest.name,),
        "auto",
        packages=(locked,),
        composition=LockedComposition(made_digest, audit_digest, made.file_name),
    )
    return {
        LOCK_FILE: lock.render().encode(),
        MANIFEST_FILE: made.manifest.render().encode(),
        PREFIX_FILE: made.bank.to_bytes(),
        AUDIT_FILE: audit,
    }


def seconds(command: list[str], environment: dict[str, str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, env=environment, capture_output=True, check=True)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deployments", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        fill(Path(home), options.deployments)
        environment = {**os.environ, "PPM_HOME": home}
        found: dict[str, list[float]] = {name: [] for name in COMMANDS}
        for _ in range(options.rounds):
            for name, command in COMMANDS.items():
                found[name].append(seconds(command, environment))
    reference = statistics.median(found["pip list"])
    print(f"{options.deployments:,} deployments; medians of {options.rounds}, in turn")
    print(f"{'command':<12} {'median s':>9} {'ratio':>6}")
    for name, times in found.items():
        print(f"{name:<12} {statistics.median(times):>9.3f} {statistics.median(times) / reference:>6.2f}")


if __name__ == "__main__":
    main()
