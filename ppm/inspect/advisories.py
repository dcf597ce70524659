"""Whether what is deployed is affected by the advisories of its publishers, by running the prompts that they name."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ppm.environment.advised import Judged, keep_verdicts
from ppm.environment.deployment import Deployment, Environment
from ppm.errors import EndpointError, ManifestError, ModelError
from ppm.home import self_tests
from ppm.index.advisory import Advisory
from ppm.install.advisories import listed_on, unaffected_version
from ppm.install.current import deployed, running_of
from ppm.names import cut
from ppm.progress import Events
from ppm.running import UNSAID, Running
from ppm.workspace import Workspace, base_of_environment

if TYPE_CHECKING:
    from ppm.evaluation.results import ResultStore
    from ppm.evaluation.suites import LoadedSuite
    from ppm.runtime.loading import LazyModel

__all__ = ["Found", "judge_deployed"]

ALPHA = 0.05
WITHHELD = "its publisher withholds the prompts"


@dataclass(frozen=True)
class Found:
    """The advisories on what is deployed, each judged."""

    deployment: int
    verdicts: tuple[Judged, ...]

    @property
    def affected(self) -> tuple[Judged, ...]:
        """Those by which the deployment is affected."""
        return tuple(one for one in self.verdicts if one.verdict == "affected")


def judge_deployed(
    workspace: Workspace,
    environment: Environment,
    *,
    asked: Running = UNSAID,
    events: Events = Events(),  # noqa: B008
) -> Found:
    """Read the advisories on the deployed patches, run their prompts on what is deployed, and keep the verdicts.

    Raises RequestError when nothing is deployed, SourceError when an index can't be read, IntegrityError for an
    advisory that its publisher did not sign.
    """
    deployment = deployed(environment)
    made = deployment.lock.composition
    assert made is not None
    base = base_of_environment(environment)
    sources = workspace.sources(base.name, workspace.project.sources)
    about = [(package, one) for package in deployment.lock.packages for one in listed_on(sources, package)]
    bench = _Bench.of(environment, deployment, running_of(deployment, asked), events) if about else None
    verdicts = []
    for package, listed in about:
        advisory = listed.advisory
        plain = Judged(
            id=advisory.id,
            advisory=listed.sha256,
            composition=made.sha256,
            name=package.name,
            version=package.version,
            verdict="unknown",
            summary=advisory.summary,
            source=listed.source,
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            fixed=unaffected_version(sources, package, deployment.lock.base),
        )
        assert bench is not None
        verdicts.append(bench.judged(advisory, plain))
    keep_verdicts(environment.home, made.sha256, verdicts)
    return Found(deployment.number, tuple(verdicts))


@dataclass(frozen=True)
class _Bench:
    """What is deployed, ready to be asked; the model is loaded when the first answer is not kept."""

    deployment: Deployment
    model: "LazyModel"
    store: "ResultStore"
    events: Events

    @staticmethod
    def of(environment: Environment, deployment: Deployment, running: Running, events: Events) -> "_Bench":
        from ppm.evaluation.results import result_store
        from ppm.runtime.loading import LazyModel

        base = base_of_environment(environment)
        return _Bench(
            deployment,
            LazyModel(base, self_tests(environment.home), running, events.tell),
            result_store(environment.home / "cache" / "results", base, running=running),
            events,
        )

    def judged(self, advisory: Advisory, plain: Judged) -> Judged:
        """The verdict by what was measured; unknown where nothing can be."""
        from ppm.evaluation.advised import advised_suite
        from ppm.evaluation.statistics import rate_interval

        try:
            suite = advised_suite(advisory)
            rates = self._measured(suite) if suite is not None else {}
        except (ManifestError, ModelError, EndpointError) as error:
            return replace(plain, reason=cut(" ".join(f"its prompts can't be run: {error.message}".split())))
        if suite is None or advisory.suite is None:
            return replace(plain, reason=WITHHELD)
        found, limit = rate_interval(rates["composition"], ALPHA), advisory.suite.limit
        return replace(
            plain,
            verdict="affected" if found.value > limit else "not affected",
            rate=found.value,
            upper=found.high,
            base_rate=sum(rates["base"]) / len(rates["base"]),
            limit=limit,
            prompts=len(suite.prompts),
        )

    def _measured(self, suite: "LoadedSuite") -> dict[str, list[float]]:
        """How often each prompt fails, on the base and on what is deployed."""
        from ppm.evaluation.results import Configuration, kept_outcomes

        assert self.deployment.manifest is not None
        placement = self.deployment.manifest.base.placement
        asked = [Configuration("base"), Configuration("composition", self.deployment.bank)]
        outcomes = kept_outcomes(asked, [suite], placement=placement, store=self.store)
        if outcomes is None:
            from ppm.evaluation.runner import evaluate

            suite.scorer.prepare()
            outcomes = evaluate(
                self.model.loaded,
                asked,
                [suite],
                placement=placement,
                store=self.store,
                progress=self.events.progress,
            )
        return {one.name: suite.evidence(outcomes[one.name, suite.digest].values) for one in asked}
