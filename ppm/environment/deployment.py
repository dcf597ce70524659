"""What is deployed: environments and their deployments, read and verified. `transaction` changes them."""

import hashlib
import json
import os
import re
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ppm import document
from ppm.bank import EMPTY, Bank
from ppm.disk import disk_errors
from ppm.environment.attempts import Mark
from ppm.environment.store import Store
from ppm.errors import EnvironmentStateError, IntegrityError, ManifestError, RequestError
from ppm.lock import LOCK_FILE, Lock
from ppm.manifest import Manifest
from ppm.names import LONGEST_NUMBER, canonical_digest, check_name, is_folder
from ppm.verdict import Verdict, Waiver

__all__ = [
    "AUDIT_FILE",
    "HOLDS_FILE",
    "MANIFEST_FILE",
    "POLICY_FILE",
    "PREFIX_FILE",
    "RECORD_FILE",
    "RECORD_SCHEMA",
    "Deployment",
    "Environment",
    "Made",
    "Record",
    "Stamp",
    "number_file",
]

MANIFEST_FILE, PREFIX_FILE, AUDIT_FILE = "patch.toml", "prefix.safetensors", "audit.json"
RECORD_FILE, HOLDS_FILE = "deployment.toml", "holds.toml"
RECORD_SCHEMA = 2
_SCHEMAS = (1, RECORD_SCHEMA)  # records of schema 1 are from before they had a digest
POLICY_FILE = "policy.toml"  # the deployer's policy that it was tested under; deployments of an older ppm lack it
_TAG = re.compile(r"[a-z0-9][a-z0-9.-]*")
_NUMBER = re.compile(rf"[0-9]{{6,{LONGEST_NUMBER}}}")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_MOST_SHOWN = 20
# Everything else that an environment's folder holds has a dot in its name, which no normalised name has.
_RESERVED = ("current", "deployments", "lock")
_OTHERS = (
    "`ppm rollback NUMBER` goes back to a sound deployment (`ppm history` lists them); in a project, `ppm sync` "
    "deploys what is locked; `ppm env remove` starts over"
)


@dataclass(frozen=True)
class Stamp:
    """What a record says of its own making; `created` is a time in ISO 8601, UTC."""

    schema: int
    number: int
    created: str
    command: str
    user: str
    ppm_version: str


@dataclass(frozen=True)
class Made:
    """What is put in force: the base model, how the composition was made, and how it was tested.

    `base_model` is as the user gave it, `gates` the digest of the policy that it was tested under, and `ledger` where
    the base's ledger of attempts was then.
    """

    base_model: str
    fingerprint: str
    verdict: Verdict
    base_revision: str | None = None
    weights_digest: str | None = None
    strategy: str | None = None
    waivers: tuple[Waiver, ...] = ()
    gates: str | None = None
    ledger: Mark | None = None


@dataclass(frozen=True)
class Record(Made, Stamp):
    """deployment.toml: what was deployed, by whom and how.

    `rolled_back_from` is the number of the deployment whose files a rollback brought back. `files` maps the name of
    every other file of the deployment to `sha256:` and its digest; `digest` is that of all the rest of the record.
    """

    verdict: Verdict = "none"
    rolled_back_from: int | None = None
    files: dict[str, str] = field(default_factory=dict)
    digest: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.number < 10**LONGEST_NUMBER:
            raise ValueError("the number is not one that a deployment can have")
        if self.verdict in ("fail", "inconclusive"):
            raise ValueError(f"what is deployed can't have the verdict {self.verdict!r}")
        # A rollback writes files by these names, so none may lead out of the folder.
        for name in self.files:
            if not _FILE_NAME.fullmatch(name) or name == RECORD_FILE:
                raise ValueError(f"a deployed file can't be named {name!r}")

    def render(self) -> str:
        """The record as TOML, with its digest."""
        table = document.table_of(replace(self, digest=None))
        written = document.parse(document.render(table), "the record")  # which differs for bytes that are no text
        return document.render({**table, "digest": canonical_digest(written)})


