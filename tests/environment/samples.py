"""Small deployments for the tests of environments, and processes that die on purpose."""

import multiprocessing
import os
import resource
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from packages import FINGERPRINT, make_package

from benchmarks.kills import kill_before_change
from ppm.environment.deployment import Deployment, Environment
from ppm.environment.transaction import Made, deploy, writer
from ppm.lock import Lock, LockedBase, LockedPackage
from ppm.package import Package

TAG = "tiny-0123456789ab"
_INTERRUPTED = 130


def lock_of(*packages: Package) -> Lock:
    locked = (LockedPackage(p.manifest.name, p.manifest.version, p.file_name, p.sha256, "dist", True) for p in packages)
    return Lock(LockedBase("acme/tiny", FINGERPRINT), packages=tuple(locked))


@cache
def files_of(version: str = "1.0.0") -> dict[str, bytes]:
    """What a deployment of one version of a small patch consists of."""
    package = make_package(version=version)
    return {
        "patch.toml": package.manifest.render().encode(),
        "prefix.safetensors": package.bank.to_bytes(),
        "ppm.lock": lock_of(package).render().encode(),
        "audit.json": b'{"verdict": "pass"}',
    }


def install(environment: Environment, version: str = "1.0.0", *, timeout: float = 10.0, **fields: Any) -> Deployment:
    """Deploy one version of a small patch."""
    command = f"ppm install toxicity=={version}"
    made = Made(**{"base_model": "acme/tiny", "fingerprint": FINGERPRINT, "verdict": "pass", **fields})
    with writer(environment, timeout=timeout, command=command) as held:
        return deploy(held, files_of(version), made)


def deployed_version(environment: Environment) -> str | None:
    """The version in force, after reading and verifying everything that is deployed with it."""
    deployment = environment.current()
    if deployment is None:
        return None
    assert deployment.manifest is not None
    assert set(deployment.files()) == set(files_of())
    assert deployment.lock.packages[0].version == deployment.manifest.version
    return deployment.manifest.version


def leftovers(environment: Environment) -> set[str]:
    """Names in the environment's folder that do not belong there when nobody writes."""
    numbered = {path.name for path in (environment.path / "deployments").iterdir()}
    in_force = {f"{number:06d}" for number in environment.numbers()}
    return {path.name for path in environment.path.iterdir()} - {"current", "deployments", "lock"} | numbered - in_force


def run_killed_at(step: int, change: Callable[[], object], by: signal.Signals = signal.SIGKILL) -> bool:
    """Run `change` in a process that gets a signal before its `step`-th change of the disk; False when it had fewer."""
    process = multiprocessing.get_context("fork").Process(target=_change_until, args=(step, change, by))
    process.start()
    process.join()
    assert process.exitcode in (0, -by, _INTERRUPTED)
    return process.exitcode != 0


def _change_until(step: int, change: Callable[[], object], by: signal.Signals) -> None:
    kill_before_change(step, by)
    try:
        change()
    except KeyboardInterrupt:
        os._exit(_INTERRUPTED)


def environment_at(home: Path, name: str | None = None) -> Environment:
    return Environment(home, TAG, name)


@contextmanager
def small_disk(limit: int) -> Iterator[None]:
    """No file may grow beyond `limit` bytes, which fails as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def folder_of_another() -> Iterator[Path]:
    """A folder that can be entered and read, but not changed, by the user that the body runs as."""
    superuser = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755 if superuser else 0o500)
        if superuser:
            os.seteuid(65534)
        try:
            yield folder
        finally:
            if superuser:
                os.seteuid(0)
            folder.chmod(0o700)
