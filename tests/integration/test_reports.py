"""A candidate that was refused, or only tested, is shown: in a page, in JUnit XML and sample by sample."""

import json
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from commands import ppm

from ppm.environment.attempts import ledgers, read_ledger
from ppm.manifest import PrefixShape
from ppm.package import Package, read_package, write_package
from ppm.resources import lab_data
from ppm.runtime.loading import load_base
from ppm.runtime.tensors import bank_of, initial_prefix
from ppm.workspace import Workspace, open_base

pytestmark = pytest.mark.usefixtures("answered")


@pytest.fixture
def idle(tmp_path, monkeypatch):
    """A source with a version of toxicity that does nothing."""
    monkeypatch.chdir(tmp_path)
    packages = map(read_package, (lab_data() / "packages").glob("toxicity-*.ppm"))
    toxicity = next(package for package in packages if package.manifest.name == "toxicity")
    shape = PrefixShape(toxicity.manifest.prefix.virtual_tokens, "the")
    manifest = replace(toxicity.manifest, patch=replace(toxicity.manifest.patch, version="3.0.0"))
    prefix = bank_of(initial_prefix(load_base(open_base("lab")), shape))
    return write_package(Package(manifest, prefix, toxicity.files), tmp_path / "dist").parent


def files():
    return ("--html", "page.html", "--junit", "junit.xml", "--samples", "samples.jsonl")


def test_a_refused_candidate_is_shown_and_the_hint_leads_there(idle, tmp_path, ppm_home):
    environment = Workspace.open(tmp_path).environment_for(open_base("lab"))
    for command in ("test", "install"):
        refused = ppm(command, "toxicity==3.0.0", "--base", "lab", "-f", idle, *files())
        assert refused.code == 5, refused.err
        assert "Verdict: fail" in refused.out
        assert refused.err.splitlines()[-1] == "hint: look at what failed in junit.xml, samples.jsonl, page.html"
        assert "--accept" not in refused.err
        assert "toxicity" in (tmp_path / "page.html").read_text()
        assert ElementTree.parse(tmp_path / "junit.xml").findall(".//failure")
        lines = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
        assert {"base", "composition", "toxicity==3.0.0"} <= {line["configuration"] for line in lines}
        assert environment.current() is None
        for name in ("page.html", "junit.xml", "samples.jsonl"):
            (tmp_path / name).unlink()
    [ledger] = ledgers(ppm_home)
    assert len(read_ledger(ledger)) == 1
    bare = ppm("install", "toxicity==3.0.0", "--base", "lab", "-f", idle)
    assert (bare.code, "--html FILE" in bare.err, "--accept" in bare.err) == (5, True, False)


def test_a_test_that_passes_deploys_nothing(idle, tmp_path):
    tested = ppm("test", "toxicity<3", "--base", "lab", "--json", *files())
    assert tested.code == 0, tested.err
    assert (tested.json["changed"], tested.json["deployment"], tested.json["audit"]["verdict"]) == (False, None, "pass")
    assert (tmp_path / "page.html").stat().st_size > 1000
    assert Workspace.open(tmp_path).environment_for(open_base("lab")).current() is None
    assert ppm("list").err.startswith("Nothing is deployed")
    done = ppm("install", "toxicity<3", "--base", "lab", "--html", "page.html")
    assert (done.code, "Deployed toxicity" in done.out) == (0, True)
    again = ppm("install", "toxicity<3", "--base", "lab", "--html", "page.html")
    assert (again.code, "no report was written" in again.err) == (0, True)
    number = Workspace.open(tmp_path).environment_for(open_base("lab")).current_number()
    more = ppm("test", "toxicity<3", "--base", "lab")
    assert (more.code, "nothing was deployed" in more.out) == (0, True)
    assert Workspace.open(tmp_path).environment_for(open_base("lab")).current_number() == number


def test_what_can_not_be_written_or_tested_is_said_at_once(idle, tmp_path):
    refused = ppm("install", "toxicity<3", "--base", "lab", "--html", tmp_path / "nowhere" / "page.html")
    assert (refused.code, "there is no folder" in refused.err) == (1, True)
    assert ppm("install", "toxicity<3", "--base", "lab", "--dry-run", "--html", "page.html").code == 2
    assert ppm("test", "--base", "lab").code == 2
