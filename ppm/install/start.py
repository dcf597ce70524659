"""What a plan starts from: where it is made, on top of what, what was asked, and the rules that versions keep to."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from packaging.version import Version

from ppm.base import BaseModel
from ppm.environment.deployment import Deployment, Environment
from ppm.environment.holds import Hold, read_holds
from ppm.errors import RequestError
from ppm.home import self_tests
from ppm.install.current import audit_of, policy_of
from ppm.install.request import Request
from ppm.lock import LockedPackage
from ppm.project import PROJECT_FILE, Gates, Project, preferred
from ppm.requirement import Requirement
from ppm.resolve import Rules
from ppm.running import Dtype
from ppm.runtime.dtypes import chosen
from ppm.workspace import Workspace

__all__ = ["Start", "rules_for"]


@dataclass(frozen=True)
class Start:
    """What a plan starts from: where it is made, for which base, on top of which deployment, and what was asked."""

    workspace: Workspace
    base: BaseModel
    environment: Environment
    request: Request = field(default_factory=Request)
    on_top: bool = True
    """Whether what is deployed counts."""

    @cached_property
    def previous(self) -> Deployment | None:
        """What is deployed. Raises EnvironmentStateError or IntegrityError when it is damaged."""
        return self.environment.current() if self.on_top else None

    @property
    def requirements(self) -> tuple[Requirement, ...]:
        """What was asked for before."""
        return self.previous.lock.requirements if self.previous else ()

    @cached_property
    def packages(self) -> dict[str, LockedPackage]:
        """The deployed packages by name."""
        return {package.name: package for package in self.previous.lock.packages} if self.previous else {}

    @cached_property
    def versions(self) -> dict[str, Version]:
        """The deployed versions by name."""
        return {name: Version(package.version) for name, package in self.packages.items()}

    @cached_property
    def dtype(self) -> Dtype | None:
        """What the base is tested and loaded in: what was asked for, else what is deployed, else the faster one."""
        asked = self.request.running
        if asked.dtype is None and self.previous is not None:
            return self.previous.lock.dtype
        return chosen(asked, self.base, kept=self_tests(self.workspace.home)).recorded

    def policy(self, names: Sequence[str]) -> Gates:
        """The project's policy with what was asked for on the command line, now or for what is deployed.

        That is which patches are preferred, and more prompts for suites of the base, the deployer and the patches with
        these names. Raises IntegrityError.
        """
        policy = self.workspace.project.gates
        deployed = policy_of(self.previous) if self.previous is not None else None
        said = dict.fromkeys((*policy.priority, *self.request.prefer))
        settled = {frozenset(preferred(entry)) for entry in said}
        kept = [e for e in (deployed.priority if deployed else ()) if frozenset(preferred(e)) not in settled]
        audit = audit_of(self.previous) if self.previous is not None else None
        owners = {label: suite.owner for label, suite in audit.suites.items()} if audit is not None else {}
        earlier = deployed.more_prompts if deployed else {}
        earlier = {label: file for label, file in earlier.items() if owners.get(label) in (None, *names)}
        more = {**earlier, **policy.more_prompts, **self.request.more_prompts}
        more = {label: file for label, file in more.items() if file}
        return replace(policy, priority=(*said, *kept), more_prompts=more)

    @cached_property
    def holds(self) -> tuple[Hold, ...]:
        """The patches that are held. Raises EnvironmentStateError."""
        return read_holds(self.environment)


def rules_for(
    project: Project,
    request: Request,
    deployed: Mapping[str, Version] | None = None,
    holds: Sequence[Hold] = (),
    recorded: Sequence[Requirement] = (),
) -> Rules:
    """What the project, the request and the holds of an environment keep the choice of versions to.

    `recorded` are the overrides that were recorded with what is deployed; the request's come before the project's.
    Raises RequestError.
    """
    limit = request.exclude_newer or project.exclude_newer
    for requirement in request.overrides:
        if sum(requirement.name == other.name for other in request.overrides) > 1:
            raise RequestError(
                f"there are several overrides for {requirement.name}",
                context=requirement.origin,
                hint="combine them into one, such as 'core>=1,<2'",
            )
    overrides = {requirement.name: requirement for requirement in (*project.overrides, *request.overrides)}
    return Rules(
        deployed or {},
        [*(_of(PROJECT_FILE, project.constraints)), *request.constraints],
        list(_of(PROJECT_FILE, overrides.values())),
        limit.at if limit is not None else None,
        _of("what is deployed", recorded),
        frozenset(hold.name for hold in holds),
        request.search_seconds,
    )


def _of(origin: str, requirements: Iterable[Requirement]) -> list[Requirement]:
    """Requirements with where they are from, for those that don't say."""
    return [r if r.origin else replace(r, origin=origin) for r in requirements]
