"""What a plan starts from: where it is made, on top of what, what was asked, and the rules that versions keep to."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from packaging.version import Version

from ppm.base import BaseModel
from ppm.environment.deployment import Deployment, Environment
from ppm.environment.holds import Hold, read_holds
from ppm.errors import PpmError, RequestError, did_you_mean
from ppm.home import self_tests
from ppm.install.current import audit_of, policy_of
from ppm.install.request import Request
from ppm.lock import LockedPackage
from ppm.moment import Moment
from ppm.project import PROJECT_FILE, Gates, Project, keys_of, preferred
from ppm.requirement import Requirement, parse_name
from ppm.resolve import Rules
from ppm.running import Dtype
from ppm.runtime.dtypes import chosen
from ppm.workspace import Workspace

__all__ = ["Start", "newest_as_asked", "rules_for"]


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
        """The project's policy with what the command line says: which patches are preferred, and more prompts.

        Without a project, what an earlier command said of these patches is kept with what is deployed, and holds.
        Raises RequestError where the command line prefers each of two patches to the other, or one that is not there.
        """
        policy, asked = self.workspace.project.gates, self.request
        absent = next((name for entry in asked.prefer for name in preferred(entry) if name not in names), None)
        if absent is not None:
            hint = did_you_mean(absent, names, f"the patches are {', '.join(names)}")
            raise RequestError(f"--prefer names {absent!r}, which is none of the patches", hint=hint)
        earlier = self._said_before(names) if self.workspace.project_file is None else Gates()
        chosen: dict[frozenset[str], str] = {}
        for entry in (*asked.prefer, *policy.priority, *earlier.priority):
            chosen.setdefault(frozenset(preferred(entry)), entry)
        twice = next((entry for entry in asked.prefer if entry not in chosen.values()), None)
        if twice is not None:
            raise RequestError(f"--prefer says both {twice!r} and the opposite", hint="say one of them")
        more = {**earlier.more_prompts, **policy.more_prompts, **asked.more_prompts}
        more = {key: file for key, file in more.items() if file}
        return replace(policy, priority=tuple(chosen.values()), more_prompts=more)

    def _said_before(self, names: Sequence[str]) -> Gates:
        """What is kept of it that is about patches with these names; nothing where the deployment is damaged."""
        if self.previous is None:
            return Gates()
        try:
            deployed = policy_of(self.previous) or Gates()
            audit = audit_of(self.previous) if deployed.more_prompts else None
        except PpmError:  # which `ppm install` mends
            return Gates()
        suites = [] if audit is None else [(s.owner, label) for label, s in audit.suites.items()]
        owners = {key: owner for owner, label in suites for key in keys_of(owner, label)}
        return Gates(
            priority=tuple(entry for entry in deployed.priority if set(preferred(entry)) <= set(names)),
            more_prompts={key: f for key, f in deployed.more_prompts.items() if owners.get(key) in (None, *names)},
        )

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
    limit, limits = _newest(project, request)
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
        {name: moment.at for name, moment in limits.items()},
    )


def newest_as_asked(project: Project, request: Request) -> tuple[str | None, dict[str, str]]:
    """After when nothing is taken, of all names and of some, as the user put it. Raises RequestError."""
    limit, limits = _newest(project, request)
    return None if limit is None else limit.text, {name: limits[name].text for name in sorted(limits)}


def _newest(project: Project, request: Request) -> tuple[Moment | None, dict[str, Moment]]:
    """After when nothing is taken, and for which names it is another moment; the request comes before the project.

    Raises RequestError for names that can't be.
    """
    limits = {parse_name(name): moment for name, moment in project.exclude_newer_package.items()}
    return request.exclude_newer or project.exclude_newer, {**limits, **request.exclude_newer_package}


def _of(origin: str, requirements: Iterable[Requirement]) -> list[Requirement]:
    """Requirements with where they are from, for those that don't say."""
    return [r if r.origin else replace(r, origin=origin) for r in requirements]
