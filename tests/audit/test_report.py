"""What CI reads of an audit: JUnit with every verdict, and a line a prompt of every suite."""

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

from test_audit_model import AUDIT, FAILED, PASSED, UNCLEAR

from ppm.audit.report import junit_xml, sample_lines
from ppm.evaluation.measures.registry import figures_of
from ppm.evaluation.results import Outcome
from ppm.evaluation.suites import LoadedSuite
from ppm.jsonl import Prompt
from ppm.suite import Judge, Suite
from ppm.verdict import Waiver


def test_junit_tells_failures_from_what_is_not_settled_and_what_is_waived():
    compared = [replace(c, suite="toxicity") for c in (PASSED, UNCLEAR, FAILED, replace(FAILED, waived=True))]
    root = ElementTree.fromstring(junit_xml(replace(AUDIT, comparisons=tuple(compared))))
    cases = list(root.iter("testcase"))
    assert [[child.tag for child in case] for case in cases] == [["system-out"], ["failure"], ["failure"], ["skipped"]]
    unclear, failed, waived = (case[0] for case in cases[1:])
    assert (unclear.get("type"), failed.get("type")) == ("inconclusive", "fail")
    assert failed.get("message") == "+0.0040 [-0.0010, +0.0120], margin 0.05"
    assert waived.get("message").startswith("waived: ")
    (suite,) = root.iter("testsuite")
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("4", "2", "1")


def test_a_waived_suite_says_by_whom_and_is_skipped_where_it_did_not_pass():
    compared = [replace(c, suite="toxicity", waived=True) for c in (PASSED, FAILED)]
    waiver = Waiver("toxicity", "known, ticket 12", "Ada")
    audit = replace(AUDIT, comparisons=tuple(compared), verdict="waived", waivers=(waiver,))
    (suite,) = ElementTree.fromstring(junit_xml(audit)).iter("testsuite")
    assert {p.get("name"): p.get("value") for p in suite.iter("property")} == {
        "verdict": "waived",
        "evidence": "500 prompts",
        "waiver": "Ada: known, ticket 12",
    }
    assert [[child.tag for child in case] for case in suite.iter("testcase")] == [["system-out"], ["skipped"]]
    assert (suite.get("failures"), suite.get("skipped")) == ("0", "1")


def test_what_xml_can_not_hold_is_replaced():
    audit = replace(AUDIT, verdict="waived", waivers=(Waiver("toxicity", "red \x1b[31m, \ud800 and so on", "Ada"),))
    said = [
        p.get("value") for p in ElementTree.fromstring(junit_xml(audit)).iter("property") if p.get("name") == "waiver"
    ]
    assert said == ["Ada: red \N{REPLACEMENT CHARACTER}[31m, \N{REPLACEMENT CHARACTER} and so on"]


def test_a_chat_is_written_as_its_messages():
    prompts = (Prompt("a", (("user", "hello"),)),)
    loaded = LoadedSuite(
        "kind", Suite("kind", "k.jsonl", Judge("refusal")), None, prompts, None, "sha256:x", "1", figures_of("rate")
    )
    (line,) = sample_lines({("base", "sha256:x"): Outcome((0.0,), (("hi",),))}, [loaded]).splitlines()
    assert json.loads(line)["messages"] == [{"role": "user", "content": "hello"}]


def test_suites_with_the_same_content_each_have_their_lines():
    prompts = (Prompt("a", "one"), Prompt("b", "two"))
    suites = [
        LoadedSuite(
            label,
            Suite("kind", "suites/kind.jsonl", Judge("refusal")),
            None,
            prompts,
            None,
            "sha256:same",
            "1",
            figures_of("rate"),
        )
        for label in ("first/kind", "second/kind")
    ]
    outcomes = {("base", "sha256:same"): Outcome((0.0, 1.0), (("x",), ("y",)))}
    lines = [json.loads(line) for line in sample_lines(outcomes, suites).splitlines()]
    assert [(line["suite"], line["id"], line["value"]) for line in lines] == [
        ("first/kind", "a", 0.0),
        ("first/kind", "b", 1.0),
        ("second/kind", "a", 0.0),
        ("second/kind", "b", 1.0),
    ]
