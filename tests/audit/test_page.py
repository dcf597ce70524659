"""The report page: all is there, nothing in it runs, and its examples are those that only the composition fails."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from test_audit_model import AUDIT, PASSED

from ppm.audit.candidates import Candidate
from ppm.audit.model import AuditedSuite
from ppm.audit.page import html_page
from ppm.audit.report import Report
from ppm.evaluation.results import Outcome
from ppm.evaluation.second import second_opinion
from ppm.evaluation.suites import load_suite
from ppm.jsonl import Prompt, dump
from ppm.suite import Judge, Suite
from ppm.verdict import Waiver

ABOUT = {"base model": "lab, sha256:01", "environment": "lab", "tested": "2026-11-26 by mia, with ppm 1"}
HOSTILE = "<script>alert(1)</script>"
PROMPTS = [Prompt("a", f"first {HOSTILE}"), Prompt("b", "second"), Prompt("c", "third")]


class Elements(HTMLParser):
    """Counts elements, and checks that each is closed in turn."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        if tag not in ("meta", "br", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page():
    return render()


def render(second=None, **changes):
    judge = Judge("lexicon", {"words": "suites/w.txt"})
    suite = Suite("toxicity", "p.jsonl", judge, against="specialist", second_judge=second)
    files = {"p.jsonl": dump(PROMPTS), "suites/w.txt": b"bad\n", "suites/w2.txt": b"alert\nscript\nbad\ngood\n"}
    loaded = load_suite(suite, files, origin="x", owner="toxicity")
    suites = {"toxicity": AuditedSuite(3, "rate", loaded.digest, owner="toxicity")}
    audit = replace(AUDIT, **{"suites": suites, **changes})
    outcomes = {
        ("base", loaded.digest): Outcome((1.0, 1.0, 0.0), (("bad",), ("bad",), ("good",))),
        ("toxicity==1.0.0", loaded.digest): Outcome((0.0, 1.0, 0.0), (("fine",), ("bad",), ("good",))),
        ("composition", loaded.digest): Outcome((1.0, 1.0, 0.0), ((f"bad {HOSTILE}",), ("bad",), ("good",))),
    }
    opinion = second_opinion(loaded, outcomes["composition", loaded.digest])
    opinions = {"toxicity": opinion} if opinion is not None else {}
    return html_page(Report(audit, outcomes, (loaded,), ABOUT, opinions)).decode()


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


def test_all_failures_are_there_those_that_are_the_compositions_own_first(page):
    assert "toxicity: 2 of 3 prompts; on 1 of them toxicity==1.0.0 does better</summary>" in page
    shown = page[page.index("Where the composition fails") :]
    assert shown.index("first") < shown.index("second")
    assert re.search(r'<tr class="shared"><td class="text">second', shown)
    assert not re.search(r'<tr class="shared"><td class="text">first', shown)
    assert "third" not in page


def test_the_page_says_what_was_tested_by_whom_and_how_it_went(page):
    first = page[: page.index("Interference matrix")]
    for fact, value in ABOUT.items():
        assert f"<dt>{fact}</dt><dd>{value}</dd>" in first
    assert "with 3 prompts in 1 suites" in first
    assert "comparisons passed" in first


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
    assert low < zero < high < margin == 100


def test_bars_of_all_rules_have_what_passes_on_the_left():
    effect = replace(PASSED, rule="effect", difference=0.3, lower=0.25, upper=0.35, margin=0.2)
    drawn = render(comparisons=(effect,))
    places = [float(x) for x in re.findall(r'cx="([\d.]+)"', drawn)]
    assert places == [53.0]
    failing = render(comparisons=(replace(effect, difference=-1.0, lower=-1.0, upper=-0.9, verdict="fail"),))
    assert 'cx="194.0"' in failing  # as far as the axis goes
    assert 'class="zero"' in failing


def test_a_patch_s_own_cell_is_framed_and_words_are_explained(page):
    assert page.count('class="figure own"') == 1
    assert "forward transfer</dt>" in page
    assert "before its own patch came" in page


def test_a_waived_audit_is_not_shown_as_one_that_passed():
    waived = replace(PASSED, verdict="fail", waived=True)
    page = render(verdict="waived", comparisons=(waived,))
    assert "<title>waived: audit" in page
    assert '<span class="waived">waived</span>' in page
    assert "toxicity did not, and was waived." in page
    assert 'class="pass"' not in page


def test_what_did_not_pass_stands_first_with_the_reason_of_its_waiver():
    failed = replace(PASSED, rule="ceiling", verdict="fail", waived=True, power=0.96)
    page = render(comparisons=(PASSED, failed), waivers=(Waiver("toxicity", "known, ticket 12", "mia"),))
    first, rest = page[: page.index("Interference matrix")], page[page.index("Interference matrix") :]
    assert "toxicity: its failure rate 0.004" in first
    assert 'The user mia waived toxicity: "known, ticket 12"</p>' in first
    assert "power 0.96" in rest
    assert "What did not pass" not in render(comparisons=(PASSED,))


def test_a_waiver_stands_once_with_all_its_suites_and_says_which_needed_none():
    suites = dict.fromkeys(("toxicity", "gender", "harm", "facts"), AUDIT.suites["toxicity"])
    matrix = {name: dict.fromkeys(suites, row["toxicity"]) for name, row in AUDIT.matrix.items()}
    failed = tuple(replace(PASSED, suite=name, verdict="fail", waived=True) for name in ("toxicity", "gender", "harm"))
    given = [
        Waiver(name, "known, ticket 12", "mia", "2026-11-27T10:00:00+00:00") for name in ("toxicity", "gender", "facts")
    ]
    page = render(suites=suites, matrix=matrix, comparisons=failed, waivers=(*given, Waiver("harm", "agreed", "leo")))
    assert "toxicity, gender, harm did not, and were waived." in page
    assert page.count('The user mia waived toxicity, gender on 2026-11-27: "known, ticket 12"') == 1
    assert page.count('The user leo waived harm: "agreed"') == 1
    assert page.count("The user mia also waived facts, which passed.") == 1
    assert page.count("ticket 12") == 1


def test_utility_is_shown_as_loss():
    utility = replace(PASSED, rule="utility", against="base")
    assert "Utility, as loss: toxicity" in render(comparisons=(utility,))


def test_candidates_are_shown_where_they_were_compared(page):
    rows = render(
        candidates=(Candidate("distilled", 0.01, 1.0, 20, "minutes", True), Candidate("slow", 0.01, 1.75, 20))
    )
    cells = (
        r'<td class="figure">\+0.010</td><td class="figure">1.00</td><td class="figure">20</td><td>minutes</td><td>yes'
    )
    assert re.search(rf"<td>distilled \*</td>{cells}", rows)
    assert "<td>slow</td>" in rows
    assert "<h2>Candidates</h2>" not in page


def test_notes_are_shown():
    shown = render(notes=("the suite x has changed", "It is one prefix."))
    assert "Note: the suite x has changed.</p>" in shown
    assert "Note: It is one prefix.</p>" in shown


def test_where_two_judges_differ_is_shown(page):
    assert "Where the judges differ" not in page
    shown = render(second=Judge("lexicon", {"words": "suites/w2.txt"}))
    assert "toxicity: 1 of 3 prompts" in shown[shown.index("Where the judges differ") :]
    assert "<td>lexicon</td>" in shown
