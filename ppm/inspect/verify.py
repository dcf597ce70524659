"""Whether what is deployed is whole, and still keeps the rules that an install keeps."""

from collections.abc import Iterator

from packaging.version import Version

from ppm.environment.deployment import Deployment, Environment
from ppm.errors import PpmError
from ppm.install.fetch import releases_of, stored_packages
from ppm.resolve import Rules, faults

__all__ = [
    "broken",
    "damaged",
]


def broken(deployment: Deployment, environment: Environment) -> list[str]:
    """What is wrong with what is deployed, by the rules that an install keeps. Raises PpmError for damaged files."""
    packages = stored_packages(deployment, environment)
    requirements = deployment.lock.requirements
    rules = Rules(
        {p.manifest.name: Version(p.manifest.version) for p in packages},
        recorded=deployment.lock.overrides,
    )
    found = faults(releases_of(packages), requirements, deployment.record.fingerprint, rules)
    made = deployment.manifest.composition if deployment.manifest else None
    if made is not None and {c.sha256 for c in made.components} != {p.sha256 for p in packages}:
        found.append("the composition was made of other patches than those that the lock names")
    return found


def damaged(environment: Environment) -> Iterator[tuple[str, str | None]]:
    """(what was verified, what is wrong with it or None): every deployment's files and every package it needs."""
    try:
        environment.current()
        yield "what is in force", None
    except PpmError as error:
        yield "what is in force", error.message
    for number in environment.numbers():
        label = f"deployment {number}"
        try:
            deployment = environment.deployment(number)
            deployment.files()
            lock = deployment.lock
        except PpmError as error:
            yield label, f"{error.context}: {error.message}" if error.context else error.message
            continue
        yield label, None
        wanted = {package.sha256: package.pin for package in lock.packages}
        if lock.composition is not None:
            wanted[lock.composition.sha256] = "its composition"
            wanted[lock.composition.audit] = "its audit"
        for digest, name in wanted.items():
            try:
                environment.store.get(digest)
            except PpmError as error:
                yield f"{label}, {name}", error.message
            else:
                yield f"{label}, {name}", None
