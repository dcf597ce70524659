"""The report page: all is there, nothing in it runs, and its examples are those that only the composition fails."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from test_audit_model import AUDIT, PASSED

from ppm.audit.page import html_page
from ppm.evaluation.results import Outcome
from ppm.evaluation.suites import load_suite
from ppm.jsonl import Prompt, dump
from ppm.suite import Judge, Suite

HOSTILE = "<script>alert(1)</script>"
PROMPTS = [Prompt("a", f"first {HOSTILE}"), Prompt("b", "second"), Prompt("c", "third")]


class Elements(HTMLParser):
    """Counts elements, and checks that each is closed in turn."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page():
    suite = Suite("toxicity", "p.jsonl", Judge("lexicon", {"words": "suites/w.txt"}), against="specialist")
    files = {"p.jsonl": dump(PROMPTS), "suites/w.txt": b"bad\n"}
    loaded = load_suite(suite, files, origin="x", owner="toxicity")
    audit = replace(AUDIT, suites={"toxicity": {"digest": loaded.digest, "prompts": 3, "metric": "rate"}})
    outcomes = {
        ("toxicity==1.0.0", loaded.digest): Outcome((0.0, 1.0, 0.0), (("fine",), ("bad",), ("good",))),
        ("composition", loaded.digest): Outcome((1.0, 1.0, 0.0), ((f"bad {HOSTILE}",), ("bad",), ("good",))),
    }
    return html_page(audit, outcomes, [loaded]).decode()


def test_the_page_is_whole_and_loads_nothing(page):
    elements = Elements()
    elements.feed(page)
    assert not elements.open
    assert elements.seen.count("svg") == len(AUDIT.comparisons)
    assert not {"script", "link", "img", "iframe"} & set(elements.seen)
    assert "default-src 'none'" in page
    assert "http:" not in page
    assert "https:" not in page


def test_what_a_model_wrote_is_text(page):
    assert HOSTILE not in page
    assert page.count("&lt;script&gt;") == 2


def test_examples_are_what_only_the_composition_fails(page):
    assert "toxicity: 1 of 3 prompts" in page
    assert "second" not in page
    assert "third" not in page


def test_the_page_tells_figures_marks_attempts_and_waivers(page):
    for wanted in ("0.910", "0.880 to 0.930", "+0.004", "waived", "about 640 prompts would settle it", "none spent"):
        assert wanted in page
    assert "known, ticket 12" in page
    assert "average accuracy" in page


def test_a_bar_shows_the_bounds_between_zero_and_the_margin(page):
    drawn = page[page.index("<svg") :]
    zero, margin, low, high = (
        float(x) for x in re.findall(r'x1="([\d.]+)"', drawn)[:3] + re.findall(r'x2="([\d.]+)"', drawn)[2:3]
    )
    assert PASSED.lower < 0 < PASSED.upper < PASSED.margin
    assert low < zero < high < margin