@dataclass(frozen=True)
class Deployment:
    """One installed state of an environment. Its files are read when asked for, and verified.

    Reading one raises IntegrityError when it was changed after it was deployed, EnvironmentStateError when it
    can't be read.
    """

    number: int
    path: Path
    record: Record

    @cached_property
    def manifest(self) -> Manifest | None:
        """What is deployed; None when no patch is."""
        data = self.read(MANIFEST_FILE)
        return None if data is None else Manifest.parse(data, str(self.path / MANIFEST_FILE))

    @cached_property
    def lock(self) -> Lock:
        """The inputs; the packages it names are in the environment's store."""
        data = self.read(LOCK_FILE)
        if data is None:
            raise IntegrityError(f"has no {LOCK_FILE}", context=str(self.path), hint=_OTHERS)
        return Lock.parse(data, str(self.path / LOCK_FILE))

    @cached_property
    def bank(self) -> Bank:
        """The deployed bank; empty when no patch is deployed."""
        data = self.read(PREFIX_FILE)
        table = self.manifest.bank if self.manifest else None
        return EMPTY if data is None else Bank.parse(data, str(self.path / PREFIX_FILE), table)

    @cached_property
    def audit(self) -> dict[str, Any] | None:
        """The audit that let it pass; None when there was none."""
        data = self.read(AUDIT_FILE)
        if data is None:
            return None
        try:
            result: dict[str, Any] = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise IntegrityError("is not an audit", context=str(self.path / AUDIT_FILE), hint=_OTHERS) from error
        return result

    def read(self, name: str) -> bytes | None:
        """The verified bytes of one of its files; None when it was deployed without."""
        declared = self.record.files.get(name)
        if declared is None:
            return None
        path = self.path / name
        hint = (
            _OTHERS
            if name == LOCK_FILE
            else f"if it is the current one, `ppm install` deploys it again from the store; {_OTHERS}"
        )
        with disk_errors("can't be read", path):
            try:
                data = path.read_bytes()
            except FileNotFoundError as error:
                raise IntegrityError("was deleted after it was deployed", context=str(path), hint=hint) from error
        if "sha256:" + hashlib.sha256(data).hexdigest() != declared:
            raise IntegrityError("was changed after it was deployed", context=str(path), hint=hint)
        return data

    def files(self) -> dict[str, bytes]:
        """All its files but the record, verified."""
        contents = {name: self.read(name) for name in self.record.files}
        return {name: data for name, data in contents.items() if data is not None}


@dataclass(frozen=True)
class Environment:
    """What is deployed for one base model, by its tag; `name` tells several for one base apart.

    Raises RequestError when the tag or the name is not one.
    """

    home: Path
    tag: str
    name: str | None = None

    def __post_init__(self) -> None:
        if not _TAG.fullmatch(self.tag):
            raise RequestError(
                f"{self.tag!r} is not a base model's tag",
                hint="it is a short name, a dash and 12 hexadecimal digits",
            )
        if self.name is not None:
            object.__setattr__(self, "name", _check_environment_name(self.name))

    @staticmethod
    def all(home: Path) -> "tuple[Environment, ...]":
        """Every environment in which something is deployed, damaged ones included."""
        return tuple(environment for environment in Environment.everywhere(home) if environment.exists())

    @staticmethod
    def everywhere(home: Path) -> "tuple[Environment, ...]":
        """Every environment, those in which nothing is deployed, yet or any more, included."""
        found = []
        for folder in _folders(home / "environments"):
            if not _TAG.fullmatch(folder.name):
                continue
            found.append(Environment(home, folder.name))
            for inner in _folders(folder):
                if inner.name not in _RESERVED and _is_normalised(inner.name):
                    found.append(Environment(home, folder.name, inner.name))
        return tuple(found)

    @property
    def path(self) -> Path:
        """Its folder."""
        folder = self.home / "environments" / self.tag
        return folder / self.name if self.name else folder

    @property
    def label(self) -> str:
        """How messages call it: the tag, and the name if it has one."""
        return f"{self.tag}/{self.name}" if self.name else self.tag

    @property
    def store(self) -> Store:
        """Where the deployed package files are, by the digests that the lock names."""
        return Store(self.home)

    def exists(self) -> bool:
        """Whether anything is deployed, readable or not."""
        try:
            return self.current_number() > 0
        except EnvironmentStateError:
            return True

    def current(self) -> Deployment | None:
        """The deployment in force; None when there is none yet.

        Raises EnvironmentStateError or IntegrityError when it is damaged.
        """
        number = self.current_number()
        if number == 0:
            return None
        if not is_folder(self.deployment_path(number)):
            raise self._damaged(f"names deployment {number}, which no longer exists")
        return _read_deployment(self.deployment_path(number), number)

    def current_number(self) -> int:
        """The number of the deployment in force; 0 when there is none yet.

        Raises EnvironmentStateError when the file that says so is lost or damaged.
        """
        path = self.path / "current"
        with disk_errors("can't be read", path):
            try:
                text = path.read_text("ascii", errors="replace").strip()
            except FileNotFoundError:
                if self.stored_numbers():
                    raise self._damaged("is missing") from None
                return 0
        number, _, check = text.partition("\n")
        if not _NUMBER.fullmatch(number):
            raise self._damaged(f"holds {text[:40]!r} instead of a number")
        if check and check != _check_of(number):
            raise self._damaged(f"was changed: {number} is not the number that was written")
        return int(number)

    def numbers(self) -> tuple[int, ...]:
        """The numbers of the deployments that are, or were, in force; of all when it is unknown which one is."""
        try:
            last = self.current_number()
        except EnvironmentStateError:
            return self.stored_numbers()
        return tuple(number for number in self.stored_numbers() if number <= last)

    def deployments(self) -> tuple[Deployment, ...]:
        """Those that are, or were, in force, by number. Raises as `deployment` does."""
        return tuple(self.stored(number) for number in self.numbers())

    def deployment(self, number: int) -> Deployment:
        """The numbered one. Raises RequestError when there is none, IntegrityError when its record is damaged."""
        if not self._was_in_force(number):
            raise RequestError(f"has no deployment {_shown(number)}", context=self.label, hint=self._known_numbers())
        return self.stored(number)

    def _was_in_force(self, number: int) -> bool:
        """Whether it is one of `numbers`, without reading them all."""
        if not 0 < number < 10**LONGEST_NUMBER or not is_folder(self.deployment_path(number)):
            return False
        try:
            return number <= self.current_number()
        except EnvironmentStateError:
            return True

    def _known_numbers(self) -> str:
        numbers = self.numbers()
        if not numbers:
            return "nothing has been deployed yet"
        if len(numbers) > _MOST_SHOWN:
            return f"deployments are {numbers[0]} to {numbers[-1]}; `ppm history` lists them"
        return f"deployments are {', '.join(map(str, numbers))}"

    def stored(self, number: int) -> Deployment:
        """A deployment on disk, in force or not. Raises IntegrityError when its record is damaged."""
        return _read_deployment(self.deployment_path(number), number)

    def stored_numbers(self) -> tuple[int, ...]:
        """The numbers of all deployments on disk, one that a killed process stored but never put in force included."""
        names = [folder.name for folder in _folders(self.path / "deployments")]
        found = [int(name) for name in names if _NUMBER.fullmatch(name) and name == f"{int(name):06d}"]
        return tuple(sorted(number for number in found if number > 0))

    def deployment_path(self, number: int) -> Path:
        """The folder of the numbered deployment, whether it exists or not."""
        return self.path / "deployments" / f"{number:06d}"

    def _damaged(self, message: str) -> EnvironmentStateError:
        return EnvironmentStateError(message, context=str(self.path / "current"), hint=_OTHERS)


