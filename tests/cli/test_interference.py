"""The interference table in a terminal: whose cell is whose, what the figures are, and what the verdict means."""

from dataclasses import replace

import click
from audit.test_audit_model import AUDIT, FAILED, PASSED
from click.testing import CliRunner

from ppm.audit.candidates import Candidate
from ppm.audit.model import AuditedSuite, Cell, TriggerRow
from ppm.cli.render import print_audit
from ppm.verdict import Waiver

SUITES = {
    "toxicity": AuditedSuite(500, "rate", owner="toxicity"),
    "helpful": AuditedSuite(400, "rate"),
    "texts": AuditedSuite(208, "perplexity"),
}
CELLS = {"toxicity": Cell(0.012, 0.01, 0.02, 500), "helpful": Cell(0.03, 0.02, 0.05, 400), "texts": Cell(9.5, 9, 10, 1)}
UTILITY = replace(PASSED, suite="helpful", rule="utility", against="base")
SHOWN = replace(
    AUDIT,
    suites=SUITES,
    matrix=dict.fromkeys(AUDIT.configurations, CELLS),
    comparisons=(PASSED, UTILITY, replace(UTILITY, suite="texts")),
    verdict="pass",
    waivers=(),
)


def printed(audit):
    return CliRunner().invoke(click.Command("audit", callback=lambda: print_audit(audit))).output


def test_a_patch_s_own_cell_is_in_brackets():
    rows = {line.split()[0]: line for line in printed(SHOWN).splitlines() if line.split()}
    assert "[0.012]" in rows["toxicity==1.0.0"]
    assert sum(line.count("[0.") for line in rows.values()) == 1
    assert "0.012 ok" in rows["composition"]


def test_utility_and_perplexity_are_called_what_they_are():
    text = printed(SHOWN)
    assert "400 prompts" not in text  # the suites differ in size
    assert "208 to 500 prompts per suite" in text
    assert "Utility, as loss: helpful (" in text
    assert "texts: perplexity, lower is better; the gate compares the share of texts that cost over 0.1 nats" in text
    assert "9.50" in text


def test_candidates_are_shown_where_they_were_compared():
    found = (Candidate("distilled", 0.012, 1.0, 20, "minutes", True), Candidate("concat", None, 1.75, 60, "seconds"))
    rows = printed(replace(SHOWN, candidates=found)).splitlines()
    assert next(row for row in rows if "distilled " in row).split() == [
        *("*", "distilled", "+0.012", "1.00", "20", "minutes", "yes")
    ]
    assert next(row for row in rows if "concat " in row).split() == ["*", "concat", "1.75", "60", "seconds", "no"]
    assert not any(line.startswith("Candidates") for line in printed(SHOWN).splitlines())


def test_prompts_that_meet_the_wrong_patch_are_shown_where_there_are_any():
    recall = TriggerRow("composition", "toxicity", "recall", 0.9, 0.8, 0.95, 100)
    wrong = replace(recall, kind="wrong patch", share=0.05, low=0.01, high=0.1)
    rows = printed(replace(SHOWN, triggers=(recall, wrong))).splitlines()
    assert [row.split()[2:5] for row in rows if row.startswith("composition  toxicity")] == [
        ["recall", "0.900", "[0.800,"], ["wrong", "patch", "0.050"],
    ]  # fmt: skip
    none = replace(wrong, share=0.0, low=0.0)
    assert "wrong patch" not in printed(replace(SHOWN, triggers=(recall, none)))


def test_words_are_explained_where_they_occur_and_nowhere_else():
    text = printed(replace(SHOWN, circular=("toxicity",)))
    assert "circular: toxicity: the judge also chose the training pairs" in text
    assert "  forward transfer: how much better" in text
    assert "  set aside: it did worse" in text
    text = printed(replace(SHOWN, uncalibrated=("toxicity",)))
    assert "uncalibrated: toxicity: nobody measured" in text
    assert "ppm judges measure" in text
    bare = printed(replace(SHOWN, attempts=(), continual=None, circular=()))
    assert not any(word in bare for word in ("circular", "uncalibrated", "set aside", "forward transfer"))


def test_a_waived_audit_says_so():
    failed = replace(FAILED, suite="toxicity", waived=True)
    text = printed(
        replace(SHOWN, comparisons=(failed, UTILITY), verdict="waived", waivers=(Waiver("toxicity", "known", "Ada"),))
    )
    assert "Verdict: waived" in text
    assert "waived: effect, toxicity:" in text
    assert "waiver: toxicity, by Ada: known" in text
    assert "What this means: toxicity did not pass; of the others, " in text
    assert "What a pass means" not in text


def test_a_suite_that_nothing_was_compared_on_has_no_mark():
    text = printed(replace(SHOWN, comparisons=(PASSED, UTILITY)))
    (row,) = [line for line in text.splitlines() if line.startswith("composition")]
    assert row.rstrip().endswith("9.50")


def test_notes_are_shown():
    assert "note: the suite x has changed" in printed(replace(SHOWN, notes=("the suite x has changed",)))
