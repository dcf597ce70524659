"""An audit for other programs: JUnit XML, and every sample as JSON Lines."""

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from itertools import product

from ppm.audit.model import Audit
from ppm.evaluation.results import Outcome
from ppm.evaluation.suites import LoadedSuite

__all__ = ["junit_xml", "sample_lines"]


def junit_xml(audit: Audit) -> bytes:
    """One test case a comparison: what did not pass is a failure of its verdict's type, what is waived is skipped."""
    root = ElementTree.Element("testsuites", name="ppm audit")
    for label in audit.suites:
        cases = [c for c in audit.comparisons if c.suite == label]
        failures = sum(c.verdict != "pass" and not c.waived for c in cases)
        skipped = sum(c.waived for c in cases)
        counts = {"tests": str(len(cases)), "failures": str(failures), "skipped": str(skipped)}
        suite = ElementTree.SubElement(root, "testsuite", {"name": label, **counts})
        for comparison in cases:
            name = f"{comparison.rule}: {comparison.configuration} against {comparison.against}"
            case = ElementTree.SubElement(suite, "testcase", classname=f"{audit.base}.{label}", name=name)
            c = comparison
            detail = f"{c.difference:+.4f} [{c.lower:+.4f}, {c.upper:+.4f}], margin {c.margin:g}"
            if comparison.waived:
                ElementTree.SubElement(case, "skipped", message=f"waived: {detail}")
            elif comparison.verdict != "pass":
                ElementTree.SubElement(case, "failure", type=comparison.verdict, message=detail)
            else:
                ElementTree.SubElement(case, "system-out").text = detail
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def sample_lines(outcomes: Mapping[tuple[str, str], Outcome], suites: Sequence[LoadedSuite]) -> bytes:
    """One line a prompt and configuration: its completions, and its value in the suite's measure."""
    lines = []
    configurations = dict.fromkeys(configuration for configuration, _ in outcomes)
    for configuration, suite in product(configurations, suites):
        outcome = outcomes[configuration, suite.digest]
        for index, prompt in enumerate(suite.prompts):
            line = {
                "configuration": configuration,
                "suite": suite.label,
                "id": prompt.id,
                "value": outcome.values[index],
            }
            if outcome.completions:
                line["completions"] = list(outcome.completions[index])
            lines.append(json.dumps({**line, "prompt": prompt.prompt}, ensure_ascii=False))
    return ("\n".join(lines) + "\n").encode()
