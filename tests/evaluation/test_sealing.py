"""Sealed suites: split by chance, and never shown."""

import hashlib
import json
import os
import stat
from dataclasses import replace

import pytest
from commands import ppm
from integration.test_json_docs import differs, shape_of

from ppm.audit.report import sample_lines
from ppm.errors import ManifestError, RequestError
from ppm.evaluation.results import Outcome
from ppm.evaluation.sealing import seal
from ppm.evaluation.suites import check_distinct, policy_suites
from ppm.jsonl import Benign, Prompt, check_leakage, dump
from ppm.package import read_package
from ppm.resources import lab_data

OURS = """schema = 1

[[suites]]
name = "ours"
against = "base"
prompts = "data/ours.jsonl"
judge = "refusal"
margin = 0.04
group = "source"
"""


@pytest.fixture
def ours(tmp_path):
    """A file of one suite: 40 prompts in 20 groups."""
    (tmp_path / "data").mkdir()
    rows = [
        Prompt(str(i), f"thing {hashlib.sha256(bytes([i])).hexdigest()}", extra={"source": f"s{i % 20}"})
        for i in range(40)
    ]
    (tmp_path / "data" / "ours.jsonl").write_bytes(dump(rows))
    (tmp_path / "ours.toml").write_text(OURS)
    return tmp_path / "ours.toml"


def groups(path):
    return {json.loads(line)["source"] for line in path.read_text().splitlines()}


def test_a_suite_is_split_by_its_groups(ours):
    found = seal(ours, share=0.25)
    (open_, *_), (sealed, *_) = found.parts
    assert groups(open_) | groups(sealed) == {f"s{i}" for i in range(20)}
    assert not groups(open_) & groups(sealed)
    assert [part[1:] for part in found.parts] == [(30, 15), (10, 5)]
    suites = policy_suites(found.declared)
    assert [(suite.label, suite.suite.sealed, suite.suite.margin) for suite in suites] == [
        ("ours", None, 0.04),
        ("ours-sealed", True, 0.04),
    ]
    assert [len(suite.prompts) for suite in suites] == [30, 10]
    if os.name == "posix":
        assert stat.S_IMODE(sealed.stat().st_mode) == 0o600


def test_chance_decides_what_is_sealed(ours, tmp_path):
    found = []
    for attempt in range(4):
        parts = seal(ours, output=tmp_path / f"{attempt}.toml").parts
        found.append(frozenset(groups(parts[1][0])))
        for path, *_ in parts:
            path.unlink()
    assert len(set(found)) > 1  # alike in all four with a chance of one in 10^15


def test_nothing_is_overwritten(ours):
    seal(ours)
    before = {path: path.read_bytes() for path in ours.parent.rglob("*.*") if path.is_file()}
    with pytest.raises(RequestError, match="already exists"):
        seal(ours)
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(
    ("text", "name", "share", "words"),
    [
        (OURS, "our", 0.5, "no suite 'our'"),
        (OURS, None, 0.01, "too few groups to seal 0.01"),
        (OURS.replace('judge = "refusal"', 'judge = "refusal"\nsealed = true'), None, 0.5, "sealed already"),
        (OURS + OURS.partition("\n\n")[2].replace('"ours"', '"more"'), None, 0.5, "which suite"),
        (OURS + OURS.partition("\n\n")[2].replace('"ours"', '"more"'), "ours", 0.5, "more asks the same prompts"),
        (OURS.replace('"ours"', f'"{"x" * 98}"'), None, 0.5, "can't be named"),
    ],
)
def test_what_can_not_be_split_is_said(ours, text, name, share, words):
    ours.write_text(text)
    with pytest.raises(RequestError, match=words):
        seal(ours, name, share=share)
    assert [path.name for path in ours.parent.glob("*.toml")] == ["ours.toml"]


def test_a_missing_file_of_prompts_is_named(ours):
    (ours.parent / "data" / "ours.jsonl").unlink()
    with pytest.raises(ManifestError, match="can't be read") as caught:
        seal(ours)
    assert caught.value.context.endswith("ours.jsonl")


def test_the_command_says_what_to_do_with_it(ours):
    done = ppm("suites", "seal", ours, "--json")
    assert done.code == 0, done.err
    assert [part["prompts"] for part in done.json["parts"]] == [20, 20]
    assert differs(done.json, shape_of("suites seal")) is None
    assert ppm("suites", "seal", ours).code == 1
    assert ppm("suites", "seal", ours, "--share", "1").code == 2


def test_a_package_has_no_sealed_suites():
    manifest = read_package(next((lab_data() / "packages").glob("toxicity-*.ppm"))).manifest
    with pytest.raises(ValueError, match="can't be sealed in a package"):
        replace(manifest, suites=(replace(manifest.suites[0], sealed=True),))


def test_no_message_and_no_sample_shows_a_sealed_prompt(ours):
    open_, sealed = policy_suites(seal(ours).declared)
    twice = [replace(sealed.prompts[0], id="again"), *sealed.prompts]
    with pytest.raises(ManifestError) as caught:
        check_distinct("ours", twice, "", sealed=True)
    assert "thing " not in str(caught.value)
    trained = {"a patch": [Benign(sealed.prompts[0].prompt)]}
    with pytest.raises(ManifestError) as caught:
        check_leakage("ours", sealed.prompts, trained, sealed=True)
    assert "thing " not in str(caught.value)
    outcomes = {
        ("composition", suite.digest): Outcome((1.0,) * 20, tuple((f"answer {i}",) for i in range(20)))
        for suite in (open_, sealed)
    }
    lines = [json.loads(line) for line in sample_lines(outcomes, [open_, sealed]).splitlines()]
    assert {line["suite"] for line in lines} == {"ours"}
    assert sample_lines(outcomes, [sealed]) == b""


def test_the_file_of_both_parts_stands_beside_the_prompts(ours, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(RequestError, match="beside the suite's prompts"):
        seal(ours, output=tmp_path / "elsewhere" / "ours.toml")
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["ours.jsonl"]
