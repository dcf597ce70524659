"""What must not be deployed is not, and says why; what ran before still runs."""

import re
import shutil

import pytest
from commands import ppm

from ppm.resources import lab_data

THREE = ("toxicity", "gender-bias", "harm-refusal")


def packages(tmp_path):
    folder = tmp_path / "packages"
    shutil.copytree(lab_data() / "packages", folder)
    return folder


@pytest.fixture(scope="module")
def results(quickstart, tmp_path_factory):
    """The answers of the three patches' merge to the prompts of a second attempt, as a home keeps them."""
    home = tmp_path_factory.mktemp("refused") / "home"
    shutil.copytree(quickstart[0], home)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PPM_HOME", str(home))
        assert ppm("install", *THREE, "--base", "lab", "--strategy", "merged").code == 5
    return home / "cache" / "results"


@pytest.fixture
def tested(deployed, results):
    """A PPM_HOME with the three patches deployed, in which such an attempt finds its answers."""
    shutil.copytree(results, deployed / "cache" / "results", dirs_exist_ok=True)
    return deployed


def test_merging_is_refused_with_figures_and_the_old_deployment_stays(tested):
    before = ppm("list", "--json").json
    result = ppm("install", *THREE, "--base", "lab", "--strategy", "merged")
    assert result.code == 5
    assert "did not pass" in result.err
    assert any(f"{suite} failed (" in result.err for suite in ("toxicity", "gender-bias", "harmfulness"))
    figures = re.findall(r"fail: non-inferiority, \S+: ([+-][\d.]+ \[.*?\])", result.out)
    assert figures
    assert not any(figure in result.err for figure in figures)  # the table has them, once
    assert "with --html FILE" in result.err
    assert "--accept" not in result.err
    assert "deployment 1 is still current" in result.err
    assert "FAIL" in result.out or "fail" in result.out
    assert ppm("list", "--json").json == before


def test_merging_with_json_prints_the_audit_of_what_was_refused(tested):
    result = ppm("install", *THREE, "--base", "lab", "--strategy", "merged", "--json")
    assert result.code == 5
    table = result.json
    assert table["changed"] is False
    assert table["audit"]["verdict"] == "fail"
    assert {"suite", "rule", "against", "difference", "lower", "upper", "margin", "verdict"} <= set(
        table["audit"]["comparisons"][0]
    )


def test_a_waiver_deploys_and_is_shown_until_the_next_deployment(tested):
    broken = {
        c["suite"]
        for c in ppm("install", *THREE, "--base", "lab", "--strategy", "merged", "--json").json["audit"]["comparisons"]
        if c["verdict"] != "pass"
    }
    accept = [word for suite in sorted(broken) for word in ("--accept", suite)]
    refused = ppm("install", *THREE, "--base", "lab", "--strategy", "merged", *accept)
    assert refused.code == 1
    assert "reason" in refused.err
    done = ppm("install", *THREE, "--base", "lab", "--strategy", "merged", *accept, "--reason", "a demonstration")
    assert done.code == 0, done.err
    assert "Verdict: waived" in done.out
    audit = ppm("audit", "--json", "--junit", tested / "junit.xml", "--html", tested / "page.html")
    assert (audit.code, audit.json["verdict"]) == (0, "waived")
    assert 'name="verdict" value="waived"' in (tested / "junit.xml").read_text()
    assert "<title>waived: " in (tested / "page.html").read_text()
    listed = ppm("list", "--json").json
    assert listed["verdict"] == "waived"
    assert {w["suite"] for w in listed["waivers"]} == broken
    assert "a demonstration" in ppm("history").out
    assert ppm("rollback").code == 0
    assert ppm("list", "--json").json["waivers"] == []


def test_accepting_a_suite_that_does_not_exist_names_the_nearest(deployed):
    result = ppm(
        "install", *THREE, "--base", "lab", "--force", "--strategy", "merged", "--accept", "toxicty", "--reason", "x"
    )
    assert result.code == 1
    assert "'toxicity'" in result.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["toxicty", "--base", "lab"], 3, "toxicity"),
        (["toxicity>=9", "--base", "lab"], 3, "1.0.0"),
        (["toxicity>=", "--base", "lab"], 1, "hint"),
        (["toxicity", "--base", "no/such-model"], 1, "commit"),
        (["toxicity", "--base", "/no/such/folder"], 1, "folder"),
        (["toxicity", "--base", "lab", "--strategy", "mergd"], 1, "merged"),
        (["toxicity", "--base", "lab", "--find-links", "/no/such"], 1, "/no/such"),
        (["toxicity", "--base", "lab", "--bogus"], 2, "--bogus"),
        (["-r", "/no/such.txt", "--base", "lab"], 1, "requirement"),
        ([], 1, "--base"),
    ],
)
def test_a_request_that_makes_no_sense_is_one_message_with_a_hint(ppm_home, arguments, code, words):
    result = ppm("install", *arguments)
    assert result.code == code, result.err
    assert words in result.err
    assert "Traceback" not in result.err
    assert not (ppm_home / "environments").exists() or ppm("list", "--json").json["patches"] == []


def test_a_tampered_package_is_an_integrity_error(ppm_home, tmp_path):
    folder = packages(tmp_path)
    path = next(folder.glob("toxicity-*.ppm"))
    data = bytearray(path.read_bytes())
    data[data.index(b"prefix.safetensors") + 400] ^= 1
    path.write_bytes(data)
    result = ppm("install", path, "--base", "lab")
    assert result.code == 4
    assert "RECORD" in result.err or "damaged" in result.err or "whole" in result.err
    assert ppm("list", "--json").json["patches"] == []


def test_an_escaping_path_in_a_package_is_refused_and_nothing_is_written(ppm_home, tmp_path):
    import zipfile

    folder = packages(tmp_path)
    path = next(folder.glob("toxicity-*.ppm"))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../../escaped.txt", "x")
    result = ppm("install", str(path), "--base", "lab")
    assert result.code == 4
    assert "unsafe path" in result.err
    assert not list(tmp_path.rglob("escaped.txt"))
