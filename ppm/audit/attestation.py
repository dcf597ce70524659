"""What is deployed, for other tools: an in-toto test result and a CycloneDX bill of materials, beside the audit.

Both are plain data that follow from the lock, the composition and its audit alone, so that the same deployment has the
same bytes everywhere. They are not signed: whoever deploys signs them with the tools of the house.

Formats: https://github.com/in-toto/attestation (Statement v1, test-result v0.1) and https://cyclonedx.org (1.6).
"""

import json
import uuid
from collections.abc import Iterable, Sequence

from ppm.audit.comparison import COMPOSITION
from ppm.audit.model import Audit
from ppm.evaluation.measures.registry import figures_of
from ppm.lock import Lock, LockedComposition
from ppm.manifest import Manifest
from ppm.version import __version__

__all__ = ["BOM_FILE", "STATEMENT_FILE", "bill_of_materials", "passed_and_waived", "test_result"]

STATEMENT_FILE, BOM_FILE = "test-result.intoto.json", "bom.cdx.json"
"""What they are called beside an audit; deployments of an older ppm lack them."""

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://in-toto.io/attestation/test-result/v0.1"
NAMESPACE = uuid.UUID("6f1f6a5e-1d0c-5d2b-9c63-0d3b8f1c7f11")
"""Of the serial numbers of ppm's bills of materials: a number of its own for each digest."""


def test_result(lock: Lock, composition: Manifest, audit: Audit) -> bytes:
    """An in-toto statement: the composition's file is the subject, base, patches and audit are what it was tested with.

    A suite that did not pass and was waived is among the warned tests.
    """
    made = _made(lock)
    passed, waived = passed_and_waived(audit)
    materials = [
        _resource(f"base {lock.base.model}", made.weights_digest, {"fingerprint": lock.base.fingerprint}),
        *(_resource(p.file, p.sha256, {"patch": p.pin, "source": p.source}) for p in lock.packages),
        _resource("audit.json", made.audit, {"alpha": audit.alpha, "guarantee": audit.guarantee}),
        *([_resource("policy", made.gates, {})] if made.gates else []),
    ]
    return _json(
        {
            "_type": STATEMENT_TYPE,
            "subject": [_resource(made.file or composition.name, made.sha256, {})],
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "result": "WARNED" if audit.verdict == "waived" else "PASSED",
                "configuration": materials,
                "passedTests": list(passed),
                "warnedTests": list(waived),
                "failedTests": [],
            },
        }
    )


def bill_of_materials(lock: Lock, composition: Manifest, audit: Audit) -> bytes:
    """A CycloneDX document of the composition, with the base and the patches that it is made of and what it scored."""
    made = _made(lock)
    base = _model("base", lock.base.model, lock.base.revision or "", made.weights_digest)
    patches = [_model(p.pin, p.name, p.version, p.sha256) for p in lock.packages]
    subject: dict[str, object] = {
        **_model(COMPOSITION, composition.name, composition.version, made.sha256),
        "licenses": [{"license": {"name": composition.patch.license}}],
        "modelCard": {
            "quantitativeAnalysis": {"performanceMetrics": _metrics(audit)},
            "considerations": {"technicalLimitations": _limits(audit)},
        },
    }
    digests = [made.sha256, made.audit, *(p.sha256 for p in lock.packages)]
    return _json(
        {
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "serialNumber": f"urn:uuid:{uuid.uuid5(NAMESPACE, ' '.join(digests))}",
            "version": 1,
            "metadata": {
                "tools": {"components": [{"type": "application", "name": "ppm", "version": __version__}]},
                "component": subject,
            },
            "components": [base, *patches],
            "dependencies": [
                {"ref": COMPOSITION, "dependsOn": ["base", *(p.pin for p in lock.packages)]},
                *({"ref": p.pin, "dependsOn": ["base", *_pins(lock, p.dependencies)]} for p in lock.packages),
            ],
        }
    )


def passed_and_waived(audit: Audit) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The suites of an audit that passed every comparison, and those that were let through."""
    waived = {c.suite for c in audit.comparisons if c.waived}
    failed = {c.suite for c in audit.comparisons if c.verdict != "pass"}
    compared = {c.suite for c in audit.comparisons}
    passed = tuple(label for label in audit.suites if label in compared - failed)
    return passed, tuple(label for label in audit.suites if label in waived & failed)


def _made(lock: Lock) -> LockedComposition:
    if lock.composition is None:
        raise ValueError("nothing was composed")
    return lock.composition


def _resource(name: str, digest: str | None, annotations: dict[str, object]) -> dict[str, object]:
    """An in-toto resource descriptor; one without a digest of its bytes has its fingerprint among the annotations."""
    found: dict[str, object] = {"name": name}
    if digest:
        found["digest"] = {"sha256": digest.removeprefix("sha256:")}
    return {**found, **({"annotations": annotations} if annotations else {})}


def _model(reference: str, name: str, version: str, digest: str | None) -> dict[str, object]:
    found: dict[str, object] = {"type": "machine-learning-model", "bom-ref": reference, "name": name}
    if version:
        found["version"] = version
    if digest:
        found["hashes"] = [{"alg": "SHA-256", "content": digest.removeprefix("sha256:")}]
    return found


def _metrics(audit: Audit) -> list[dict[str, object]]:
    """Each suite's figure on the composition, with its bounds."""
    cells = audit.matrix.get(COMPOSITION, {})
    return [
        {
            "type": "failure rate" if (measure := figures_of(suite.metric, label)).is_rate else measure.unit,
            "value": f"{cells[label].value:.6g}",
            "slice": label,
            "confidenceInterval": {"lowerBound": f"{cells[label].low:.6g}", "upperBound": f"{cells[label].high:.6g}"},
        }
        for label, suite in audit.suites.items()
        if label in cells
    ]


def _limits(audit: Audit) -> list[str]:
    """What a reader of the figures must know: what a pass means, and which suites were let through."""
    told = [f"Guarantee: {audit.guarantee}."]
    return told + [f"{w.suite} was waived by {w.by} on {w.at}: {w.reason}" for w in audit.waivers]


def _pins(lock: Lock, names: Iterable[str]) -> Sequence[str]:
    wanted = set(names)
    return [package.pin for package in lock.packages if package.name in wanted]


def _json(table: dict[str, object]) -> bytes:
    return (json.dumps(table, indent=1, ensure_ascii=False) + "\n").encode()
