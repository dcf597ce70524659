"""An audit for other programs: JUnit XML, and every sample as JSON Lines."""

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence

from ppm.audit.model import Audit
from ppm.evaluation.results import Outcome
from ppm.evaluation.suites import LoadedSuite

__all__ = ["junit_xml", "sample_lines"]


def junit_xml(audit: Audit) -> bytes:
    """One test case a comparison; what failed is a failure, what is inconclusive or waived is skipped."""
    root = ElementTree.Element("testsuites", name="ppm audit")
    for label in audit.suites:
        cases = [c for c in audit.comparisons if c.suite == label]
        failures = sum(c.verdict == "fail" and not c.waived for c in cases)
        skipped = sum(c.verdict == "inconclusive" or c.waived for c in cases)
        counts = {"tests": str(len(cases)), "failures": str(failures), "skipped": str(skipped)}
        suite = ElementTree.SubElement(root, "testsuite", {"name": label, **counts})
        for comparison in cases:
            name = f"{comparison.rule}: {comparison.configuration} against {comparison.against}"
            case = ElementTree.SubElement(suite, "testcase", classname=f"{audit.base}.{label}", name=name)
            c = comparison
            detail = f"{c.difference:+.4f} [{c.lower:+.4f}, {c.upper:+.4f}], margin {c.margin:g}"
            if comparison.waived:
                ElementTree.SubElement(case, "skipped", message=f"waived: {detail}")
            elif comparison.verdict == "fail":
                ElementTree.SubElement(case, "failure", message=detail)
            elif comparison.verdict == "inconclusive":
                ElementTree.SubElement(case, "skipped", message=f"inconclusive: {detail}")
            else:
                ElementTree.SubElement(case, "system-out").text = detail
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def sample_lines(outcomes: Mapping[tuple[str, str], Outcome], suites: Sequence[LoadedSuite]) -> bytes:
    """One line a prompt and configuration: its completions and its failure rate, or loss for perplexity."""
    lines = []
    for (configuration, digest), outcome in outcomes.items():
        suite = next(s for s in suites if s.digest == digest)
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
