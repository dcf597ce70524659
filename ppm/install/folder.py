"""A project's folder: its ppm.toml and ppm.lock, and what of the one does not answer the other."""

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from ppm import document
from ppm.base import ModelName
from ppm.composition.strategy import read_strategy
from ppm.disk import disk_errors, replace_file
from ppm.errors import ManifestError, RequestError
from ppm.install.plan import DEFAULT_STRATEGY
from ppm.lock import LOCK_FILE, Lock
from ppm.names import expand
from ppm.project import PROJECT_FILE, Project
from ppm.requirement import texts_of
from ppm.workspace import Workspace

__all__ = ["ProjectFolder", "asks_nothing"]


@dataclass(frozen=True)
class ProjectFolder:
    """A folder with a ppm.toml: the project as read, and its base model as the file names it."""

    workspace: Workspace
    path: Path
    project: Project
    base: str | None

    @staticmethod
    def find(workspace: Workspace) -> "ProjectFolder":
        """The nearest one. Raises RequestError when there is none, ManifestError when its file is malformed."""
        path = workspace.project_file
        if path is None:
            raise RequestError(
                f"there is no {PROJECT_FILE} in this folder or above it",
                hint="`ppm add PATCH --base MODEL` makes one",
            )
        return ProjectFolder.of(workspace, document.read_file(path), path)

    @staticmethod
    def of(workspace: Workspace, table: Mapping[str, object], path: Path) -> "ProjectFolder":
        """From the data of the file at `path`. Raises ManifestError."""
        project = Project.of(table, path)
        base = table.get("base")
        return ProjectFolder(workspace, path.parent, project, base if isinstance(base, str) else None)

    @property
    def lock_path(self) -> Path:
        return self.path / LOCK_FILE

    def exclusive(self, command: str, tell: Callable[[str], None]) -> AbstractContextManager[object]:
        """Nobody else changes the project's files meanwhile. Raises EnvironmentStateError."""
        return self.workspace.hold(self.path, command, tell)

    def lock(self) -> Lock | None:
        """What was locked; None when nothing was yet. Raises ManifestError."""
        if not self.lock_path.is_file():
            return None
        try:
            return Lock.read(self.lock_path)
        except ManifestError as error:
            mend = "restore it, or delete it and run `ppm lock`, which then locks everything from scratch"
            raise ManifestError(error.message, context=error.context, hint=mend) from error

    def write_lock(self, lock: Lock) -> None:
        """Replace the lock. Raises EnvironmentStateError."""
        with disk_errors("can't be written", self.lock_path):
            replace_file(self.lock_path, lock.render().encode(), sole_writer=True)

    def stale(self, lock: Lock) -> str:
        """Why a lock does not answer the project any more, or ""."""
        if lock.requirements != self.project.patches:
            asked, locked = (", ".join(texts_of(r)) or "nothing" for r in (self.project.patches, lock.requirements))
            return f"{PROJECT_FILE} asks for {asked}, but the lock answers {locked}"
        overrides = {(r.name, r.specifier) for r in self.project.overrides}
        for override in lock.overrides:
            if (override.name, override.specifier) not in overrides:
                return f"{PROJECT_FILE} no longer has the override {override}, which the locked patches need"
        strategy = self.project.strategy or DEFAULT_STRATEGY
        if (lock.strategy, lock.strategy_digest) != (self.shown(strategy), read_strategy(strategy).digest):
            return f"the strategy {strategy} differs from the locked one"
        if self.base is not None and (lock.base.model, lock.base.revision) != self._base():
            locked = f"{lock.base.model}@{lock.base.revision}" if lock.base.revision else lock.base.model
            return f"{PROJECT_FILE} names the base model {self.base}, but the lock has {locked}"
        return ""

    def _base(self) -> tuple[str | None, str | None]:
        """The base model as the file names it, and its commit."""
        found = self.project.base
        named = ModelName.parse(self.base or "") if found is None or found == self.base else ModelName(self.base or "")
        return named.model, named.revision

    def shown(self, location: str) -> str:
        """A path as the lock has it: relative to the project where it is inside."""
        path = Path(location)
        if path.is_absolute() and path.is_relative_to(self.path.resolve()):
            return os.path.relpath(path, self.path.resolve())
        return location

    def meant(self, shown: str) -> str:
        """The path that the lock has as `shown`."""
        project = self.project
        own = [str((self.path / expand(r.text)).resolve()) for r in project.patches if r.is_file]
        known = [project.strategy or "", *project.sources, *own]
        return next((location for location in known if location and self.shown(location) == shown), shown)


def asks_nothing() -> RequestError:
    """What to say of a project without patches."""
    return RequestError(
        f"{PROJECT_FILE} lists no patches",
        hint="add one, for example: ppm add toxicity; `ppm uninstall` removes what is deployed",
    )
