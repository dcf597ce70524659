"""Where a command works: PPM_HOME, the project of the working directory, the sources, and which base and environment it
means.

Opened once, at the edge. Needs no torch.
"""

import hashlib
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ppm.base import BaseModel, ModelName, identify, locate
from ppm.environment.default import default_environment, default_label
from ppm.environment.deployment import Environment
from ppm.environment.store import Store
from ppm.errors import ModelError, RequestError, did_you_mean
from ppm.home import ppm_home
from ppm.index.trust import Access, trusted_indexes
from ppm.lock import LockedBase
from ppm.locking import exclusive, lock_timeout
from ppm.names import expand, is_folder
from ppm.progress import Progress, silent
from ppm.project import Project
from ppm.resources import shipped_packages
from ppm.sources import Offer, Source, open_indexes, open_source

__all__ = ["Workspace", "base_of_environment", "look_up_base", "open_base"]


def _silent(message: str) -> None:
    pass


@dataclass(frozen=True)
class Workspace:
    """PPM_HOME, the folder that the command is given in, and the environment variables of its process.

    `tell` is told what a user should know of the sources, `progress` how far downloads and answers
    are; with `offline` no source is asked over a network.
    """

    home: Path
    folder: Path
    environ: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    tell: Callable[[str], None] = field(default=_silent, repr=False, compare=False)
    progress: Progress = field(default=silent, repr=False, compare=False)
    offline: bool = field(default=False, compare=False)

    @staticmethod
    def open(
        folder: Path,
        environ: Mapping[str, str] = os.environ,
        *,
        tell: Callable[[str], None] = _silent,
        progress: Progress = silent,
        offline: bool = False,
    ) -> "Workspace":
        """The workspace of a command that is given in a folder. Raises EnvironmentStateError."""
        return Workspace(ppm_home(environ), folder.absolute(), environ, tell, progress, offline)

    @property
    def access(self) -> Access:
        """How indexes are reached. Raises RequestError when PPM_NETWORK_TIMEOUT is no number of seconds."""
        text = self.environ.get("PPM_NETWORK_TIMEOUT") or "30"
        try:
            seconds = float(text)
        except ValueError:
            seconds = 0.0
        if not 0 < seconds < math.inf:
            raise RequestError(f"must be a number of seconds above 0, not {text!r}", context="PPM_NETWORK_TIMEOUT")
        offline = self.offline or bool(self.environ.get("PPM_OFFLINE"))
        return Access(offline, seconds, partials=self.index_files, progress=self.progress)

    @property
    def index_files(self) -> Path:
        """Where files that came from indexes are, by their digests."""
        return self.home / "cache" / "indexes"

    @property
    def lock_timeout(self) -> float:
        """How many seconds a command waits for another one. Raises RequestError when the user's word is no number."""
        return lock_timeout(self.environ)

    def hold(self, folder: Path, command: str, tell: Callable[[str], None]) -> AbstractContextManager[object]:
        """Nobody else changes a folder of the user's meanwhile. The lock lies in PPM_HOME: nothing is left there."""
        digest = hashlib.sha256(str(folder.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:32]
        path = self.home / "projects" / f"{digest}.lock"
        return exclusive(path, str(folder), command=command, timeout=self.lock_timeout, tell=tell)

    @cached_property
    def project_file(self) -> Path | None:
        """The ppm.toml of the project that the folder belongs to."""
        return Project.locate(self.folder)

    @cached_property
    def project(self) -> Project:
        """The project that the folder belongs to, or one that says nothing. Raises ManifestError."""
        return Project.read(self.project_file) if self.project_file else Project()

    @property
    def chosen(self) -> str | None:
        """The label of the environment that `ppm use` chose. Raises EnvironmentStateError when the file is damaged."""
        return default_label(self.home)

    @property
    def store(self) -> Store:
        """Where stored package files are."""
        return Store(self.home)

    def environments(self) -> dict[str, Environment]:
        """Every environment in which something is deployed, by its label."""
        return {environment.label: environment for environment in Environment.all(self.home)}

    def sources(self, base_name: str | None, locations: Sequence[str | Path]) -> list[Source]:
        """The sources at some locations, the indexes that the user trusts, and what comes with ppm for the base.

        Raises SourceError for a location that can't be one.
        """
        cache = self.home / "cache" / "sources"
        found = [open_source(location, cache) for location in locations]
        indexes = trusted_indexes(self.home)
        if indexes:
            found += open_indexes(indexes, self.index_files, self.access, before=found, tell=self.tell)
        shipped = shipped_packages(base_name)
        if base_name is not None and shipped is not None:
            found.append(open_source(shipped, cache, label=base_name))
        return found

    def environment_for(self, base: BaseModel, name: str | None = None) -> Environment:
        """The environment of a base model: the one it has, whatever path it was named by then, else a new one."""
        digits = base.tag.rpartition("-")[2]
        tags = sorted({e.tag for e in self.environments().values() if e.tag.endswith(f"-{digits}")})
        return Environment(self.home, base.tag if base.tag in tags or not tags else tags[0], name)

    def find_environment(self, base: str | None, name: str | None = None) -> Environment:
        """The environment that a command means: of `base`, else of the project's, else the one that `ppm use`
        chose, else the only one there is.

        Raises RequestError when that leaves none, or several.
        """
        base = base or self.project.base
        name = Environment(self.home, "any", name).name  # in its one form
        known = self.environments()
        if base in known:
            return known[base] if name is None else _named(Environment(self.home, known[base].tag, name))
        if base is not None:
            return _named(self.environment_for(open_base(base, fetch=False), name))
        default = default_environment(self.home, known) if name is None else None
        if default is not None:
            return default
        chosen = [environment for environment in known.values() if name is None or environment.name == name]
        if len(chosen) == 1:
            return chosen[0]
        if not chosen:
            asked = f" in an environment named {name!r}" if name else ""
            near = did_you_mean(name, [e.name for e in known.values() if e.name]) if name else ""
            raise RequestError(
                f"nothing is deployed{asked}",
                hint=near or "start with `ppm install PATCH --base MODEL`, or try `ppm quickstart`",
            )
        raise RequestError(
            "there are several environments; which one?",
            hint=f"name one with --base, or choose a default with `ppm use`: {', '.join(e.label for e in chosen)}",
        )

    def find_target(self, base: str | None, name: str | None = None) -> tuple[BaseModel, Environment]:
        """The base model and the environment that a command means; `base` may also be an environment's label.

        Raises RequestError or ModelError: no such model, or not the one that the environment was made for any more.
        """
        base = base or self.project.base
        known = self.environments()
        if base is not None:
            found = base_of_environment(known[base]) if base in known else open_base(base)
            return found, known[base] if base in known and name is None else self.environment_for(found, name)
        if not known:
            raise RequestError("which base model?", hint="name it with --base MODEL, for example --base lab")
        environment = self.find_environment(None, name)
        return base_of_environment(environment), environment

    def base_name(self, base: str | None) -> str:
        """The base model that a user names, be it by an environment of it, else the project's, else that of `ppm use`.

        Raises RequestError when none of them names one.
        """
        found = base or self.project.base or self.chosen
        if found is None:
            raise RequestError("which base model?", hint="name it with --base MODEL, for example --base lab")
        known = self.environments()
        current = known[found].current() if found in known else None
        if current is None:
            return found
        record = current.record
        return f"{record.base_model}@{record.base_revision}" if record.base_revision else record.base_model


def _named(environment: Environment) -> Environment:
    """The environment. Raises RequestError when it has a name that no environment of its base has."""
    if environment.name is not None and not environment.exists():
        names = [e.name for e in Environment.all(environment.home) if e.tag == environment.tag and e.name]
        near = did_you_mean(environment.name, names, f"environments are {', '.join(names)}" if names else "")
        hint = near or "`ppm install ... --env NAME` creates one"
        raise RequestError(f"there is no environment {environment.label}: nothing was ever deployed in it", hint=hint)
    return environment


def open_base(name: str, *, fetch: bool = True) -> BaseModel:
    """The base model that a user names: `lab`, a folder, or a hub name with its commit. Raises ModelError.

    From the hub it is fetched only if `fetch` is set.
    """
    named = ModelName.parse(name)
    shown = str(expand(named.model).resolve()) if named.is_folder else named.model
    return identify(named.locate(fetch=fetch), name=shown, revision=named.revision)


def base_of_environment(environment: Environment) -> BaseModel:
    """The base model of an environment, if it is still the one that its patches were deployed for.

    Raises RequestError when nothing is deployed, ModelError when the model is gone or has changed.
    """
    current = environment.current()
    if current is None:
        raise RequestError(f"nothing is deployed in {environment.label}", hint="name the base model itself with --base")
    record = current.record
    base = identify(
        locate(record.base_model, record.base_revision), name=record.base_model, revision=record.base_revision
    )
    if base.fingerprint != record.fingerprint:
        raise ModelError(
            f"{record.base_model} has changed since {environment.label} was made for it",
            hint="restore the model, or reinstall the patches for the new one",
        )
    return base


def look_up_base(
    named: str, offer: Offer, names: Iterable[str], *, folder: str | None = None, known: LockedBase | None = None
) -> LockedBase:
    """Which model a name means, without fetching it.

    By its files where they are (in `folder`, or here), else as it is `known`, else by what the packages of some names
    say. Raises ModelError.
    """
    name = ModelName(named) if folder is not None else ModelName.parse(named)
    model, revision = name.model, name.revision
    path = folder or model
    try:
        found = locate(path, revision, fetch=False)
        return LockedBase(model, identify(found).fingerprint, revision)
    except ModelError as error:
        if is_folder(expand(path)):
            raise
        problem = error
    if known is not None and (known.model, known.revision) == (model, revision):
        return known
    releases = [c for name in names for c in offer.named(name) if c.base_model == model]
    fingerprints = {c.fingerprint for c in releases if c.base_revision in (None, revision)}
    if len(fingerprints) != 1 and revision is not None:
        which = "these sources have no package for it"
        if releases:
            which = (
                "the packages disagree about which model it is"
                if fingerprints
                else "their packages are for a different commit of it"
            )
        raise ModelError(f"is not on this machine, and {which}", context=named, hint=problem.hint)
    if len(fingerprints) != 1:
        raise problem
    return LockedBase(model, fingerprints.pop(), revision)
