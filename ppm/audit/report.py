"""An audit with all it was made of, and its forms for other programs: JUnit XML, and every sample as JSON Lines."""

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import product

from ppm.audit.model import Audit
from ppm.base import BaseModel
from ppm.environment.transaction import user_name
from ppm.evaluation.results import Outcome, Outcomes
from ppm.evaluation.second import Opinion
from ppm.evaluation.suites import LoadedSuite
from ppm.package import Package
from ppm.version import __version__

__all__ = ["Report", "about", "junit_xml", "sample_lines"]

_UNWRITABLE = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 has no way to write (section 2.2)."""


@dataclass(frozen=True)
class Report:
    """An audit with its outcomes, by configuration and suite digest, and its suites: what a page or samples take.

    `about` says for people what was tested, where, when, by whom and with what, one fact a row. `opinions` has by label
    what second judges say of the composition's answers.
    """

    audit: Audit
    outcomes: Outcomes
    suites: tuple[LoadedSuite, ...]
    about: Mapping[str, str] = field(default_factory=dict)
    opinions: Mapping[str, Opinion] = field(default_factory=dict)


def about(base: BaseModel, packages: Sequence[Package], environment: str, **more: str) -> dict[str, str]:
    """What a report is about: now, by whoever runs this process."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return {
        "base model": f"{base.name}, {base.fingerprint}",
        "patches": ", ".join(f"{package.manifest.pin} (sha256:{package.sha256[:12]})" for package in packages),
        "environment": environment,
        **more,
        "this audit": f"{now} by {user_name()}, with ppm {__version__}",
    }


def junit_xml(audit: Audit) -> bytes:
    """One test case a comparison: what did not pass is a failure of its verdict's type, or skipped where it is waived.

    Every suite has the audit's verdict as a property, and its waiver, if it has one.
    """
    root = ElementTree.Element("testsuites", name="ppm audit")
    waivers = {waiver.suite: waiver for waiver in audit.waivers}
    for label in audit.suites:
        cases = [c for c in audit.comparisons if c.suite == label]
        failures = sum(c.mark in ("fail", "inconclusive") for c in cases)
        skipped = sum(c.mark == "waived" for c in cases)
        counts = {"tests": str(len(cases)), "failures": str(failures), "skipped": str(skipped)}
        suite = ElementTree.SubElement(root, "testsuite", {"name": label, **counts})
        properties = ElementTree.SubElement(suite, "properties")
        ElementTree.SubElement(properties, "property", name="verdict", value=audit.verdict)
        ElementTree.SubElement(properties, "property", name="evidence", value=audit.suites[label].size)
        if label in waivers:
            said = f"{waivers[label].by}: {waivers[label].reason}"
            ElementTree.SubElement(properties, "property", name="waiver", value=said)
        for comparison in cases:
            name = f"{comparison.rule}: {comparison.configuration} against {comparison.against}"
            case = ElementTree.SubElement(suite, "testcase", classname=f"{audit.base}.{label}", name=name)
            c = comparison
            detail = f"{c.difference:+.4f} [{c.lower:+.4f}, {c.upper:+.4f}], margin {c.margin:g}"
            if comparison.mark == "waived":
                ElementTree.SubElement(case, "skipped", message=f"waived: {detail}")
            elif comparison.mark != "pass":
                ElementTree.SubElement(case, "failure", type=comparison.mark, message=detail)
            else:
                ElementTree.SubElement(case, "system-out").text = detail
    ElementTree.indent(root)
    for element in root.iter():  # a waiver's reason, for one, may hold what XML has no way to write
        element.attrib = {name: _UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", said) for name, said in element.items()}
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def sample_lines(outcomes: Mapping[tuple[str, str], Outcome], suites: Sequence[LoadedSuite]) -> bytes:
    """One line a prompt and configuration: its completions, and its value in the suite's measure.

    Of sealed suites there is none.
    """
    lines = []
    configurations = dict.fromkeys(configuration for configuration, _ in outcomes)
    for configuration, suite in product(configurations, (suite for suite in suites if not suite.suite.sealed)):
        outcome = outcomes[configuration, suite.digest]
        for index, prompt in enumerate(suite.prompts):
            line: dict[str, object] = {
                "configuration": configuration,
                "suite": suite.label,
                "id": prompt.id,
                "value": outcome.values[index],
            }
            if suite.groups is not None:
                line["group"] = suite.groups[prompt.id]
            if outcome.completions:
                line["completions"] = list(outcome.completions[index])
            if isinstance(prompt.prompt, str):
                line["prompt"] = prompt.prompt
            else:
                line["messages"] = [{"role": role, "content": content} for role, content in prompt.prompt]
            lines.append(json.dumps(line, ensure_ascii=False))
    return "".join(f"{line}\n" for line in lines).encode()