def number_file(number: int) -> bytes:
    """What the file `current` holds: the number in force, and below it what shows that it is the one that was written.

    Files from before there was that line hold the number alone.
    """
    text = f"{number:06d}"
    return f"{text}\n{_check_of(text)}\n".encode()


def _check_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _check_environment_name(text: str) -> str:
    try:
        name = check_name(text)
    except ValueError as error:
        raise RequestError(f"the environment's name can't be used: {error}", hint="try 'staging'") from error
    if name in _RESERVED:
        raise RequestError(f"an environment can't be named {name!r}", hint="choose another name, such as 'staging'")
    return name


def _is_normalised(name: str) -> bool:
    try:
        return check_name(name) == name
    except ValueError:
        return False


def _folders(path: Path) -> list[Path]:
    with disk_errors("can't be read", path):
        try:
            with os.scandir(path) as entries:
                return sorted(path / entry.name for entry in entries if entry.is_dir())
        except FileNotFoundError:
            return []


def _shown(number: int) -> str:
    return str(number) if abs(number) < 10**LONGEST_NUMBER else "with so many digits"


def _read_deployment(path: Path, number: int) -> Deployment:
    origin, at = path / RECORD_FILE, str(path / RECORD_FILE)
    with disk_errors("can't be read", origin):
        try:
            table = document.parse(origin.read_bytes(), at)
            if "schema" not in table:
                raise ManifestError("schema is missing")
            if table["schema"] not in _SCHEMAS:
                raise EnvironmentStateError(
                    f"was written by a different version of ppm (schema {table.get('schema')!r})",
                    context=at,
                    hint=f"this one reads schema {RECORD_SCHEMA}; use a newer ppm",
                )
            rest = {key: value for key, value in table.items() if key != "digest"}
            if table["schema"] == RECORD_SCHEMA and table.get("digest") != canonical_digest(rest):
                raise ManifestError("it was changed after it was deployed")
            record = document.read_table(Record, table, at)
        except FileNotFoundError as error:
            raise IntegrityError("was deleted after it was deployed", context=at, hint=_OTHERS) from error
        except (ManifestError, TypeError) as error:  # a date, which no record has, is no JSON
            raise IntegrityError(f"is damaged: {getattr(error, 'message', error)}", context=at, hint=_OTHERS) from error
    if record.number != number:
        raise IntegrityError(f"is the record of deployment {record.number} instead", context=at, hint=_OTHERS)
    return Deployment(number, path, record)
