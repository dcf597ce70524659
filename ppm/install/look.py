"""Looking at an environment and at its sources: what is newer, what is broken, what was changed on disk."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from ppm.base import BaseModel
from ppm.environment.deployments import Deployment, Environment
from ppm.environment.holds import read_holds
from ppm.errors import PpmError, ResolutionError
from ppm.install.asked import Options
from ppm.install.packages import sources_of, stored_packages
from ppm.install.plan import plan_upgrade, rules_for
from ppm.lock import Project
from ppm.package import Package
from ppm.resolve import Rules, faults, parse_requirement
from ppm.resolve.universe import Universe
from ppm.sources import Candidate, Joined

__all__ = ["Newer", "broken", "candidates_of", "changes", "damaged", "newer", "search"]


@dataclass(frozen=True)
class Newer:
    """A deployed patch and what there is of it: what an upgrade would take, the newest of all, and what is in the way.

    `latest` is None when no source has the patch.
    """

    name: str
    version: str
    wanted: str
    latest: str | None
    note: str = ""

    @property
    def outdated(self) -> bool:
        return self.wanted != self.version or (self.latest is not None and Version(self.latest) > Version(self.version))


def candidates_of(packages: Sequence[Package]) -> dict[str, Candidate]:
    """Deployed packages as candidates, by name."""
    return {
        p.manifest.name: Candidate.of(p.manifest, file_name=p.file_name, sha256=p.sha256, source="") for p in packages
    }


def newer(base: BaseModel, environment: Environment, options: Options) -> list[Newer]:
    """Every deployed patch with its newest versions. Raises PpmError."""
    deployment = environment.current()
    if deployment is None or not deployment.lock.packages:
        return []
    project = Project.find(Path.cwd()) or Project()
    deployed = {p.name: Version(p.version) for p in deployment.lock.packages}
    holds = read_holds(environment)
    offer = Joined(sources_of(base.name, project, options.find_links))
    rules = rules_for(project, options, deployed, holds, deployment.lock.overrides)
    universe = Universe(offer, base.fingerprint, rules)
    try:
        pins = plan_upgrade((), base, environment, options).pins
        wanted = {pin.candidate.name: str(pin.candidate.version) for pin in pins}
    except ResolutionError:
        wanted = {}
    held = {hold.name for hold in holds}
    found = []
    for package in deployment.lock.packages:
        latest = universe.select(package.name, universe.matching(package.name, SpecifierSet()))
        own = next((c for c in universe.versions(package.name) if str(c.version) == package.version), None)
        notes = ["held"] if package.name in held else []
        if own is not None and own.yanked is not None:
            notes.append("deployed version was yanked" + (f": {own.yanked}" if own.yanked else ""))
        shown = str(latest[-1].version) if latest else None
        if package.name in held:  # the hold itself keeps the newer ones out of sight
            newest = [c for c in universe.versions(package.name) if c.yanked is None and not c.version.is_prerelease]
            shown = str(newest[-1].version) if newest else shown
        found.append(
            Newer(package.name, package.version, wanted.get(package.name, package.version), shown, ", ".join(notes))
        )
    return found


def broken(deployment: Deployment, environment: Environment) -> list[str]:
    """What is wrong with what is deployed, by the rules that an install keeps. Raises PpmError for damaged files."""
    packages = stored_packages(deployment, environment)
    requirements = [parse_requirement(text) for text in deployment.lock.requirements]
    rules = Rules(
        {p.manifest.name: Version(p.manifest.version) for p in packages},
        recorded=[parse_requirement(text) for text in deployment.lock.overrides],
    )
    found = faults(candidates_of(packages), requirements, deployment.record.fingerprint, rules)
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


def changes(old: Deployment, new: Deployment) -> dict[str, Any]:
    """What differs between two deployments: patches, strategy, verdict, and the composition's figures on each suite."""
    before, after = ({p.name: p for p in d.lock.packages} for d in (old, new))
    return {
        "from": old.number,
        "to": new.number,
        "added": [after[name].pin for name in sorted(set(after) - set(before))],
        "removed": [before[name].pin for name in sorted(set(before) - set(after))],
        "changed": [
            {"name": name, "from": before[name].version, "to": after[name].version}
            for name in sorted(set(before) & set(after))
            if before[name].sha256 != after[name].sha256
        ],
        "strategy": [old.record.strategy, new.record.strategy],
        "verdict": [old.record.verdict, new.record.verdict],
        "scores": _scores(old, new),
    }


def _scores(old: Deployment, new: Deployment) -> dict[str, list[float | None]]:
    values: list[Mapping[str, float]] = []
    for deployment in (old, new):
        cells = (deployment.audit or {}).get("matrix", {}).get("composition", {})
        values.append({suite: cell["value"] for suite, cell in cells.items()})
    suites = dict.fromkeys(suite for found in values for suite in found)
    return {suite: [found.get(suite) for found in values] for suite in suites}


def search(text: str, offer: Joined, fingerprint: str | None) -> list[Candidate]:
    """The newest version, for each base model, of the patches whose name, risks or summary hold a text."""
    words = text.casefold().split()
    found: dict[tuple[str, str], Candidate] = {}
    for name in sorted(offer.names(fingerprint)):
        for candidate in offer.named(name):
            if fingerprint not in (None, candidate.fingerprint) or candidate.yanked is not None:
                continue
            key = (name, candidate.base_tag)
            best = found.get(key)
            older = best is not None and _worth(candidate) < _worth(best)
            about = " ".join((candidate.name, *candidate.risks, *candidate.provides, candidate.summary)).casefold()
            if not older and all(word in about for word in words):
                found[key] = candidate
    return [found[key] for key in sorted(found)]


def _worth(candidate: Candidate) -> tuple[bool, Version]:
    """Final versions come before pre-releases, which are taken only when asked for."""
    return not candidate.version.is_prerelease, candidate.version
