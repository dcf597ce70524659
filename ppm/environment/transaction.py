"""Changing an environment: one writer at a time, and each change is whole or did not happen.

A deployment is staged beside the others, flushed to disk and renamed into place; then the file `current`, which
names the one in force, is replaced. Killed before that last step, a process leaves the old deployment in force and
leftovers that the next writer removes.
"""

import getpass
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from filelock import FileLock

from ppm.disk import PARTIAL, disk_errors, flush_folder, make_folder, replace_file, write_file
from ppm.environment import evidence
from ppm.environment.deployment import (
    HOLDS_FILE,
    RECORD_FILE,
    RECORD_SCHEMA,
    Deployment,
    Environment,
    Made,
    Record,
    Stamp,
    number_file,
)
from ppm.errors import EnvironmentStateError, RequestError
from ppm.lock import LOCK_FILE
from ppm.locking import SHORT_WAIT, exclusive

__all__ = ["Made", "Writer", "deploy", "drop", "rollback", "user_name", "writer"]

_STAGING = ".staging-"


@dataclass(frozen=True)
class Writer:
    """The right to change an environment, for as long as `writer` lends it."""

    environment: Environment
    command: str
    lock: FileLock


@contextmanager
def writer(
    environment: Environment,
    *,
    timeout: float = SHORT_WAIT,
    command: str,
    tell: Callable[[str], None] = lambda message: None,
) -> Iterator[Writer]:
    """Be the only one to change the environment; what killed processes left behind is removed first.

    `command` is what the user ran; it is recorded, and shown to whoever waits, who is told through `tell`. Raises
    EnvironmentStateError when another process holds the environment for more than `timeout` seconds, or when
    it can't be written.
    """
    path = environment.path / "lock"
    with exclusive(path, environment.label, command=command, timeout=timeout, tell=tell) as lock:
        with disk_errors("can't be written to", environment.path):
            _remove_leftovers(environment)
        yield Writer(environment, command, lock)


def deploy(
    writer: Writer,
    files: Mapping[str, bytes],
    made: Made,
) -> Deployment:
    """Make a deployment of these files, by name, and put it in force; `ppm.lock` must be among them.

    Raises EnvironmentStateError when it can't be written; what was deployed before then still is. Raises ValueError
    when the lock is missing, a file's name is not a plain one, or the writer was closed before.
    """
    if LOCK_FILE not in files:
        raise ValueError(f"a deployment needs its {LOCK_FILE}")
    record = Record(
        **vars(_stamp(writer)),
        **vars(made),
        files={name: "sha256:" + hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())},
    )
    return _put_in_force(writer, record, files)


def rollback(
    writer: Writer, number: int | None = None, *, check: Callable[[Deployment], None] = lambda deployment: None
) -> Deployment:
    """Bring back the numbered deployment, by default the one before the current one, if `check` lets it pass.

    That makes a new deployment with the old one's files, so history only ever grows: it shows who rolled back and
    when, and a rollback after a rollback undoes it. To go back further, give the number.

    Raises RequestError when there is no such deployment, IntegrityError when it was changed on disk, and
    EnvironmentStateError when the new one can't be written or when it is unknown which one is the current one.
    """
    environment = writer.environment
    if number is None:
        number = _number_before_current(environment)
    elif _is_current(environment, number):
        raise RequestError(
            f"deployment {number} is already the current one",
            context=environment.label,
            hint="`ppm history` lists the others",
        )
    old = environment.deployment(number)
    check(old)
    record = replace(old.record, **vars(_stamp(writer)), rolled_back_from=number)
    return _put_in_force(writer, record, old.files())


def drop(writer: Writer, numbers: Sequence[int]) -> None:
    """Take deployments out of history, damaged ones too; no later one gets their numbers.

    Raises RequestError when there is no such deployment or it is in force, and EnvironmentStateError when it is
    unknown which one is in force, or the disk refuses.
    """
    environment = writer.environment
    current, known = environment.current_number(), environment.numbers()
    for number in numbers:
        if number == current:
            hint = "`ppm rollback` goes back to another deployment; `ppm env remove` removes them all"
            raise RequestError(f"deployment {number} is in force", context=environment.label, hint=hint)
        if number not in known:
            environment.deployment(number)
    with disk_errors("can't be removed", environment.path):
        for number in numbers:
            gone = environment.path / f"{_STAGING}{secrets.token_hex(8)}"
            environment.deployment_path(number).rename(gone)
            flush_folder(environment.path / "deployments")
            shutil.rmtree(gone)


def _number_before_current(environment: Environment) -> int:
    current = environment.current_number()
    earlier = [number for number in environment.numbers() if number < current]
    if current == 0:
        raise RequestError("nothing is deployed", context=environment.label, hint="start with `ppm install PATCH`")
    if not earlier:
        raise RequestError(
            "has no earlier deployment to roll back to",
            context=environment.label,
            hint="`ppm uninstall` removes patches, `ppm env remove` the whole environment",
        )
    return earlier[-1]


def _is_current(environment: Environment, number: int) -> bool:
    try:
        return environment.current_number() == number
    except EnvironmentStateError:
        return False


def _put_in_force(writer: Writer, record: Record, files: Mapping[str, bytes]) -> Deployment:
    environment = writer.environment
    path = environment.deployment_path(record.number)
    staging = environment.path / f"{_STAGING}{secrets.token_hex(8)}"
    try:
        with disk_errors("the deployment can't be written", environment.path):
            make_folder(path.parent)
            staging.mkdir()
            for name, data in (*files.items(), (RECORD_FILE, record.render().encode())):
                write_file(staging / name, data)
            flush_folder(staging)
            staging.rename(path)
            flush_folder(path.parent)
            _switch(environment, record.number)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        if not _is_current(environment, record.number):
            shutil.rmtree(path, ignore_errors=True)
        raise
    return Deployment(record.number, path, record)


def _switch(environment: Environment, number: int) -> None:
    replace_file(environment.path / "current", number_file(number))


def _stamp(writer: Writer) -> Stamp:
    if not writer.lock.is_locked:
        raise ValueError("the writer was used after it was closed")
    return Stamp(RECORD_SCHEMA, _next_number(writer.environment), _now(), writer.command, user_name(), _ppm_version())


def _next_number(environment: Environment) -> int:
    try:
        current = environment.current_number()
    except EnvironmentStateError:
        current = 0
    return max(current, 0, *environment.stored_numbers()) + 1


def _remove_leftovers(environment: Environment) -> None:
    for path in environment.path.glob(f"{_STAGING}*"):
        shutil.rmtree(path)
    for path in environment.path.glob(f"{PARTIAL}*"):
        path.unlink()
    try:
        current = environment.current_number()
    except EnvironmentStateError:
        # Which deployments were in force is unknown, so none may be removed; the user has to choose one.
        return
    if current == 0:
        # From now on a missing `current` means that it was lost, not that nothing was deployed yet.
        _switch(environment, 0)
        # The environment was removed by a process that was killed before it removed what was held in it.
        evidence.remove(environment.path / HOLDS_FILE)
    for number in environment.stored_numbers():
        if number > current:
            shutil.rmtree(environment.deployment_path(number))


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def user_name() -> str:
    """Who runs this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        # A container may run under a number that no account has.
        return str(os.getuid()) if hasattr(os, "getuid") else "unknown"


def _ppm_version() -> str:
    try:
        return version("policy-patch-manager")
    except PackageNotFoundError:
        return "unknown"
