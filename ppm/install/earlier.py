"""What earlier deployments left to be held to: the suites of replaced versions, and the anchors."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ppm.audit.anchors import Anchor, SuiteKey, anchors_by
from ppm.environment.deployment import Deployment, Environment
from ppm.errors import PpmError
from ppm.install.current import audit_of
from ppm.install.fetch import readable_packages
from ppm.package import Package, read_package

if TYPE_CHECKING:
    from ppm.audit.model import Audit

__all__ = ["anchors_of", "replaced_packages"]


def replaced_packages(
    environment: Environment, packages: Sequence[Package], deployed: "Audit | None"
) -> tuple[Package, ...]:
    """Packages of earlier deployments that brought suites of the deployed audit, such as those of replaced versions."""
    from ppm.evaluation.suites import package_suites
    from ppm.lab.prompts import digests_of_draws

    def digests(packages: Sequence[Package]) -> set[str]:
        return set[str]().union(*(digests_of_draws(suite) for suite in package_suites(packages)))

    lacking = {suite.digest for suite in deployed.suites.values() if suite.owner is not None} if deployed else set()
    lacking -= digests(packages) if lacking else set()
    known, found = {package.sha256 for package in packages}, []
    for deployment in _latest_first(environment) if lacking else ():
        try:
            earlier, _ = readable_packages(deployment, environment)
        except PpmError:  # `verify` says what is wrong with it
            continue
        for package in earlier:
            theirs = digests([package])
            if package.sha256 not in known and theirs & lacking:
                found.append(package)
                known.add(package.sha256)
                lacking -= theirs
        if not lacking:
            break
    return tuple(found)


def anchors_of(environment: Environment) -> dict[SuiteKey, Anchor]:
    """The anchor of each suite that a deployment was tested with; a rollback, which brings an old audit back, has no
    part in it.
    """
    history: list[tuple[str, Audit]] = []
    names: dict[str, str] = {}
    for deployment in reversed(_latest_first(environment)):
        try:
            audit, made = audit_of(deployment), deployment.lock.composition
        except PpmError:
            continue
        if audit is None or made is None or deployment.record.rolled_back_from is not None:
            continue
        composed = f"sha256:{made.sha256}"
        names.setdefault(composed, f"deployment {deployment.number}")
        history.append((composed, audit))
    digests = anchors_by(history, lambda digest: environment.store.has(digest.removeprefix("sha256:")))
    found = {d: _read(environment, d, names.get(d, "an earlier deployment")) for d in set(digests.values())}
    return {key: found[digest] for key, digest in digests.items()}


def _read(environment: Environment, digest: str, name: str) -> Anchor:
    sha256 = digest.removeprefix("sha256:")
    try:
        package = read_package(environment.store.get(sha256), origin=name, expected_sha256=sha256)
    except PpmError:
        return Anchor(digest, name, None, "before-bos")
    return Anchor(digest, name, package.bank, package.manifest.base.placement)


def _latest_first(environment: Environment) -> "list[Deployment]":
    found = []
    for number in reversed(environment.numbers()):
        try:
            found.append(environment.deployment(number))
        except PpmError:  # `verify` says what is wrong with it
            continue
    return found
