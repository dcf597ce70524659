"""What a deployment says of itself for other tools: valid by the formats' own schemas, and true."""

import hashlib
import json

import pytest
from commands import ppm
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from google.protobuf import json_format
from in_toto_attestation.predicates.test_result.v0.test_result_pb2 import TestResult
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement


def files_of(home, number=1):
    [folder] = (home / "environments").glob(f"*/deployments/{number:06}")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def digest(data):
    return hashlib.sha256(data).hexdigest()


def checked_statement(data):
    """The statement, once the format's own library has found it valid."""
    table = json.loads(data)
    Statement.copy_from_pb(json_format.ParseDict(table, statement_pb2.Statement())).validate()
    json_format.ParseDict(table["predicate"], TestResult())
    return table


def test_each_deployment_writes_a_valid_statement_and_bill_of_materials(deployed):
    files = files_of(deployed)
    table = checked_statement(files["test-result.intoto.json"])
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(files["bom.cdx.json"].decode()) is None
    audit = json.loads(files["audit.json"])
    assert table["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    assert table["predicate"]["result"] == "PASSED"
    assert set(table["predicate"]["passedTests"]) == set(audit["suites"])
    listed = ppm("list", "--base", "lab", "--json").json["patches"]
    materials = table["predicate"]["configuration"]
    tested = {
        one["annotations"]["patch"]: one["digest"]["sha256"]
        for one in materials
        if "patch" in one.get("annotations", {})
    }
    assert tested == {f"{p['name']}=={p['version']}": p["sha256"] for p in listed}
    [named] = [one for one in materials if one["name"] == "audit.json"]
    assert named["digest"] == {"sha256": digest(files["audit.json"])}
    bom = json.loads(files["bom.cdx.json"])
    assert {one["bom-ref"] for one in bom["components"]} == {"base", *tested}
    metrics = bom["metadata"]["component"]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    found = {one["slice"]: float(one["value"]) for one in metrics}
    assert found == pytest.approx(
        {label: audit["matrix"]["composition"][label]["value"] for label in audit["suites"]}, abs=1e-5
    )
    [subject] = table["subject"]
    assert bom["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": subject["digest"]["sha256"]}]


def test_a_waived_suite_is_a_warning(deployed):
    waived = ("--accept", "toxicity", "--accept", "gender-bias", "--reason", "a test")
    result = ppm(
        "install", "toxicity", "gender-bias", "--base", "lab", "--env", "two", "--strategy", "isolated", *waived
    )
    assert result.code == 0, result.err
    [folder] = (deployed / "environments").glob("*/two/deployments/000001")
    table = checked_statement((folder / "test-result.intoto.json").read_bytes())
    audit = json.loads((folder / "audit.json").read_bytes())
    failed = {c["suite"] for c in audit["comparisons"] if c["verdict"] != "pass"}
    assert failed
    assert table["predicate"]["result"] == "WARNED"
    assert set(table["predicate"]["warnedTests"]) == failed
    assert not failed & set(table["predicate"]["passedTests"])
    data = (folder / "bom.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(data) is None
    assert "was waived by" in data


def test_a_changed_statement_is_found(deployed):
    [path] = (deployed / "environments").glob("*/deployments/000001/test-result.intoto.json")
    path.write_bytes(path.read_bytes().replace(b"PASSED", b"WARNED"))
    result = ppm("verify", "--base", "lab")
    assert result.code == 4
    assert "test-result.intoto.json" in result.out + result.err
