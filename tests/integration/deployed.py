"""Deployments for the lab's base that are made by hand, in no time: for tests of what does not need a model."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from packages import make_bank, make_package

from ppm.bank import EMPTY, Bank
from ppm.base import identify, locate, weights_digest
from ppm.environment.attempts import ledger_of
from ppm.environment.deployment import Deployment
from ppm.environment.transaction import Made, deploy, writer
from ppm.evaluation.suites import base_suites, package_suites
from ppm.install.current import policy_digest
from ppm.install.locked import AUDIT_SUFFIX
from ppm.lock import Lock, LockedBase, LockedComposition, LockedPackage
from ppm.manifest import Component, CompositionRecord
from ppm.package import Package, sha256, write_package
from ppm.project import Project
from ppm.resolve import parse_requirement
from ppm.workspace import Workspace, open_base

FINGERPRINT = identify(locate("lab")).fingerprint


def patch(name: str, version: str = "1.0.0", needs: dict | None = None, **settings) -> Package:
    """A package file for the lab's base."""
    return make_package(name, version, fingerprint=FINGERPRINT, model="lab", dependencies=needs, **settings)


def write(folder: Path, *packages: Package) -> Path:
    """A folder of package files."""
    folder.mkdir(exist_ok=True)
    for package in packages:
        write_package(package, folder)
    return folder


def composed(packages: Sequence[Package], value: float = 0.25, hidden_size: int = 4) -> Package:
    """What a composition of some packages looks like."""
    parts = tuple(Component(p.manifest.name, p.manifest.version, p.sha256) for p in packages)
    made = make_package("composition", "1.0.0", fingerprint=FINGERPRINT, model="lab")
    record = CompositionRecord("distilled", "sha256:" + "0" * 64, parts)
    return Package(
        replace(made.manifest, composition=record), make_bank(hidden_size=hidden_size, value=value), made.files
    )


def audit(suites: dict[str, float], bank: Bank = EMPTY, packages: Sequence[Package] = (), digest: str = "") -> bytes:
    """A small audit that passed: of a prefix, with the suites of some packages and of the lab's base.

    `digest` is what the `suites` have.
    """
    loaded = [*package_suites(packages), *base_suites(locate("lab"))] if packages else []
    rates = {**{suite.label: 0.1 for suite in loaded}, **suites}
    cells = {suite: {"value": v, "low": v, "high": v, "prompts": 500} for suite, v in rates.items()}
    table = {
        "schema": 1,
        "base": "lab",
        "strategy": "distilled",
        "verdict": "pass",
        "alpha": 0.05,
        "configurations": ["composition"],
        "prefix": f"sha256:{bank.digest}",
        "suites": {
            **{s: {"metric": _metric(s), "goal": "lower", "prompts": 500, "digest": digest} for s in suites},
            **{suite.label: {"digest": suite.digest, "metric": "rate", "prompts": 3} for suite in loaded},
        },
        "matrix": {"composition": cells},
        "comparisons": [],
        "attempts": [],
        "waivers": [],
        "circular": [],
        "continual": None,
    }
    return json.dumps(table).encode()


def _metric(suite: str) -> str:
    return suite if suite == "perplexity" else "rate"


def deployed(
    requirements: Sequence[str],
    *packages: Package,
    env: str | None = None,
    rates: float = 0.1,
    perplexity: float | None = None,
    overrides: tuple[str, ...] = (),
    strategy: str = "auto",
    base: LockedBase = LockedBase("lab", FINGERPRINT),  # noqa: B008 - frozen
    hidden_size: int = 4,
    suites: str = "",
) -> Deployment:
    """Put some packages in force as if they had been installed with these requirements.

    `rates` is what the audit found on the packages' suites, `perplexity` on a suite of that name, and `suites` is the
    digest of these suites. A model can run the composition if `hidden_size` is its own.
    """
    found_base = open_base(base.model)
    environment = Workspace.open(Path.cwd()).environment_for(found_base, env)
    for package in packages:
        environment.store.put(package.data)
    wishes = tuple(parse_requirement(text) for text in requirements)
    asked = {wish.name for wish in wishes}
    provided = {n: p.manifest.name for p in packages for n in (p.manifest.name, *p.manifest.patch.provides)}
    locked = tuple(
        LockedPackage(
            p.manifest.name,
            p.manifest.version,
            p.file_name,
            p.sha256,
            "dist",
            requested=bool(asked & {p.manifest.name, *p.manifest.patch.provides}),
            dependencies=tuple(provided[name] for name in p.manifest.dependencies),
        )
        for p in packages
    )
    found = {f"{p.manifest.name}/main": rates for p in packages}
    made, tested = (
        composed(packages, hidden_size=hidden_size),
        audit(found if perplexity is None else {**found, "perplexity": perplexity}, digest=suites),
    )
    for data in (made.data, tested):
        environment.store.put(data)
    composition = LockedComposition(sha256(made.data), sha256(tested), made.file_name)
    lock = Lock(
        base,
        wishes,
        strategy,
        None,
        locked,
        tuple(parse_requirement(text) for text in overrides),
        composition if packages else None,
    )
    with writer(environment, command="ppm install") as held:
        return deploy(
            held,
            {
                "ppm.lock": lock.render().encode(),
                "patch.toml": made.manifest.render().encode(),
                "prefix.safetensors": made.bank.to_bytes(),
                "audit.json": tested,
            },
            Made(
                base_model=base.model,
                fingerprint=base.fingerprint,
                weights_digest=weights_digest(found_base.folder),
                strategy="distilled",
                verdict="pass",
                ledger=ledger_of(environment.home, base.fingerprint).mark,
            ),
        )


def with_composition(project: Path, packages: Sequence[Package]) -> None:
    """Write a composition of the locked packages into a project's lock, and it and its audit into its folder dist."""
    lock = Lock.read(project / "ppm.lock")
    made = composed(packages)
    tested = audit({"app/main": 0.1}, made.bank, packages)
    write_package(made, project / "dist")
    (project / "dist" / f"{made.file_name}{AUDIT_SUFFIX}").write_bytes(tested)
    base = open_base("lab")
    gates = policy_digest(Project.read(project / "ppm.toml").gates, base)
    composition = LockedComposition(
        sha256(made.data), sha256(tested), made.file_name, gates, weights_digest(base.folder)
    )
    (project / "ppm.lock").write_text(replace(lock, composition=composition).render())


def app_and_tool(folder: Path) -> Path:
    """Put app 1.0.0 and tool 2.0.0 in force, which need core 1.0.0; a source in a folder, which also has newer ones."""
    core = patch("core", "1.0.0")
    app, tool = patch("app", "1.0.0", {"core": ">=1"}), patch("tool", "2.0.0", {"core": "*"})
    deployed(["app<3", "tool"], app, tool, core)
    newer = [patch("app", "2.0.0", {"core": ">=1.5"}), patch("app", "3.0.0"), patch("core", "1.5.0")]
    return write(folder, app, tool, core, *newer)
